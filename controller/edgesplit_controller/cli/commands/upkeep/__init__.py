"""Commands of maintenance."""
