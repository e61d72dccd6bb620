"""Open sizes: which axes requests choose, what is planned for, and the form that takes every size."""
