"""The broker in the controller's process: for the demo on one machine, and for tests."""
