"""Models the controller knows.

Owns: their records on disk (`record`), how a new one is made (`intake`), and the whole set (`catalog`). Its rule: a
record is complete or absent. Not here: plans of them.
"""
