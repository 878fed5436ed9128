"""simtx."""
