"""Solves: one objective to its optimum, the weighted score to a proven plan, the reason where there is none."""
