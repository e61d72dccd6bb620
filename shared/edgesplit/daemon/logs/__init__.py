"""Logging of the daemons: one style in both, for terminals, files and the journal."""

from edgesplit.daemon.logs.limits import MOST_EVENTS, EventLimit, LineLimit
from edgesplit.daemon.logs.set_up import LEVELS, set_up_logging

__all__ = ["LEVELS", "MOST_EVENTS", "EventLimit", "LineLimit", "set_up_logging"]
