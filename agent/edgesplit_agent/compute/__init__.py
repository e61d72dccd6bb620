"""What runs on this node: sessions of components, the thread that computes, coding, providers."""
