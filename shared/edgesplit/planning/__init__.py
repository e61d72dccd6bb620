"""The planner's language: problem, plan, output noise, origins of figures."""
