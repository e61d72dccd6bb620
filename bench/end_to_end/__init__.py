"""How well predictions hold on real links, and how soon changes are noticed (Linux, root).

Owns: the runs over three agents on the testbed. Its rule: what is compared is what an operator sees, the plan's
predicted latency before its first request and the median latency of warm requests of `splitctl infer` beside the source.
Not here: machines and links (`lab/testbed`).
"""
