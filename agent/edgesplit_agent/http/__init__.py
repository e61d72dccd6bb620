"""The agent's HTTP endpoint: the listening socket, and behind it an application that the first connection has loaded."""
