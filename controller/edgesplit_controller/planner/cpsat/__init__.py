"""The CP-SAT model: variables, constraints, objective, search, decoding."""
