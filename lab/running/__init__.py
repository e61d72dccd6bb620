"""Runs of a scenario: steps in order, their journal, cells deployed, asked and measured.

Owns: the way from a scenario to `results.json`. Its rule: what was finished stands in the journal before the next step begins, so that
a run that ends anyhow goes on from there; the fleet is used through `splitctl` and the client library, as an operator would. Not here:
the methods compared with (`lab/baselines`), changes in time (`lab/dynamics`), statistics and pictures (`lab/reporting`).
"""
