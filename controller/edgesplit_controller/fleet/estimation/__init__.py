"""How fast nodes are now, estimated from what they observed of themselves."""
