"""The state in an object store: a log of records, checkpoints, and a replica on each machine."""
