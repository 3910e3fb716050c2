"""The key that a recorded state is encrypted with, as the stores know it; where it is found is settled elsewhere."""

from __future__ import annotations

from typing import Protocol


class Key(Protocol):
    """A key of 32 bytes that prints as nothing of itself."""

    def reveal(self) -> str:
        """Return it as 64 lower-case hex digits."""
