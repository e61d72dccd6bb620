"""Answering splitctl: operations received, carried out, rendered as documents."""
