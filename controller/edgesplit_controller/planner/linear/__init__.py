"""Linear programs: numbers only."""
