"""What a change of a link, or of what a node computes, can do to a plan."""
