"""What requests wait for each other on nodes and links that several deployments use, by queueing theory."""
