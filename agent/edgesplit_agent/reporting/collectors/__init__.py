"""Sensors, one per file; a sensor that fails is a logged fallback, never a crash."""
