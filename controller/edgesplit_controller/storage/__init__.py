"""The controller's folder on disk."""
