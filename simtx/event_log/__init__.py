"""The event log of a run: its entries, who writes them, and where two logs part. One schema in every world."""
