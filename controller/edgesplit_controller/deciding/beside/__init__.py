"""Deployments beside a model's first: its further planning shapes, and its further sources."""
