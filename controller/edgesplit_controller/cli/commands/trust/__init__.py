"""Commands on trust: making a fleet's authority, joining, revoking, tokens, contexts."""
