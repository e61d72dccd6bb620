"""Import of a user's ONNX file: read, normalised, folded, shapes inferred."""
