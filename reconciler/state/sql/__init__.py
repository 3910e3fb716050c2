"""The SQL of a state in tables, one text of each statement for SQLite and for PostgreSQL."""
