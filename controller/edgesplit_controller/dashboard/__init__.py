"""The dashboard: what a fleet is and does, for people who look at it in a browser."""
