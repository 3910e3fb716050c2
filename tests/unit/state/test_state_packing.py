"""What was recorded before, packed into a cell: it comes back whole, and what is none is refused."""

from __future__ import annotations

import zlib

import orjson
import pytest

from reconciler.model.address import Address
from reconciler.model.former import ABSENT, Former
from reconciler.state.packing import READABLE, pack_formers, unpack_formers

DIGEST = bytes(range(32))


def formers(count: int) -> tuple[Former, ...]:
    return (
        Former(Address("group/corp/Team é"), True, ABSENT, b'{"members":["user/corp/\xc3\xa9"]}', b'{"wellKnowns":[]}'),
        Former(Address("user/corp/new"), False, DIGEST),
        *(Former(Address(f"item/handbook/{number}"), True, DIGEST, b"", b'{"levels":[]}') for number in range(count)),
    )


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_it_comes_back_as_it_was(count: int) -> None:
    cell = pack_formers(formers(count))
    assert unpack_formers(cell) == formers(count)
    assert isinstance(cell, str) is (count < 5000)


def test_a_shared_model_stands_there_once() -> None:
    cell = pack_formers(formers(5000))
    assert isinstance(cell, bytes)
    assert zlib.decompress(cell).count(b"levels") == 1


def test_long_ones_are_cut_off_to_be_noticed() -> None:
    cell = pack_formers(formers(5000))
    assert len(cell) > READABLE
    with pytest.raises(ValueError, match="what was recorded before"):
        unpack_formers(cell[:-9])


@pytest.mark.parametrize(
    "doc",
    [
        [],
        {},
        {"shared": [], "left": [], "entries": [["a", True, "", 0, 0]]},
        {"shared": [""], "left": ["xy"], "entries": []},
        {"shared": [""], "left": [""], "entries": [["a", True]]},
        {"shared": [5], "left": [], "entries": []},
    ],
)
def test_what_is_none_is_refused(doc: object) -> None:
    with pytest.raises(ValueError, match="what was recorded before"):
        unpack_formers(orjson.dumps(doc).decode())
