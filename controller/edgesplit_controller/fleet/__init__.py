"""The fleet as its nodes report it: registry, speeds, traffic, usage, clocks."""
