"""Traces of requests for other programs: Chrome's trace format, OpenTelemetry."""
