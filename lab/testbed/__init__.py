"""Device, edge and cloud as network namespaces of one Linux machine, with real links, quotas, broker, agents.

Owns: `testbed.Testbed` and what it is made of. Its rule: everything made here is named `edgesplit-…` and is removed at
the end, or at the next start where the end was a kill. Not here: what is measured on it (`lab/running`, `bench/end_to_end`).
"""
