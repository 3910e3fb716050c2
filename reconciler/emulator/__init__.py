"""The remote, played on this machine from its public documents alone.

The emulator shares no code with the rest of the package: what it accepts and how it processes it is
read from the documents (`push-api.md`), so that one misreading of ours is never tested against itself.
`server.py` is the front door; the other modules know nothing of how they are served. Where to look:

- what is asked and answered: `door.py` (keys, bodies, the request log), `routes/` (one module for each part of
  the API), `replies.py` (refusals), `wire.py` and `permissions.py` (the JSON), `openapi/` (all of it described);
- what waits and is processed: `engine.py` (the queue), `index.py` and `items.py`, `identities.py`, `streams.py`,
  `fields.py`, `providers.py`, `containers.py`, `batchfile.py` and `bodies.py` (content), all in `database.py`;
- what is seen of it: `access.py` (who sees what), `views.py`, `roll.py`, `query.py` (search), `pages/` (for people);
- how it behaves: `options.py` and `doubts.py`, `quotas.py` and `loads.py`, `faults.py`, `faulting.py` and
  `connection.py` (what goes wrong), `clock.py`.
"""
