"""Real databases: SQLite, embedded, and PostgreSQL."""
