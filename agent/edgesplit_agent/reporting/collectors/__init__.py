"""Collectors: battery, memory, processor and power of the machine, one file each; a failing one is a logged fallback."""
