"""Studies of a problem: variations, the Pareto frontier, explanations."""
