"""Visits: which cells there are, and how one is deployed, asked and measured.

Owns: the grid's cells in their order, requests from beside the source, a visit from goals to figures. Its rule: it takes a running
fleet and returns cells; what becomes of them is not known here. Not here: the run as a whole (`lab/running/lab.py`).
"""
