"""Plans beside plans: cells of the same goals, ratios with their intervals, and what these say of a bound.

Owns: what is compared with what, and when a comparison is decided. Its rule: pure functions of results; the run asks here which comparisons
need more rounds, the report what they came to. Not here: claims in words (`lab/reporting`), visits (`lab/running/visiting`).
"""
