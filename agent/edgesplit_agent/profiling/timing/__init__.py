"""Timed runs of graphs, and what is made of their seconds."""
