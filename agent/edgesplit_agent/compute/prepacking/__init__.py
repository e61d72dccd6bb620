"""Prepacked weights: graphs as onnxruntime optimized them once, shared by all sessions."""
