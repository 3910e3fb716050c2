"""How single values are shown in every format: numbers, words, identities, digests, windows on long text.

Nothing here knows a format: what comes out still holds the characters of names and values, except
`visible`, which every format applies to whatever it did not write itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from reconciler.model.address import Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.identity import IDENTITY_TYPES, INFO_MARK

CAP = 120
ELLIPSIS = "…"

# A fixed list and not unicodedata.category: that table grows with each Python, and a plan is the
# same bytes under all of them. Controls, line separators, everything that reorders or hides text,
# and surrogates, which cannot be encoded at all.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)

_PLURALS = {
    Kind.ITEM: "items",
    Kind.GROUP: "groups",
    Kind.VIRTUAL_GROUP: "virtual groups",
    Kind.USER: "users",
    Kind.ALIAS: "aliases",
}


def visible(text: str) -> str:
    """Return `text` with every character that a terminal obeys, or a reader cannot see, spelled out."""
    return _HIDDEN.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0x09:
        return "\\t"
    if code == 0x0A:
        return "\\n"
    if code == 0x0D:
        return "\\r"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 call`, `4,812 items`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def kind_noun(kind: Kind, number: int) -> str:
    """Return the noun for `number` resources of a kind."""
    return kind.value.replace("-", " ") if number == 1 else _PLURALS[kind]


def kind_count(kind: Kind, number: int) -> str:
    """Return `4,812 items`, `1 virtual group`."""
    return f"{number:,} {kind_noun(kind, number)}"


def shown_identity(canonical: str, own_provider: str | None) -> str:
    """Return `type:name` for a canonical identity, and its provider when that is another one."""
    kind, _, rest = canonical.partition("/")
    provider, slash, name = rest.partition("/")
    if kind not in IDENTITY_TYPES or not slash:
        return canonical
    name, mark, info = name.partition(INFO_MARK)
    text = f"{kind}:{name}"
    if mark:
        text += f" {info}"
    return text if provider == own_provider else f"{text} ({provider})"


def shown_value(value: Any) -> str:
    """Return any JSON value as one line of JSON: quoting keeps `"1"` and `1` apart."""
    return canonical_json(value).decode()


def window(text: str, cap: int = CAP) -> str:
    """Return the beginning of `text` in at most `cap` characters."""
    return text if len(text) <= cap else text[: cap - 1] + ELLIPSIS


def window_pair(before: str, after: str, cap: int = CAP) -> tuple[str, str]:
    """Return both texts in at most `cap` characters each, cut so that their first difference shows."""
    if len(before) <= cap and len(after) <= cap:
        return before, after
    start = max(0, _first_difference(before, after) - cap // 3)
    if start <= 1:
        start = 0
    return _from(before, start, cap), _from(after, start, cap)


def _from(text: str, start: int, cap: int) -> str:
    if not start:
        return window(text, cap)
    return window(ELLIPSIS + text[start:], cap)


def _first_difference(before: str, after: str) -> int:
    low, high = 0, min(len(before), len(after))
    while low < high:  # by halves: comparing slices is a memcmp, comparing characters is not
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def is_body(value: Any) -> bool:
    """Whether a value is a canonical body: its size and digest, never its text."""
    return isinstance(value, dict) and isinstance(value.get("sha256"), str) and isinstance(value.get("size"), int)


def shown_bodies(before: Any, after: Any) -> tuple[str, str]:
    """Return two bodies as size and short digest, the digests long enough to differ."""
    bodies = [value for value in (before, after) if value is not None]
    digests = [body["sha256"] for body in bodies]
    length = 8
    if len(digests) == 2 and digests[0] != digests[1]:
        length = max(length, _first_difference(digests[0], digests[1]) + 1)
    encodings = {body.get("encoding") for body in bodies}
    told = len(encodings) > 1 or encodings == {"binary"}
    old, new = ("" if value is None else _shown_body(value, length, told_encoding=told) for value in (before, after))
    return old, new


def _shown_body(body: dict[str, Any], length: int, *, told_encoding: bool) -> str:
    encoding = f"{body.get('encoding')} " if told_encoding else ""
    digest = body["sha256"]
    short = digest if len(digest) <= length else digest[:length] + ELLIPSIS
    return f"{body['size']:,} B {encoding}sha256:{short}"


def longest_run(character: str, texts: Iterable[str]) -> int:
    """Return the length of the longest run of one character in any of the texts."""
    pattern = re.compile(re.escape(character) + "+")
    return max((len(run) for text in texts for run in pattern.findall(text)), default=0)
