"""The state in a schema of a PostgreSQL database."""
