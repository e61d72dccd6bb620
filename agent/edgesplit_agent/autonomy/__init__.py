"""A node that starts alone: what it was told last, on its own disk."""
