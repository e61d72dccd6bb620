"""Bounds and exact presolve: Lagrangian relaxation, bucket elimination, Pareto labels, reduction."""
