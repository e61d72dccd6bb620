"""Rollout: bringing a plan to its nodes, in steps that are pure, and what survives a restart."""
