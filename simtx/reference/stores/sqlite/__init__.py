"""A store in a file, on SQLite."""
