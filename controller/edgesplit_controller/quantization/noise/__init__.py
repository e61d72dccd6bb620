"""The noise model of int8: patterns, their runs, the fitted polynomial."""
