"""What a plan is predicted to take, and how sure that is."""
