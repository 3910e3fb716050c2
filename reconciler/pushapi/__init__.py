"""Sending calls over HTTP."""
