"""Histories of a whole fleet in virtual time: `python -m tests.histories`; docs/protocol.md says what they show."""
