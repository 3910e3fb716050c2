"""Reliability shown: whatever fails and whenever the process dies, `apply` converges and repeats nothing accepted.

Random desired states, random faults of the remote, and processes killed at any write to a socket; the
remote is an emulator that outlives them. Held against each other are the desired state, what the remote
holds, the journal of the local state, and the remote's own log of what it was sent.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from estates import EMAIL, URIS, Estate, desired_of, estates, journal, metadata_values, project, shared_items, write
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from killed_child import MOMENTS
from mortals import KILLED, Mortals

from reconciler.calls.call import STREAMS, CallKind
from reconciler.cli.session import open_session
from reconciler.emulator.options import SourceOptions
from reconciler.model.address import Address, Kind
from reconciler.model.states import Resource
from reconciler.state.journal import JournalEntry, Outcome
from tests.builders import (
    ORGANIZATION,
    PROVIDER_ID,
    SHARED_ID,
    SOURCE_ID,
    Folder,
    Remote,
    contents_of,
    fingerprints,
    start_remote,
)
from tests.conftest import ON_CI

pytestmark = pytest.mark.slow

# Beside a secured source one that is shared, one that is ours alone, and two catalogs, of which one is ours alone.
SHARED = {"blog": SHARED_ID, "archive": "archiveid1", "shop": "shopid1", "range": "rangeid1"}
SOURCES = {"handbook": SOURCE_ID, **SHARED}
PROJECT = f"""\
sources:
  handbook: {{id: {SOURCE_ID}, visibility: secured, provider: corp}}
  blog: {{id: {SHARED_ID}, visibility: shared}}
  archive: {{id: {SHARED["archive"]}, visibility: shared, exclusive: true}}
  shop: {{id: {SHARED["shop"]}, visibility: shared, kind: catalog}}
  range: {{id: {SHARED["range"]}, visibility: shared, kind: catalog, exclusive: true}}
providers:
  corp: {{id: {PROVIDER_ID}, cascadesTo: ["{EMAIL}"]}}
environments:
  local: {{target: emulator, organization: {ORGANIZATION}}}
