"""Believed profiles: unit times as far as all nodes' profiles say something of them."""
