"""What both daemons need: configuration files, logs, addresses, service notification."""
