"""Maintenance: drained nodes, paused re-planning, backups."""
