"""The remote, played on this machine from its public documents alone.

The emulator shares no code with the rest of the package: what it accepts and how it processes it is
read from the documents (`push-api.md`), so that one misreading of ours is never tested against itself.
`server.py` is the front door; the other modules know nothing of how they are served.
"""
