"""Blobs that components are built from: cached, verified, fetched from peers and given to them."""
