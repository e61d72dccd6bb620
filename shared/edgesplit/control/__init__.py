"""The control plane: topics and messages between controller and agents."""
