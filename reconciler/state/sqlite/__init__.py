"""The state in a local SQLite file."""
