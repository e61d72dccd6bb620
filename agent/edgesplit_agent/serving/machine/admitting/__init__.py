"""Admission of requests at their source: what each takes, and whether that finds room."""
