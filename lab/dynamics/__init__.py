"""Changes in time played on the testbed while requests flow, for several strategies, and what came of it.

Owns: the script of changes, the conditions that follow from it, what an oracle would plan in them, the play, reaction
and regret. Its rule: `hands.py`, `play.py`, `caller.py` and `listener.py` touch the testbed; everything else is pure.
Not here: the testbed (`lab/testbed`), the methods of the literature (`lab/baselines`), pictures (`lab/reporting`).
"""
