"""Limits on sums of choices: their form, and the kinds there are."""
