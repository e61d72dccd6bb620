"""Recordings of what nodes observed of their speed, replayed through estimators that are then compared."""
