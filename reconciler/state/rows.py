"""One recorded resource: what we know we pushed, and what we know of how it arrived.

Knows nothing of how rows are kept; every store yields them and the snapshot writes them down.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.address import Address
from reconciler.model.states import Resource

VERIFIED = "verified"
REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """A resource as it was last accepted.

    `ordering_id` and `accepted_at` are those of the call that was accepted, `run` the id of the run
    that made it. An ordering id of 0 says that no call was needed. `verified` is None until somebody
    looked (accepted is not indexed), then "verified" or "rejected" with the remote's reason.
    """

    address: Address
    doc: bytes
    shared: bytes
    ordering_id: int
    accepted_at: str
    run: str
    verified: str | None = None
    verified_detail: str = ""

    @property
    def resource(self) -> Resource:
        """The resource without what is known of its arrival."""
        return Resource(self.address, self.doc, self.shared)

    @property
    def fingerprint(self) -> bytes:
        """The 64 bytes that say "equal" (`Resource.fingerprint`)."""
        return self.resource.fingerprint


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` learned of one resource; `verified` as in `RecordedRow`.

    It speaks of what was accepted under `ordering_id`: a row that was pushed again since then is
    left alone, since nobody has looked at the newer one.
    """

    address: Address
    ordering_id: int
    verified: str | None
    detail: str = ""
