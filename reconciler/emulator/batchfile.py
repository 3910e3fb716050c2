"""Reads the JSON file of a batch without unpacking it whole: each list becomes slices of the file."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from reconciler.emulator.wire import BadJson

ITEM_LISTS = ("addorupdate", "delete")
UPDATE_LISTS = (*ITEM_LISTS, "partialupdate")
IDENTITY_LISTS = ("members", "mappings", "deleted")
_SMALL = 8 * 1024 * 1024

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


def read_lists(path: Path, names: tuple[str, ...]) -> Mapping[str, list[msgspec.Raw]]:
    """Return the named lists of a batch file; missing ones are empty (push-api.md 3.3, 3.5).

    Raises BadJson when the file is no such object. Its entries are looked at one by one, later.
    """
    try:
        lists = {name: list[msgspec.Raw]() for name in names}
        found = _object.decode(_content(path))
        lower = {key.lower(): value for key, value in found.items()}
        if len(lower) != len(found):
            raise BadJson("a key is repeated (keys are case-insensitive)")
        for name in names:
            if name in lower and bytes(memoryview(lower[name])[:4]) != b"null":
                lists[name] = _list.decode(lower[name])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadJson(str(error)[:300]) from None
    return lists


def _content(path: Path) -> Any:
    if path.stat().st_size <= _SMALL:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def value(raw: msgspec.Raw) -> Any:
    """Return one entry of a list as plain values."""
    try:
        return orjson.loads(memoryview(raw))
    except ValueError as error:
        raise BadJson(str(error)[:300]) from None
