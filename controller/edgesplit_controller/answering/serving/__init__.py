"""What serves now, for documents and metrics: the active plan of a model, and its energy."""
