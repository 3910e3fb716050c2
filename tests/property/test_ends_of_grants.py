"""The law of grants that end: desired at an instant is what remains when all that is over is deleted by hand."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.load import Loaded, load_manifests
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Environment, Project, Provider, Source
from reconciler.model.instant import parse_instant
from reconciler.model.states import Resource
from tests.builders import EMAIL, as_yaml
from tests.property.estates import MEMORY

PROJECT = Project(
    environment=Environment("local", "emulator", "local", "state.db"),
    manifests=("**/*.yaml",),
    sources=(Source("handbook", "h1", "secured", "corp"),),
    providers=(Provider("corp", "p1", (EMAIL,)),),
    variables=(("end", "2027-03-01"), ("who", "bob")),
)
INSTANTS = ("2027-01-31", "2027-01-31T00:00:00+01:00", "2027-03-01", "2028-01-01T12:00:00Z")
ENDS = (*INSTANTS, "${end}")
MOMENTS = sorted({parse_instant(text) + shift for text in INSTANTS for shift in (-1, 0, 1)})
LATER = 10_000_000_000
GROUPS = ("A", "B", "C")
USERS = ("al", "bob", "${who}", "eve")
Sections = dict[str, Any]

ends = st.sampled_from(ENDS)
long = st.sampled_from([*({"group": name} for name in GROUPS), *({"user": name} for name in USERS)])
short = st.sampled_from([*(f"group:{name}" for name in GROUPS), *(f"user:{name}" for name in USERS)])
granted = st.one_of(short, long, st.builds(lambda who, end: {**who, "expires": end}, long, ends))
grants = st.lists(granted, max_size=4)
one_set = st.fixed_dictionaries(
    {"allowed": grants}, optional={"denied": st.lists(short, max_size=2), "anonymous": st.booleans()}
)
model = st.one_of(
    one_set,
    st.fixed_dictionaries({"sets": st.lists(one_set, min_size=1, max_size=3)}),
    st.fixed_dictionaries(
        {
            "levels": st.lists(
                st.one_of(
                    st.lists(one_set, min_size=1, max_size=2),
                    st.fixed_dictionaries({"name": st.just("n"), "sets": st.lists(one_set, min_size=1, max_size=2)}),
                ),
                min_size=1,
                max_size=3,
            )
        }
    ),
)
maybe_ends = st.one_of(st.just({}), ends.map(lambda end: {"expires": end}))
target = st.builds(
    lambda name, end: {"provider": EMAIL, "identity": f"user:{name}@x", **end}, st.sampled_from(USERS), maybe_ends
)
targets = st.lists(target, min_size=1, max_size=3)
each_target = maybe_ends.map(lambda end: {"provider": EMAIL, "identity": "user:{name}@each", **end})


@st.composite
def manifests(draw: st.DrawFn) -> Sections:
    groups = [{"name": name, "members": draw(grants)} for name in GROUPS]
    aliases = [
        {"of": f"user:{name}", "is": draw(targets), **draw(maybe_ends)} for name in ("al", "eve") if draw(st.booleans())
    ]
    if draw(st.booleans()):
        aliases.append({"ofEach": {"membersOf": "*"}, "is": [draw(each_target)], **draw(maybe_ends)})
    named = {name: draw(model) for name in ("m", "n")}
    items = [
        {"uri": f"x:{number}", "permissions": draw(st.one_of(model, st.sampled_from(sorted(named))))}
        for number in range(draw(st.integers(0, 3)))
    ]
    sets = [
        {"from": {"files": "content/*.txt"}, "item": {"uri": "set:{path}", "permissions": draw(model)}}
        for _ in range(draw(st.integers(0, 1)))
    ]
    return {"groups": groups, "aliases": aliases, "permissions": named, "items": items, "itemSets": sets}


def is_over(entry: Any, as_of: int) -> bool:
    ends = entry.get("expires") if isinstance(entry, dict) else None
    return ends is not None and parse_instant(ends.replace("${end}", "2027-03-01")) <= as_of


def by_hand(value: Any, as_of: int) -> Any:
    """Return the manifest without whatever is over, and without a word of ends."""
    if isinstance(value, list):
        left = [entry for entry in value if not is_over(entry, as_of)]
        return [kept for kept in (by_hand(entry, as_of) for entry in left) if kept is not None]
    if not isinstance(value, dict):
        return value
    out = {key: by_hand(entry, as_of) for key, entry in value.items() if key != "expires"}
    # An alias of nothing is none.
    return None if out.get("is") == [] else out


class Place:
    """A project's folder, read with a cache that stays warm or without any."""

    def __init__(self, root: Path, sections: Sections) -> None:
        self.folder = ProjectFolder(root)
        self.cache = ManifestCache(root / ".reconciler" / "cache.db", "test")
        (root / "content").mkdir()
        for name in ("one", "two"):
            (root / "content" / f"{name}.txt").write_text(name)
        (root / "reconciler.yaml").write_text("sources: {}\n")
        self.write(sections)

    def write(self, sections: Sections) -> None:
        for name, entries in sections.items():
            text = as_yaml({"defaults": {"source": "handbook", "provider": "corp"}, name: entries})
            (self.folder.root / f"{name}.yaml").write_text(text)

    def load(self, as_of: int, *, cached: bool) -> dict[str, Resource]:
        loaded: Loaded = load_manifests(
            PROJECT,
            self.folder,
            "reconciler.yaml",
            recorded={},
            cache=self.cache if cached else ManifestCache(None, ""),
            as_of=as_of,
            clock=lambda: time.time_ns() + LATER,
        )
        assert loaded.problems == ()
        return loaded.resources(loaded.desired.fingerprints)


@settings(max_examples=150)
@given(manifests(), st.lists(st.sampled_from(MOMENTS), min_size=1, max_size=5))
def test_what_is_desired_is_what_remains_when_all_that_is_over_is_deleted(
    sections: Sections, moments: Sequence[int]
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        (root := Path(name) / "a").mkdir()
        (other := Path(name) / "b").mkdir()
        place = Place(root, sections)
        for as_of in moments:
            desired = place.load(as_of, cached=True)
            assert desired == place.load(as_of, cached=False)
        left = Place(other, by_hand(sections, moments[-1]))
        assert desired == left.load(moments[-1], cached=False)
        # Not only is it the same: an instant has no say in what has no end.
        assert desired == left.load(0, cached=True)
        place.cache.close()
        left.cache.close()
