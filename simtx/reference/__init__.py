"""The reference implementation: the same machines on real databases, a real broker and real processes."""
