"""Deciding when to plan, whether a new plan pays, and which fallbacks to hold."""
