"""Random small estates written as manifests, and the project folders that hold them: what several laws share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from reconciler.calls.compile import Batching
from reconciler.cli.makeplan import Planned
from reconciler.cli.planning import plan_or_report
from reconciler.cli.session import open_session
from reconciler.planning.make import Wish
from reconciler.state.journal import JournalEntry
from tests.builders import EMAIL, PROJECT, Folder, as_yaml

# A disk that forgets makes "on stable storage" cheap; what a crash does to a disk is tested elsewhere.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
WISH = Wish(allowed=("deny-removed", "emptied", "emptied-group", "item-public", "item-unseen", "mass-delete"))

GROUPS = ("Alpha", "Bravo", "Große Gruppe", "d/e:f")
VIRTUAL = ("Owners", "Readers")
USERS = ("alice@example.com", "bob@example.com", "CORP\\eve", "dave")
URIS = tuple(f"https://example.com/{name}" for name in ("a", "a/b", "c?d=1&e=2", "ünï", "x%20y", "z"))
KEYS = ("author", "tags", "size", "reviewed")
TEXTS = st.one_of(
    st.sampled_from(["", "no", "null", "1.0", "0x1f", "2017-11-08", "a\n\n b ", "ÄÖ😀", "# x", "${", '"', "\\"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6),
).map(lambda text: text.replace("${", "$ {"))
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e6, 1e6).map(lambda number: round(number, 3) + 0.0))
# A key's values are all texts or all numbers, whatever the source (push-api.md 4.4).
TEXTUAL = st.one_of(TEXTS, st.booleans(), st.lists(TEXTS, max_size=3))

Entry = dict[str, Any]


@dataclass(frozen=True)
class Estate:
    """Top-level sections as a person would write them."""

    sections: dict[str, Any] = field(default_factory=dict)


def identities(groups: Sequence[str], virtual: Sequence[str]) -> st.SearchStrategy[Any]:
    """References to identities in their short and their long form."""
    short = [*(f"group:{name}" for name in groups), *(f"virtualGroup:{name}" for name in virtual)]
    short += [f"user:{name}" for name in USERS]
    long: list[Any] = [{"group": name, "provider": "corp"} for name in groups]
    long += [{"user": name, "additionalInfo": {"Domain": "x", "a": "é"}} for name in USERS[:1]]
    return st.sampled_from([*short, *long])


def unique(entries: st.SearchStrategy[Any], **sizes: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(entries, unique_by=lambda entry: json.dumps(entry, sort_keys=True), **sizes)


def models(who: st.SearchStrategy[Any], named: Sequence[str]) -> st.SearchStrategy[Any]:
    """Permission models in every form that is accepted, the legacy one included."""
    who = st.one_of(who, st.just({"user": USERS[0], "provider": EMAIL}))
    one_set = st.fixed_dictionaries(
        {"allowed": unique(who, min_size=1, max_size=3)},
        optional={"denied": unique(who, max_size=2), "anonymous": st.booleans(), "name": st.sampled_from(["s1", "s2"])},
    )
    simple = one_set.map(lambda entry: {key: value for key, value in entry.items() if key != "name"})
    sets = st.lists(one_set, min_size=1, max_size=3)
    level = st.one_of(sets, st.fixed_dictionaries({"sets": sets}, optional={"name": st.sampled_from(["first", "2"])}))
    forms = [
        simple,
        st.fixed_dictionaries({"sets": sets}),
        st.fixed_dictionaries({"levels": st.lists(level, min_size=1, max_size=3)}),
        st.lists(legacy_sets(), min_size=1, max_size=2).map(lambda entries: [{"PermissionSets": entries}]),
        *([st.sampled_from(list(named))] if named else []),
    ]
    return st.one_of(forms)


def legacy_sets() -> st.SearchStrategy[Any]:
    who = st.fixed_dictionaries({"IdentityType": st.just("User"), "Identity": st.sampled_from(USERS)})
    return st.fixed_dictionaries(
        {"AllowAnonymous": st.booleans(), "AllowedPermissions": unique(who, max_size=2)},
        optional={"DeniedPermissions": unique(who, max_size=1)},
    )


@st.composite
def estates(draw: st.DrawFn, metadata: dict[str, st.SearchStrategy[Any]] | None = None) -> Estate:
    """Draw an estate with items in two sources; `metadata` says what keys hold, as from `metadata_values`."""
    groups = draw(unique(st.sampled_from(GROUPS), max_size=4))
    virtual = draw(unique(st.sampled_from(VIRTUAL), max_size=2))
    who = identities(groups, virtual)
    grouped = [f"group:{name}" for name in groups]
    well_knowns = unique(st.sampled_from(grouped), max_size=2) if grouped else st.just([])
    metadata = metadata or draw(metadata_values())
    named = draw(st.dictionaries(st.sampled_from(["staff", "board"]), models(who, ()), max_size=2))
    sections: dict[str, Any] = {
        "permissions": named,
        "groups": [
            {"name": name, "members": draw(unique(who, max_size=4)), "wellKnowns": draw(well_knowns)} for name in groups
        ],
        "virtualGroups": [{"name": name, "members": draw(unique(who, max_size=2))} for name in virtual],
        "users": [
            {"name": name, "wellKnowns": draw(well_knowns)} for name in draw(unique(st.sampled_from(USERS), max_size=2))
        ],
        "aliases": [
            {"of": f"user:{name}", "is": [{"provider": EMAIL, "identity": f"user:{target}@mail.example.com"}]}
            for name in draw(unique(st.sampled_from(USERS), max_size=2))
            for target in [draw(st.sampled_from("xyz"))]
        ],
        "items": [
            draw(items(uri, models(who, sorted(named)), metadata))
            for uri in draw(unique(st.sampled_from(URIS), max_size=5))
        ],
    }
    if draw(st.booleans()):
        target = {"provider": EMAIL, "identity": "user:{name}"}
        sections["aliases"].append({"ofEach": {"membersOf": draw(st.sampled_from(["*", "A*"]))}, "is": [target]})
    return Estate({name: entries for name, entries in sections.items() if entries})


def metadata_values() -> st.SearchStrategy[dict[str, st.SearchStrategy[Any]]]:
    """What the metadata keys of one estate hold."""
    return st.fixed_dictionaries({key: st.sampled_from([TEXTUAL, NUMBERS]) for key in KEYS})


def contents(metadata: dict[str, st.SearchStrategy[Any]]) -> dict[str, st.SearchStrategy[Any]]:
    """What an item may say beside its permissions."""
    return {
        "title": TEXTS,
        "body": st.one_of(
            st.fixed_dictionaries({"text": TEXTS}), st.just({"base64": "AAEC/w=="}), st.just({"text": "x" * 3000})
        ),
        "fileExtension": st.sampled_from([".txt", ".html"]),
        "parent": st.sampled_from(URIS),
        "metadata": st.fixed_dictionaries({}, optional=metadata),
        "permanentId": st.just("0" * 60),
        "clickableUri": st.just("https://example.com/click"),
    }


def shared_items(uri: str, source: str, metadata: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Entry]:
    """An item of a source that everybody sees."""
    return st.fixed_dictionaries({"uri": st.just(uri), "source": st.just(source)}, optional=contents(metadata))


def items(
    uri: str, model: st.SearchStrategy[Any], metadata: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[Entry]:
    secured = st.fixed_dictionaries(
        {"uri": st.just(uri), "source": st.just("handbook"), "permissions": model}, optional=contents(metadata)
    )
    return st.one_of(secured, secured, shared_items(uri, "blog", metadata))


def pairs() -> st.SearchStrategy[tuple[Estate, Estate]]:
    """Two estates, one after the other."""
    return st.tuples(estates(), estates())


def write(folder: Folder, estate: Estate) -> Folder:
    """Make the estate all that the folder says, in one file."""
    folder.write("estate.yaml", as_yaml({"defaults": {"provider": "corp"}, **estate.sections}))
    return folder


@contextmanager
def project(url: str = "emulator", text: str = PROJECT) -> Iterator[Folder]:
    """A folder of its own for one example; fixtures live for all of them."""
    with tempfile.TemporaryDirectory(prefix="reconciler-laws-", dir=MEMORY) as path:
        yield Folder(Path(path), text.replace("target: emulator", f"target: {url}"))


def planned_of(folder: Folder, batching: Batching = "auto") -> Planned:
    with open_session(str(folder.root), None, use_cache=False) as session:
        return plan_or_report(session, WISH, keep_bodies=True, batching=batching)


def desired_of(folder: Folder) -> dict[str, Any]:
    loaded = planned_of(folder).loaded
    assert loaded is not None
    return dict(loaded.resources(loaded.desired.fingerprints))


def journal(folder: Folder) -> list[JournalEntry]:
    with open_session(str(folder.root), None) as session:
        return list(session.store.journal())
