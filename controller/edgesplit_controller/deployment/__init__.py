"""From goals to a served plan: problem, decision, compilation, rollout."""
