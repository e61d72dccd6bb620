"""Statistics of results: intervals, wins over baselines, errors of predictions, changes over time, claims and their verdicts."""
