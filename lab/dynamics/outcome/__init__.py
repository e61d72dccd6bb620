"""What came of a script: what was observed, reactions, regret, energy, and what the plans that served were worth."""