guardrails: {{deletes: 100%, widenedAccess: allow}}
"""


class Organization(Remote):
    """An emulator that can be made to fail."""

    def fail(self, rules: Sequence[str], seed: int = 0) -> None:
        """Let requests meet these faults and no others."""
        self._client.put("/_emulator/faults", json={"rules": list(rules), "seed": seed}).raise_for_status()

    def activities(self) -> dict[str, str]:
        """Return what each source was last said to be doing."""
        sources = self._get("state")["organizations"][ORGANIZATION]["sources"]
        return {name: source["status"] for name, source in sources.items()}


@pytest.fixture(scope="module")
def organization() -> Iterator[Organization]:
    """An emulator of such an organization, for all examples."""
    sources = (
        SourceOptions(SOURCE_ID, "SECURED", PROVIDER_ID),
        SourceOptions(SHARED["blog"], "SHARED"),
        SourceOptions(SHARED["archive"], "SHARED"),
        SourceOptions(SHARED["shop"], "SHARED", kind="catalog"),
        SourceOptions(SHARED["range"], "SHARED", kind="catalog"),
    )
    with start_remote(sources=sources) as remote:
        organization = Organization(remote.emulator)
        yield organization
        organization.close()


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    children = Mortals()
    yield children
    children.close()


# -- what happens ----------------------------------------------------------------------------------

# More than what an item may carry inline, once it is in base64; nothing makes it smaller.
BIG = 3_800_000


@dataclass(frozen=True)
class Attempt:
    """One apply that may fail: its faults, the write at which it is killed, and how it goes about it."""

    faults: tuple[str, ...] = ()
    seed: int = 0
    write: int = 0
    moment: str = "before"
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chapter:
    """A desired state and the attempts at it; one that is abandoned is not come to before another is wanted."""

    estate: Estate
    attempts: tuple[Attempt, ...] = ()
    abandoned: bool = False

    @property
    def big(self) -> set[int]:
        """The numbers of the large files that it names."""
        files = (entry.get("body", {}).get("file", "") for entry in self.estate.sections.get("items", ()))
        return {int(name[4:-4]) for name in files if name}


# Lost replies leave in doubt what was accepted, so they are the most frequent.
LOST = ("drop-after", "drop-after", "truncate", "drop-before")
ANSWERS = (*LOST, "503", "500", "429 retry-after=0", "429", "504", "slow=0.01")
REFUSALS = ("400", "403", "404", "412", "413")
CALLS = ("PUT documents", "DELETE documents", "PUT documents/batch", "PUT stream/update", "PUT permissions/batch")
RULES = st.one_of(
    st.builds("random: {1}% of [{0}]".format, st.sampled_from(LOST), st.sampled_from([30, 60])),
    st.builds(
        "random: {1}% of [{0}]".format,
        st.lists(st.sampled_from(ANSWERS), min_size=2, max_size=4).map(", ".join),
        st.sampled_from([10, 40]),
    ),
    st.builds(
        "{0}: {1} after={2} x{3}".format,
        st.sampled_from([*CALLS, "POST stream/*/close", "POST files", "PUT permissions", "PUT mappings"]),
        st.sampled_from([*ANSWERS, *REFUSALS]),
        st.integers(0, 1),
        st.integers(1, 3),
    ),
    st.builds("PUT storage: {0}% of [403, 503, expired, drop-before, drop-after]".format, st.sampled_from([20, 50])),
    st.builds("random: {1}% of [{0}]".format, st.sampled_from(REFUSALS), st.sampled_from([5, 20])),
)
OPTIONS = st.sampled_from([(), ("--parallelism", "1"), ("--parallelism", "8"), ("--no-batch",)])


def attempts(*, mortal: bool) -> st.SearchStrategy[Attempt]:
    return st.builds(
        Attempt,
        faults=st.lists(RULES, min_size=0 if mortal else 1, max_size=3).map(tuple),
        seed=st.integers(0, 2**16),
        write=st.integers(1, 40) if mortal else st.just(0),
        moment=st.sampled_from(MOMENTS),
        options=OPTIONS,
    )


@st.composite
def busy_estates(draw: st.DrawFn) -> Estate:
    """An estate with items in all sources, so that there is much to send at once, and seldom with large bodies."""
    metadata = draw(metadata_values())
    estate = draw(estates(metadata))
    places = draw(st.lists(st.tuples(st.sampled_from(sorted(SHARED)), st.sampled_from(URIS)), max_size=10, unique=True))
    known = {(entry["source"], entry["uri"]) for entry in estate.sections.get("items", ())}
    more = [draw(shared_items(uri, source, metadata)) for source, uri in places if (source, uri) not in known]
    if draw(st.integers(0, 7)) == 7:
        more += [
            {"uri": f"https://example.com/big/{number}", "source": source, "body": {"file": f"big-{number}.bin"}}
            for source, number in draw(
                st.sampled_from([[("blog", 1)], [("archive", 1), ("blog", 2)], [("blog", 1), ("blog", 2)]])
            )
        ]
    items = [*estate.sections.get("items", ()), *more]
    return Estate({**estate.sections, "items": items} if items else estate.sections)


@dataclass(frozen=True)
class Story:
    """Desired states one after the other, and for how many seconds failing calls are tried again (None: as ever)."""

    chapters: tuple[Chapter, ...]
    retry_for: int | None = None

    @property
    def project(self) -> str:
        if self.retry_for is None:
            return PROJECT
        return PROJECT.replace("target: emulator", f"target: emulator, retryFor: {self.retry_for}")


@st.composite
def stories(draw: st.DrawFn, *, mortal: bool) -> Story:
    """A first state, cleanly applied or not, and a second one that is not, or that is given up for the first."""
    hard = st.lists(attempts(mortal=mortal), min_size=1, max_size=2).map(tuple)
    first = Chapter(draw(busy_estates()), draw(st.one_of(st.just(()), hard)))
    second = Chapter(draw(busy_estates()), draw(hard))
    retry_for = draw(st.sampled_from([0, None, 0, 2]))
    if draw(st.booleans()):
        return Story((first, second), retry_for)
    third = Chapter(first.estate, draw(st.one_of(st.just(()), hard)))
    return Story((first, replace(second, abandoned=True), third), retry_for)


# -- the laws --------------------------------------------------------------------------------------

SUFFIXES = {
    CallKind.ITEM_PUT: ("PUT", "documents"),
    CallKind.ITEM_DELETE: ("DELETE", "documents"),
    CallKind.ITEM_BATCH: ("PUT", "documents/batch"),
    CallKind.ITEM_OLDER_THAN: ("DELETE", "documents/olderthan"),
    CallKind.IDENTITY_PUT: ("PUT", "permissions"),
    CallKind.IDENTITY_DELETE: ("DELETE", "permissions"),
    CallKind.MAPPING_PUT: ("PUT", "mappings"),
    CallKind.IDENTITY_BATCH: ("PUT", "permissions/batch"),
    CallKind.IDENTITY_OLDER_THAN: ("DELETE", "permissions/olderthan"),
}
KIND_OF = {name: kind for kind, name in SUFFIXES.items()}


@dataclass(frozen=True)
class Seen:
    """What the remote's log says of one attempt at one call."""

    kind: CallKind
    ordering_id: int
    accepted: bool
    heard: bool
    """Whether a living sender heard the answer: the reply was whole."""


