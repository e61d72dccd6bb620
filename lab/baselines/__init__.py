"""Baselines: plans by methods of the literature, for the same problems and the same agents.

Owns: one module a method, from a planning problem to the document that `splitctl deploy --plan` serves. Its rule: pure; a method knows
what its paper knows (the docstring says what that leaves out) and gets the same figures as edgesplit's planner. Not here: serving and
measuring (`lab/running`), edgesplit's own plan.
"""
