"""Which controller decides: standing by, taking over from the fleet, serving."""
