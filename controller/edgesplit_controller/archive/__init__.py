"""The controller's own records, kept by nodes as blobs."""
