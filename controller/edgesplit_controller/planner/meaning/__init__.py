"""What a problem file means: limits, costs, exact sums, components, the timeline, evaluation of an assignment."""