def seen_of(request: dict[str, Any]) -> Seen | None:
    """Return what a request of the log means, None for one that changes no content by itself."""
    parts = request["path"].split("/")[7:]  # after /push/v1/organizations/ID/sources/ID or providers/ID
    tail = "/".join(parts)
    if parts[:1] == ["stream"]:
        kind = {"update": CallKind.STREAM_UPDATE, "close": CallKind.STREAM_LOAD}.get(parts[-1])
    else:
        kind = KIND_OF.get((request["method"], tail))
    if kind is None:
        return None
    accepted = 200 <= request["status"] < 300
    broken = (request["fault"] or "").startswith(("drop-", "truncate"))
    ordering_id = 0 if kind in STREAMS else int(dict(request["query"])["orderingId"])
    return Seen(kind, ordering_id, accepted, accepted and not broken)


def assert_journal_and_log_agree(entries: Sequence[JournalEntry], requests: Iterable[dict[str, Any]]) -> None:
    """Hold what the journal says of calls against what the remote logged."""
    sent: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for seen in filter(None, map(seen_of, requests)):
        sent[seen.kind, seen.ordering_id].append(seen)
    for entry in entries:
        kind = CallKind(entry.intent.kind)
        if kind in STREAMS:
            continue
        tries = sent.pop((kind, entry.intent.ordering_id), [])
        assert not any(one.heard for one in tries[:-1]), f"sent again after it was accepted: {entry}"
        if entry.outcome is Outcome.ACCEPTED:
            assert tries and tries[-1].heard, f"journalled as accepted, which the remote never said: {entry}"
        elif entry.outcome is Outcome.REFUSED:
            assert not any(one.accepted for one in tries), f"journalled as refused, and was accepted: {entry}"
        elif entry.outcome is Outcome.UNKNOWN:
            assert not any(one.heard for one in tries), f"the answer was heard and not journalled: {entry}"
    # The remote chooses the ordering ids of streams, so of those only the numbers can be compared.
    for kind in STREAMS:
        outcomes = [entry.outcome for entry in entries if entry.intent.kind == kind]
        tries = sent.pop((kind, 0), [])
        heard, accepted = sum(one.heard for one in tries), outcomes.count(Outcome.ACCEPTED)
        assert accepted <= heard <= accepted + outcomes.count(None), f"{kind}: {outcomes}, {tries}"
    assert not sent, "sent without an intent"


