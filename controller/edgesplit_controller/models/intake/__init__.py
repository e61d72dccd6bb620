"""What a model's intake computes: its stages, noise and codecs, further planning shapes, and the process that all of it runs in.

Owns: everything of the intake that loads an inference runtime. Its rule: the controller's own process imports nothing of it. Not
here: when what is done, and what becomes of it (`catalog.py`).
"""
