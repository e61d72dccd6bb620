"""Branch and bound over Lagrangian bounds: what prices cannot close, places that are decided one by one can."""
