"""Models the controller knows: their record on disk and how a new one is taken in."""
