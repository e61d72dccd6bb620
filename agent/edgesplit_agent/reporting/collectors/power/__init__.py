"""Power sensors, one kind per file, and the meter that makes computing's power of their readings."""
