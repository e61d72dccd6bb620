"""Commands of whoever looks at a running fleet: status, top, doctor, trace."""
