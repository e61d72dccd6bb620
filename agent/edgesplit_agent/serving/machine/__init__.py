"""The agent's decisions as a pure state machine: events in, actions out, no I/O, no clock."""
