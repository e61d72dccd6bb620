"""Models as packages ship them, through the real programs: added as they come, split, compared with plain onnxruntime."""
