"""Published limits of the Push API, each with the section of push-api.md that states it."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request or one file container may hold.

    Sizes are bytes, `container_lifetime` is seconds. Where the documents say "MB" without saying
    which, the smaller reading is the default, except for containers, whose official client counts
    in MiB.
    """

    single_body: int = 5_000_000
    """Body of a single call: the API takes 6 MB, one client saw 500 above 5 MB (push-api.md 4.1)."""

    inline_content: int = 5_000_000
    """`data` or `compressedBinaryData` of one item (push-api.md 4.1); larger ones take a container."""

    container: int = 256 * MIB
    """What a file container holds (push-api.md 4.1)."""

    permission_identities: int = 5_000
    """Identities in the permissions of one item; more is accepted, then rejected (push-api.md 4.1)."""

    catalog_item: int = 3_000_000
    """One item of a catalog source (push-api.md 4.1)."""

    container_lifetime: float = 60 * 60.0
    """How long after its creation a container may be used (push-api.md 2.2)."""

    containers_together: int = 3_000_000_000
    """Bytes of containers that one batch may name: what a megabyte a second uploads before the first expires."""


PUBLISHED = Limits()
