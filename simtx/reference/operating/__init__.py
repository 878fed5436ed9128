"""Operating a run: open transactions, and what can be asked of them."""
