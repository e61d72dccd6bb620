"""The artifact server: blobs for agents over HTTP, and the address it is reached at."""
