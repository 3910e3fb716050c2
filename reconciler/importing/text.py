"""Entries as the text of a manifest: block style, plain where that is safe, double quotes where it is not.

Knows nothing of where the entries come from. Texts are escaped for the variables of a project, so that
what is read back is what was given.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_/@.\-]*(?:[:][A-Za-z0-9_/@.\-]+)*(?: [A-Za-z0-9_/@.(][A-Za-z0-9_/@.\-()]*)*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"})
_BLOCK_LINE = re.compile(r"[\x21-\x7e\u00a1-\u2027\u2030-\ud7ff](?:[\x20-\x7e\u00a0-\u2027\u2030-\ud7ff]*[\x21-\x7e])?")
_CHUNK = 500


class _Representer(SafeRepresenter):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(representer: SafeRepresenter, value: str) -> Any:
    escaped = value.replace("${", "$${")
    return representer.represent_scalar("tag:yaml.org,2002:str", escaped, style=_style(escaped))


_Representer.add_representer(str, _text)


def _style(text: str) -> str | None:
    if "\n" in text:
        *lines, last = text.split("\n")
        # The last line has its break, and none is empty: then a block says exactly what was given.
        whole = bool(lines) and not last and all(map(_BLOCK_LINE.fullmatch, lines))
        return "|" if whole else '"'
    return None if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else '"'


def section(name: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the text of a section that is a list, in pieces; nothing for an empty one."""
    if not entries:
        return
    yield f"{name}:\n"
    waiting = iter(entries)
    while part := list(islice(waiting, _CHUNK)):
        yield _dumped(part)


def mapping(name: str, value: Mapping[str, Any]) -> Iterator[str]:
    """Yield the text of a section that is a mapping; nothing for an empty one."""
    if value:
        yield _dumped({name: dict(value)})


def comment(lines: Sequence[str]) -> str:
    """Return lines as comments; what would end a line, or a terminal dislikes, is spelled out."""
    return "".join(f"# {''.join(map(_shown, line))}".rstrip() + "\n" for line in lines)


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _dumped(value: Any) -> str:
    # One of its own each time: it keeps what it saw.
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = sys.maxsize
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()