def assert_nothing_settled_is_sent_again(entries: Iterable[JournalEntry]) -> None:
    """Within one desired state what was accepted is not intended again; all else had no outcome, or an unknown one."""
    settled: set[Address] = set()
    for entry in entries:
        covered = {address for address, _ in entry.intent.covers}
        assert not covered & settled, f"accepted before: {sorted(covered & settled)} in {entry}"
        if entry.outcome is Outcome.ACCEPTED:
            settled |= covered


def expected(resources: Iterable[Resource]) -> dict[str, Any]:
    """Return what the remote holds of these resources, in whichever of our sources they are."""
    resources = list(resources)
    found = contents_of(resource for resource in resources if resource.address.kind is not Kind.ITEM)
    for name, source_id in SOURCES.items():
        # `contents_of` knows two sources; what an item looks like is the same in all.
        items = [
            replace(resource, address=Address.of(Kind.ITEM, "blog", resource.address.name))
            for resource in resources
            if resource.address.kind is Kind.ITEM and resource.address.scope == name
        ]
        if items:
            found["items"][source_id] = contents_of(items)["items"][SHARED_ID]
    return found


ALLOWED = ("deny-removed", "emptied", "emptied-group", "item-public", "item-unseen", "mass-delete")
ALLOW = tuple(word for name in ALLOWED for word in ("--allow", name))


@dataclass
class World:
    """One example: a project, its remote and the processes that may die."""

    folder: Folder
    remote: Organization
    mortals: Mortals
    requested: int = 0
    journalled: list[int] = field(default_factory=lambda: [0])
    """The last entry before each change of the desired state, from the last one on that was come to."""

    def apply(self, attempt: Attempt) -> tuple[int, str]:
        self.remote.fail(attempt.faults, attempt.seed)
        arguments = ("apply", "--auto-approve", *ALLOW, *attempt.options)
        return self.mortals.run(self.folder, *arguments, write=attempt.write, moment=attempt.moment, seed=attempt.seed)

    def live_through(self, chapter: Chapter) -> list[int]:
        """Come to a desired state by way of all attempts at it; return what those ended with."""
        write(self.folder, chapter.estate)
        codes = []
        for attempt in chapter.attempts:
            code, said = self.apply(attempt)
            assert code in (0, 4, KILLED), said
            assert "error[internal]" not in said and "Traceback" not in said, said
            codes.append(code)
        if chapter.abandoned:
            self.journalled.append(max((entry.seq for entry in journal(self.folder)), default=0))
            return codes
        code, said = self.apply(Attempt())
        assert code == 0, said
        self.assert_settled()
        self.assert_honest()
        return codes

    def assert_settled(self) -> None:
        """The remote holds the desired state, nobody is in doubt about it, and nothing is left to do."""
        desired = desired_of(self.folder)
        assert self.remote.contents() == expected(desired.values())
        assert set(self.remote.activities().values()) <= {"IDLE"}
        with open_session(str(self.folder.root), None) as session:
            assert session.store.fingerprints() == fingerprints(*desired.values())
            assert session.store.unsettled() == ()
        total = self.remote.total
        code, said = self.mortals.run(self.folder, "plan", "--exit-code")
        assert code == 0, said
        code, said = self.apply(Attempt())
        assert code == 0 and "No changes." in said, said
        assert self.remote.total == total, "nothing is left, so nobody is asked"

    def assert_honest(self) -> None:
        """No call that was accepted was sent again for the same desired state, and the journal is true."""
        entries = [entry for entry in journal(self.folder) if entry.seq > self.journalled[0]]
        calls = [entry for entry in entries if entry.intent.kind in list(CallKind)]
        requests = self.remote.requests(self.requested)
        assert_journal_and_log_agree(calls, requests)
        last = entries[-1].seq if entries else self.journalled[-1]
        for start, end in pairwise([*self.journalled, last]):
            assert_nothing_settled_is_sent_again(entry for entry in calls if start < entry.seq <= end)
        self.journalled = [last]
        self.requested = requests[-1]["number"] if requests else self.requested


