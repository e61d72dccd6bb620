"""The lab: live experiments on an emulated testbed, with baselines, scripted changes and a report.

Owns: scenarios, the testbed, running, baselines, dynamics, reporting, and the values of `results.json` that they share. Its
rule: it uses the daemons as an operator would and the daemons never know of it. Not here: benchmarks (`bench/`).
"""
