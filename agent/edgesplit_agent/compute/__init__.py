"""Computing on this node: onnxruntime sessions of components, the compute thread, coding, execution providers."""
