"""Execution profiles: how fast this node is, and live timings that correct them."""
