"""Bounds and exact presolve: elimination, Lagrangian prices, labels, reduction."""