def live(remote: Organization, mortals: Mortals, story: Story) -> list[int]:
    """Live through a story from nothing, and return what its attempts ended with."""
    remote.reset()
    with project(remote.url, story.project) as folder:
        for number in {number for chapter in story.chapters for number in chapter.big}:
            folder.write(f"big-{number}.bin", random.Random(number).randbytes(BIG))
        world = World(folder, remote, mortals, requested=remote.total)
        return [code for chapter in story.chapters for code in world.live_through(chapter)]


THOROUGH = settings(
    derandomize=bool(os.environ.get(ON_CI)),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(THOROUGH, max_examples=22)
@given(story=stories(mortal=True))
def test_killed_at_any_write_amid_any_faults_it_converges(
    organization: Organization, mortals: Mortals, story: Story
) -> None:
    for code in live(organization, mortals, story):
        event(f"an apply ended with {code}")


@settings(THOROUGH, max_examples=16)
@given(story=stories(mortal=False))
def test_amid_any_faults_it_converges(organization: Organization, mortals: Mortals, story: Story) -> None:
    for code in live(organization, mortals, story):
        event(f"an apply ended with {code}")


def item(name: str, source: str, **more: Any) -> dict[str, Any]:
    return {"uri": f"https://example.com/{name}", "source": source, **more}


FIRST = Estate(
    {
        "groups": [{"name": "Alpha", "members": ["user:alice@example.com"]}],
        "items": [
            item("a", "handbook", permissions={"allowed": ["group:Alpha"]}),
            *(item(name, "shop", title="one", metadata={"size": 1}) for name in "ab"),
            *(item(name, "archive") for name in "abcdef"),
            item("a", "range"),
        ],
    }
)
# Something of every kind: a batch and single calls, a load, a partial update, a removal by age, an alias.
SECOND = Estate(
    {
        "groups": [{"name": "Alpha", "members": ["user:dave"]}],
        "aliases": [{"of": "user:dave", "is": [{"provider": EMAIL, "identity": "user:dave@example.com"}]}],
        "items": [
            item("b", "handbook", permissions={"allowed": ["user:dave"]}),
            item("a", "shop", title="two", metadata={"size": 1}),
            item("c", "shop", title="three"),
            item("b", "range"),
            item("c", "range"),
        ],
    }
)
LARGE = Estate({"items": [item("big/1", "blog", body={"file": "big-1.bin"}), item("a", "blog")]})


def killed_at(write: int, moment: str, before: Estate, after: Estate) -> Story:
    attempt = Attempt(write=write, moment=moment, options=("--parallelism", "8"))
    given_up = Chapter(after, (attempt,), abandoned=True)
    return Story((Chapter(before), given_up, Chapter(before), Chapter(after)))


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_one_write_after_the_other_it_converges(
    organization: Organization, mortals: Mortals, moment: str
) -> None:
    """Every so many writes, each moment at others of them, until there are no more: back to where it was, and on."""
    write = 1 + MOMENTS.index(moment)
    while (ended := live(organization, mortals, killed_at(write, moment, FIRST, SECOND))) == [KILLED]:
        write += len(MOMENTS)
    assert ended == [0]
    assert write > 20


@pytest.mark.parametrize("write", [4, 9, 30, 60])
def test_killed_amid_a_large_upload_it_converges(organization: Organization, mortals: Mortals, write: int) -> None:
    assert live(organization, mortals, killed_at(write, "amid", Estate(), LARGE)) == [KILLED]
