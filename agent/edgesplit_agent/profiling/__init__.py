"""How fast this node is: execution profiles, what refines them, and live timings that correct them."""
