"""An access test: who must and must not see what, as somebody wrote it down beside the manifests.

Identities are canonical, but `*` in a name stands for any text. Item patterns are uris or addresses, where `*`
stands for any text without a slash and `**` for any text. It knows nothing of who sees what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class AccessTest:
    """One test, of either form or of both.

    Each of `who` must see the items of `can_view` and none of those of `cannot_view`. The items of `items`, all
    there are when it is empty, are seen by nobody but `only_visible_to` and the people in it; None leaves that
    unsaid. `where` narrows every pattern to items with these metadata.
    """

    who: tuple[str, ...] = ()
    can_view: tuple[str, ...] = ()
    cannot_view: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    only_visible_to: tuple[str, ...] | None = None
    where: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the test as JSON text."""
        return orjson.dumps(
            (self.who, self.can_view, self.cannot_view, self.items, self.only_visible_to, self.where),
            option=orjson.OPT_SORT_KEYS,
        )

    @classmethod
    def from_json(cls, text: bytes) -> AccessTest:
        """Return the test that `to_json` wrote."""
        who, can_view, cannot_view, items, only, where = orjson.loads(text)
        allowed = None if only is None else tuple(only)
        return cls(tuple(who), tuple(can_view), tuple(cannot_view), tuple(items), allowed, where)
