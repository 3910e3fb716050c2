"""A file's sections, however it could be read: the same values, the same places."""

from __future__ import annotations

import pytest

from reconciler.manifest import parts
from reconciler.manifest.parts import PieceError, parts_of, whole_parts

TEXT = b"""\
items:
  - uri: x:1
    title: one
  - {uri: 'x:2', metadata: {a: [1, 2]}}
---
groups: [{name: A}]
permissions:
  m: {allowed: []}
"""


def shown(found: list[parts.Part]) -> list[tuple[str, int | None, object]]:
    return [(part.name, part.entries, part.whole()) for part in found]


def test_split_and_whole_agree() -> None:
    split, problems = parts_of(TEXT, "f")
    whole, others = whole_parts(TEXT, "f")
    assert (problems, others) == ([], [])
    assert (
        shown(split)
        == shown(whole)
        == [
            ("items", 2, [{"uri": "x:1", "title": "one"}, {"uri": "x:2", "metadata": {"a": [1, 2]}}]),
            ("groups", 1, [{"name": "A"}]),
            ("permissions", None, {"m": {"allowed": []}}),
        ]
    )
    assert [part.values([1]) for part in (split[0], whole[0])] == [[{"uri": "x:2", "metadata": {"a": [1, 2]}}]] * 2
    for one, other in zip(split, whole, strict=True):
        assert one.locate_name() == other.locate_name()
    for entry, path in ((0, ("title",)), (1, ("metadata", "a", 1)), (1, ("metadata", "gone")), (0, ()), (None, ())):
        assert split[0].locate(entry, path) == whole[0].locate(entry, path)
    assert str(split[0].locate(1, ("metadata", "a", 1))) == "f:4:36"
    assert str(split[0].locate(1, ("metadata", "a"), on_key=True)) == "f:4:29"
    assert str(split[1].locate(0, ("name",))) == "f:6:17"
    assert str(split[2].locate(None, ("m",), on_key=True)) == "f:8:3"


def test_digests_tell_entries_apart() -> None:
    [first, *_], _ = parts_of(b"items:\n  - {uri: a}\n  - {uri: b}\n  - {uri: a}\n", "f")
    digests = first.digests()
    assert digests is not None and len(digests) == 48
    assert digests[:16] == digests[32:] != digests[16:32]
    assert parts_of(b"items: [{uri: a}]\n", "f")[0][0].digests() is None
    assert whole_parts(b"items:\n  - {uri: a}\n", "f")[0][0].digests() is None


def test_a_piece_that_is_no_yaml_says_why() -> None:
    [part], _ = parts_of(b"items:\n  - a: [\n  - b: 1\n", "f")
    with pytest.raises(PieceError) as caught:
        part.values()
    assert [str(problem.position) for problem in caught.value.problems] == ["f:2:9"]


def test_a_large_text_with_a_broken_piece_is_not_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "EXACT_SIZE", 10)
    [part], _ = parts_of(b"items:\n  - a: [\n  - b: 1\n", "f")
    with pytest.raises(PieceError) as caught:
        part.values()
    assert whole_parts(part.text, "f", caught.value.problems) == ([], caught.value.problems)


@pytest.mark.parametrize("text", [b"- a\n", b"just text\n", b"items: []\n---\n- a\n"])
def test_what_is_no_mapping_is_no_manifest(text: bytes) -> None:
    found, problems = parts_of(text, "f")
    assert (found, [problem.code for problem in problems]) == ([], ["not-a-manifest"])
