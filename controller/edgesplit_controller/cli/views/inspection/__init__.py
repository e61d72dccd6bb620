"""What people see of a running fleet: what is wrong, what goes on, what was looked into, one request."""
