"""A store on a PostgreSQL server, and the server of a run."""
