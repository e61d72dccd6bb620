"""Following peers: of which other nodes an agent hears, and to which it keeps links."""
