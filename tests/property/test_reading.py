"""The law of the cache: whatever was edited, and in which order, a cached reading equals one from nothing."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.manifest import manyfiles
from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.load import Loaded, load_manifests
from reconciler.manifest.opening import open_project, read_project
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Project
from reconciler.problems import ManifestError, errors_in

NO_CACHE = ManifestCache(None, "test")

PROJECTS = (
    "sources: {s: {id: one, visibility: shared, provider: corp}}\n"
    "providers: {corp: {id: p, cascadesTo: [Email]}}\nvars: {v: 1}\n",
    "sources: {s: {id: one, visibility: shared, provider: corp}}\n"
    "providers: {corp: {id: p, cascadesTo: [Email]}}\nvars: {v: 2}\n",
    "sources: {s: {id: two, visibility: secured, provider: corp}}\n"
    "providers: {corp: {id: p, cascadesTo: [Email]}, other: {id: o}}\nvars: {v: 1}\n",
)

# Entries as text, so that one and the same may come to stand in another section, file or document.
ENTRIES: dict[str, tuple[str, ...]] = {
    "groups": (
        "- {name: A, provider: corp, members: [user:a]}\n",
        "- name: A\n  provider: corp\n  members: [user:b, group:B]\n",
        "- {name: B, provider: corp, members: [user:${v}]}\n",
        "- name: B\n  provider: corp\n  members: []\n  wellKnowns: [group:A]\n",
        "- {name: W, provider: corp, members: [user:a], wellKnowns: [virtualGroup:A]}\n",
        '- {name: "\\u0024{v}", provider: corp, members: [user:a]}\n',
        "- {name: a, provider: corp}\n",
        "- {name: B, provider: corp, members: [user:a, {user: b, expires: 2027-01-31}]}\n",
        "- {name: B, provider: corp, members: [{group: A, expires: '2027-0${v}-20T00:00Z'}]}\n",
    ),
    "virtualGroups": (
        "- {name: A, provider: corp, members: [user:a]}\n",
        "- name: B\n  provider: corp\n  members: []\n  wellKnowns: [group:A]\n",
    ),
    "users": (
        "- {name: a, provider: corp}\n",
        "- {name: a, provider: corp, wellKnowns: [group:A]}\n",
        "- {name: b, provider: corp, wellKnowns: [group:B]}\n",
    ),
    "aliases": (
        "- {of: user:a, provider: corp, is: [{provider: Email, identity: user:a}]}\n",
        "- {of: user:b, provider: corp, is: [{provider: Email, identity: 'user:${v}'}]}\n",
        "- {ofEach: {membersOf: '*', type: user}, provider: corp, is: [{provider: Email, identity: 'user:{name}'}]}\n",
        "- {of: user:a, provider: corp, is: [{provider: Email, identity: user:a}], expires: 2027-01-31}\n",
    ),
    "items": (
        "- {uri: 'x:1', title: one}\n",
        "- {uri: 'x:1', title: two, permissions: m}\n",
        "- uri: x:2\n  permissions: {allowed: [group:A], denied: [user:a]}\n",
        "- {uri: 'x:3', permissions: m, body: {file: content/a.txt}}\n",
        "- {uri: 'x:4', permissions: n, body: {text: 'v is ${v}'}}\n",
        "- {uri: 'x:5', permissions: 'm${v}'}\n",
        "- {uri: 'x:6', body: {file: content/b.txt}, metadata: {k: [1, true]}}\n",
        "- {documentId: 'x:7', Data: hello, permissions: [{allowAnonymous: true}]}\n",
        "- {uri: 'no scheme'}\n",
        "- {uri: 'x:8', titel: x}\n",
        "- uri: &anchor x:9\n  title: *anchor\n",
        "- {uri: 'x:2', permissions: {allowed: [group:A, {user: b, expires: 2027-01-31}]}}\n",
    ),
    "itemSets": (
        "- {from: {files: 'content/*.txt'}, item: {uri: 'set:{path}', permissions: m}}\n",
        "- {from: {files: 'pages/*.html'}, item: {uri: 'page:{path}', title: '{html.title}'}, allowEmpty: true}\n",
        "- {from: {csv: rows.csv}, item: {uri: 'row:{id}', permissions: '{model}'}}\n",
    ),
    "permissions": (
        "m: {allowed: [group:A]}\n",
        "m: {allowed: [group:A, group:B]}\n",
        "m: {allowed: [group:A, {group: B, expires: 2027-01-31}]}\n",
        "n: {anonymous: true}\n",
        "m1: [{allowedPermissions: [{identity: A, identityType: Group}]}]\n",
        "m2: {levels: [[{allowed: [group:B]}], [{denied: [user:a]}]]}\n",
    ),
    "moved": ("- {from: 'x:0', to: 'x:1'}\n", "- {from: 'x:9', to: 'x:2'}\n"),
    "accessTests": ("- {who: user:a, canView: ['x:1']}\n",),
}
DEFAULTS = (
    "",
    "defaults: {source: s}\n",
    "defaults: {permissions: m}\n",
    "defaults: {provider: corp, permissions: n}\n",
    "defaults: {source: nowhere}\n",
)
INSTANTS = (1_700_000_000, 1_801_353_599, 1_801_353_600, 1_900_000_000)  # two of them around 2027-01-31
TAILS = ("", "# a comment\n", "oops: [\n", "---\n{}\n", "...\n")
DATA = {
    "content/a.txt": (b"alpha", b"ALPHA", b"longer alpha"),
    "content/b.txt": (b"beta", None),
    "pages/p.html": (b"<title>P</title>", b"<title>Q</title>", None),
    "pages/q.html": (None, b"<title>new</title>"),
    "rows.csv": (b"id,model\n1,m\n", b"id,model\n1,n\n2,m\n", b"id,model\n1,x\n"),
}


@dataclass
class Text:
    """A manifest file: sections in order, each with its entries, perhaps a document of its own."""

    defaults: int = 0
    sections: list[tuple[str, list[int], bool]] = field(default_factory=list)
    tail: int = 0

    def render(self) -> str:
        out = [DEFAULTS[self.defaults]]
        for name, entries, own_document in self.sections:
            if own_document and "".join(out).strip():
                out.append("---\n")
            texts = [ENTRIES[name][entry % len(ENTRIES[name])] for entry in entries]
            indented = ["  " + text.replace("\n", "\n  ").rstrip(" ") for text in texts]
            out.append(
                f"{name}:\n" + "".join(indented) if texts else f"{name}: {'{}' if name == 'permissions' else '[]'}\n"
            )
        return "".join(out) + TAILS[self.tail]


SECTION = st.tuples(
    st.sampled_from(sorted(ENTRIES)), st.lists(st.integers(0, 11), max_size=3, unique=True), st.booleans()
)
TEXT = st.builds(
    Text,
    st.sampled_from((0, 0, 0, 1, 2, 3, 4)),
    st.lists(SECTION, min_size=1, max_size=4),
    st.sampled_from((0, 0, 0, 0, 1, 2, 3, 4)),
)
EDIT = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(("a.yaml", "b.yaml", "sub/c.yaml")), TEXT),
    st.tuples(st.just("section"), st.sampled_from(("a.yaml", "b.yaml")), st.integers(0, 3), SECTION),
    st.tuples(
        st.just("rename"), st.sampled_from(("a.yaml", "b.yaml")), st.integers(0, 3), st.sampled_from(sorted(ENTRIES))
    ),
    st.tuples(st.just("remove"), st.sampled_from(("a.yaml", "b.yaml", "sub/c.yaml"))),
    st.tuples(st.just("move"), st.just(("a.yaml", "d.yaml"))),
    st.tuples(st.just("touch"), st.sampled_from(("a.yaml", "b.yaml", "content/a.txt"))),
    st.tuples(st.just("data"), st.sampled_from(sorted(DATA)), st.integers(0, 2)),
    st.tuples(st.just("project"), st.integers(0, 2)),
    st.tuples(st.just("second project"), st.booleans()),
    st.tuples(st.just("as of"), st.sampled_from(INSTANTS)),
)


class Workshop:
    """A small project that is edited step by step, and read both ways after each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts: dict[str, Text] = {}
        self.recorded: dict[str, bytes] = {}
        self.as_of = INSTANTS[0]
        self.cache = ManifestCache(root / ".reconciler" / "cache.db", "test")
        self.write("reconciler.yaml", PROJECTS[0])
        self.put(
            "a.yaml", Text(0, [("groups", [0, 2], False), ("items", [1, 2], False), ("permissions", [0, 2], False)])
        )
        for name, (content, *_) in DATA.items():
            self.data(name, content)

    def write(self, name: str, text: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def put(self, name: str, text: Text) -> None:
        self.texts[name] = text
        self.write(name, text.render())

    def data(self, name: str, content: bytes | None) -> None:
        if content is None:
            (self.root / name).unlink(missing_ok=True)
        else:
            self.write(name, content)

    def apply(self, edit: tuple[Any, ...]) -> None:
        """Make one edit; one that does not fit does nothing."""
        kind, *rest = edit
        if kind == "write":
            self.put(rest[0], rest[1])
        elif kind in ("section", "rename") and rest[0] in self.texts:
            text = self.texts[rest[0]]
            sections = list(text.sections)
            place = rest[1] % len(sections)
            sections[place] = rest[2] if kind == "section" else (rest[2], *sections[place][1:])
            self.put(rest[0], Text(text.defaults, sections, text.tail))
        elif kind == "remove" and self.texts.pop(rest[0], None):
            (self.root / rest[0]).unlink()
        elif kind == "move" and rest[0][0] in self.texts:
            self.texts[rest[0][1]] = self.texts.pop(rest[0][0])
            (self.root / rest[0][0]).rename(self.root / rest[0][1])
        elif kind == "touch" and (self.root / rest[0]).exists():
            os.utime(self.root / rest[0])
        elif kind == "data":
            versions = DATA[rest[0]]
            self.data(rest[0], versions[rest[1] % len(versions)])
        elif kind == "project":
            self.write("reconciler.yaml", PROJECTS[rest[0]])
        elif kind == "as of":
            self.as_of = rest[0]
        elif kind == "second project":
            self.data("reconciler.yml", PROJECTS[0].encode() if rest[0] else None)

    def check(self, clock: Callable[[], int]) -> None:
        """Read with the cache and without; both must come to the same, problems and documents included."""
        folder = ProjectFolder(self.root)
        fresh = seen(lambda: self._load(folder, read_project(folder, "reconciler.yaml", None), NO_CACHE, time.time_ns))
        project = open_project(folder, "reconciler.yaml", None, self.cache, clock)
        cached = seen(lambda: self._load(folder, project, self.cache, clock))
        assert cached == fresh
        if not isinstance(fresh, tuple):
            return
        # The next reading compares with a state that knows every other resource.
        self.recorded = dict(itertools.islice(fresh[0].items(), 0, None, 2))

    def _load(self, folder: ProjectFolder, project: Project, cache: ManifestCache, clock: Callable[[], int]) -> Loaded:
        return load_manifests(
            project,
            folder,
            "reconciler.yaml",
            recorded=self.recorded,
            cache=cache,
            keep_bodies=True,
            as_of=self.as_of,
            clock=clock,
        )


def seen(load: Callable[[], Loaded]) -> Any:
    """Return all that a reading shows."""
    try:
        loaded = load()
    except ManifestError as error:
        return list(error.problems)
    desired = loaded.desired
    resources = {}
    if not errors_in(loaded.problems):
        entries = loaded.entries(sorted(desired.fingerprints))
        assert {
            address: found.fingerprint for address, found in loaded.resources(entries).items()
        } == desired.fingerprints
        resources = {
            address: (entry.doc, entry.shared, entry.body_sha256, entry.body_size, entry.content_path)
            for address, entry in entries.items()
        }
    return (
        desired.fingerprints,
        loaded.problems,
        resources,
        desired.groups,
        desired.models,
        desired.moved,
        loaded.files,
        desired.digest(),
    )


def run(edits: list[tuple[tuple[Any, ...], bool]], *, processes: bool = False) -> None:
    root = Path(tempfile.mkdtemp())
    workshop = None
    try:
        with mock.patch.object(manyfiles, "PARALLEL_BYTES", 0 if processes else 1 << 60):
            workshop = Workshop(root)
            workshop.check(time.time_ns)
            for edit, is_late in edits:
                workshop.apply(edit)
                if is_late:
                    # As if read long after the edit, so that stats are trusted; the next edit is in another tick.
                    workshop.check(lambda: time.time_ns() + 10_000_000_000)
                    time.sleep(0.005)
                else:
                    workshop.check(time.time_ns)
            workshop.check(time.time_ns)
    finally:
        if workshop is not None:
            workshop.cache.close()
        shutil.rmtree(root)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(EDIT, st.booleans()), min_size=1, max_size=8))
@example([(("section", "a.yaml", 0, ("virtualGroups", [0], False)), True)])
@example([(("touch", "a.yaml"), True), (("rename", "a.yaml", 0, "virtualGroups"), True)])
@example([(("second project", True), True), (("touch", "a.yaml"), True)])
def test_a_cached_reading_equals_a_fresh_one_after_any_edits(edits: list[tuple[tuple[Any, ...], bool]]) -> None:
    run(edits)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(EDIT, st.booleans()), min_size=1, max_size=3))
def test_readings_by_several_processes_equal_those_by_one(edits: list[tuple[tuple[Any, ...], bool]]) -> None:
    run(edits, processes=True)
