"""What a problem file means: costs, exact sums, components, the timeline, evaluation of an assignment."""
