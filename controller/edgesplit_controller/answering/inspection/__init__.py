"""Answers for whoever looks at a running fleet: status, activity, diagnosis, traces of requests."""
