"""Noise and size of wire codecs on a model's tensors."""
