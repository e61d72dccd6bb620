"""What a node reports: sensors, usage, links, metrics."""
