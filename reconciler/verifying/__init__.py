"""202 is not success: whether the remote took what it accepted, and if not, what and why."""
