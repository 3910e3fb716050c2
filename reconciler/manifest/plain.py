"""What both ways into a YAML text agree on: the values that come out, and how far an anchor may expand."""

from __future__ import annotations

from typing import Any

# None, bool, int, float, str, list of these, dict of str to these.
Plain = Any

BOM = b"\xef\xbb\xbf"

# No anchor expands to more than this many nodes in one document, the fast way and the exact one.
MAX_EXPANDED = 100_000
