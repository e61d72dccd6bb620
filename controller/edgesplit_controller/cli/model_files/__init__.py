"""A model's files before the controller has them: exported where they must be, looked at, uploaded."""
