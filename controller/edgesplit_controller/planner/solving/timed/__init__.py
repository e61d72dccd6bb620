"""Objectives whose latency is the end of a schedule: exact search of small problems, bounds and annealing of large ones."""
