"""Re-planning decisions: which changes count, and whether a new plan is worth a switch."""
