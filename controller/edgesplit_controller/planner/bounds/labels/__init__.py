"""Pareto labels: what is left open under limits, by dynamic programming."""
