"""TLS between a socket and whoever reads and writes it: the socket itself, its handshake, strangers that arrive."""
