"""What an operator sees of a run and can ask of it."""
