"""Signed messages on topics: who must sign what, and what is believed of what arrives."""
