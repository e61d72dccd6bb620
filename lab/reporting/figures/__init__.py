"""Figures: the study's nine, redrawn from live runs, and figures of time."""
