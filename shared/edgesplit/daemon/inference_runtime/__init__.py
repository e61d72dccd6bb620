"""The installed onnxruntime: which builds there are, and what they can."""
