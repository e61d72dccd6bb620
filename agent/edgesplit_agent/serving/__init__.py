"""Serving: the engine carries out what the pure state machine (`machine/`) decides."""
