"""Joining a secured fleet with one command, and leaving it: identity, configuration, service."""
