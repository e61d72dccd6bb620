"""Which plans are measured, and what follows from what was found: values and pure functions.

Owns: the list of plans, rows, errors by part, the summary. Its rule: no fleet, no clock, no file; tests run all of it without a
testbed. Not here: measuring (`bench/end_to_end/visits.py`).
"""
