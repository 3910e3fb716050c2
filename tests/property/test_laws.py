"""The laws of planning and applying, on random small estates written as manifests.

plan(x, x) is empty; after an apply the remote holds the desired state and the next plan is empty;
nothing but the meaning of the manifests alters a plan's bytes; a plan survives its file; an apply
killed anywhere goes on to the same end and repeats nothing that was accepted (peers.md 4.3: P3, P4,
P8, P9).
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from estates import URIS, WISH, Estate, desired_of, journal, pairs, planned_of, project, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.applying.apply import Clock, Run, run_calls
from reconciler.bodies import ProjectBodies
from reconciler.calls.compile import Batching
from reconciler.cli.makeplan import Planned
from reconciler.cli.planning import bodies_store, plan_or_report
from reconciler.cli.session import open_session
from reconciler.planfile import dump_plan, load_plan
from reconciler.pushapi.client import PushClient
from reconciler.state.journal import Outcome, RunInfo
from reconciler.state.store import LockInfo
from tests.builders import EMAIL, KEY, Folder, Remote, child_environment, contents_of, fingerprints

QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

# -- applying without the command line -------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing that it would have done afterwards happens."""


POINTS = ("before the intent", "before sending", "after sending", "before recording", "after recording")


@dataclass
class Fate:
    """Kills a run at one point of its k-th call; afterwards nothing is written any more."""

    call: int = 0
    point: str = ""
    dead: bool = False
    now: int = 0

    def reached(self, point: str) -> None:
        if self.dead or (self.now == self.call and point == self.point):
            self.dead = True
            raise Killed


class Mortal:
    """A writer in a process that may die; the dead write nothing."""

    def __init__(self, writer: Any, fate: Fate) -> None:
        self._writer = writer
        self._fate = fate

    def intent(self, intent: Any) -> int:
        self._fate.now += 1
        self._fate.reached("before the intent")
        return int(self._writer.intent(intent))

    def settle(self, ticket: int, outcome: Outcome, **more: Any) -> int:
        self._fate.reached("before recording")
        serial = int(self._writer.settle(ticket, outcome, **more))
        self._fate.reached("after recording")
        return serial

    def __getattr__(self, name: str) -> Any:
        self._fate.reached("any other write")
        return getattr(self._writer, name)


def apply(folder: Folder, fate: Fate | None = None, batching: Batching = "auto") -> Planned:
    """Plan and apply as the command does, with a process that may die."""
    fate = fate or Fate()
    clock = Clock(lambda: "2026-01-01T00:00:00Z", lambda: time.time_ns() // 1_000_000, time.monotonic, time.sleep)
    with open_session(str(folder.root), None, use_cache=False) as session:
        planned = plan_or_report(session, WISH, keep_bodies=True, batching=batching)
        if not planned.plan.changes:
            return planned
        refs = {body.sha256: body.path for body in planned.plan.bodies}
        info = RunInfo(f"run-{time.monotonic_ns()}", "apply", "2026-01-01T00:00:00Z")
        run = Run(info, planned.plan, planned.compiled.stages, planned.compiled.state_only, lambda: "lineage")
        url = f"{session.project.environment.target}/push/v1"
        with (
            bodies_store(session) as store,
            session.store.lock(LockInfo("id", "apply", "", "", "", 1)) as writer,
            # Loading the certificates of the world takes longer than all the rest of an example.
            PushClient(url, KEY, transport=httpx.HTTPTransport(verify=False)) as client,
        ):
            deliver = partial(
                client.send, bodies=ProjectBodies(store, session.folder, refs), context=session.wire_context()
            )

            def send(call: Any, **more: Any) -> Any:
                fate.reached("before sending")
                sent = deliver(call, **more)
                fate.reached("after sending")
                return sent

            mortal: Any = Mortal(writer, fate)
            for _ in run_calls(run, writer=mortal, send=send, clock=clock, stop=lambda: False):
                pass
        return planned


def assert_settled(folder: Folder, remote: Remote) -> None:
    desired = desired_of(folder)
    assert remote.contents() == contents_of(desired.values())
    # A deletion that is sent again finds nothing, which the log mentions and nobody minds.
    assert [entry for entry in remote.logs() if entry["operation"] != "DELETE"] == []
    again = planned_of(folder)
    assert (again.plan.changes, again.compiled.stages, again.plan.no_op) == ((), (), len(desired))
    with open_session(str(folder.root), None) as session:
        assert session.store.fingerprints() == fingerprints(*desired.values())
        assert session.store.unsettled() == ()


# -- the laws --------------------------------------------------------------------------------------


@QUICK
@given(pair=pairs())
def test_an_apply_ends_in_the_desired_state_and_an_empty_plan(
    shared_remote: Remote, pair: tuple[Estate, Estate]
) -> None:
    shared_remote.reset()
    with project(shared_remote.url) as folder:
        for estate in pair:
            apply(write(folder, estate))
            assert_settled(folder, shared_remote)


@settings(QUICK, max_examples=15)
@given(pair=pairs())
def test_one_call_per_change_comes_to_the_same(shared_remote: Remote, pair: tuple[Estate, Estate]) -> None:
    shared_remote.reset()
    with project(shared_remote.url) as folder:
        for estate in pair:
            apply(write(folder, estate), batching="never")
            assert_settled(folder, shared_remote)


@QUICK
@given(pair=pairs())
def test_a_saved_plan_is_read_as_it_was_written(shared_remote: Remote, pair: tuple[Estate, Estate]) -> None:
    before, after = pair
    shared_remote.reset()
    with project(shared_remote.url) as folder:
        apply(write(folder, before))
        planned = planned_of(write(folder, after))

    saved = load_plan(dump_plan(planned.plan, planned.compiled), "plan.json")

    problems = tuple(replace(problem, excerpt="") for problem in planned.plan.problems)
    assert saved.plan == replace(planned.plan, problems=problems)
    assert saved.compiled == planned.compiled


def test_a_user_whose_entry_goes_lives_on_in_its_alias(remote: Remote) -> None:
    """The user and the alias are one identity at the remote (push-api.md 3.5): what is still named must stay."""
    entry = {"of": "user:dave", "is": [{"provider": EMAIL, "identity": "user:dave@example.com"}]}
    with project(remote.url) as folder:
        apply(write(folder, Estate({"users": [{"name": "dave"}]})))
        apply(write(folder, Estate({"aliases": [entry]})))
        assert_settled(folder, remote)


@pytest.mark.parametrize("batching", ["auto", "never"])
def test_groups_users_and_virtual_groups_go_together(remote: Remote, batching: Batching) -> None:
    """Their entries stand in different lists of a batch file, and no list may be begun twice."""
    sections = {
        "groups": [{"name": "Alpha", "members": []}],
        "virtualGroups": [{"name": "Owners", "members": []}],
        "users": [{"name": "dave"}],
    }
    with project(remote.url) as folder:
        apply(write(folder, Estate(sections)))
        apply(write(folder, Estate()), batching=batching)
        assert_settled(folder, remote)


def shuffled(value: Any, rng: random.Random, path: tuple[str, ...] = ()) -> Any:
    """Return the same meaning in another order: of keys, members, identities, sets; levels keep theirs."""
    if isinstance(value, dict):
        keys = rng.sample(sorted(value), len(value))
        return {key: shuffled(value[key], rng, (*path, key)) for key in keys}
    if isinstance(value, list):
        listed = [shuffled(entry, rng, path) for entry in value]
        if path[-1:] in (("levels",), ("tags",)) or "metadata" in path:
            return listed
        return rng.sample(listed, len(listed))
    return value


def scattered(folder: Folder, estate: Estate, rng: random.Random) -> None:
    """Write the estate over files with names, an order and a split of their own."""
    for path in folder.root.glob("**/*.yaml"):
        if path.name != "reconciler.yaml":
            path.unlink()
    pieces: list[dict[str, Any]] = []
    for section, entries in shuffled(estate.sections, rng).items():
        if isinstance(entries, dict):
            pieces += [{section: {name: entry}} for name, entry in entries.items()]
        else:
            pieces += [{section: [entry]} for entry in entries]
    rng.shuffle(pieces)
    names = rng.sample([f"{chr(97 + index)}/{index}.yaml" for index in range(9)], rng.randint(1, 5))
    texts: dict[str, list[str]] = {name: [] for name in names}
    for piece in pieces:
        style = rng.choice([None, 1, 4])
        texts[rng.choice(names)].append(json.dumps(piece, ensure_ascii=rng.random() < 0.5, indent=style))
    for name in rng.sample(names, len(names)):
        if texts[name]:
            texts[name].insert(rng.randint(0, len(texts[name])), "defaults: {provider: corp}")
            folder.write(name, "\n---\n".join(texts[name]))


@QUICK
@given(pair=pairs(), seed=st.integers(0, 2**32))
def test_files_and_orders_mean_nothing(shared_remote: Remote, pair: tuple[Estate, Estate], seed: int) -> None:
    """P8: the same bytes, whatever the files, their order, and the order of whatever is a set."""
    before, after = pair
    shared_remote.reset()
    rng = random.Random(seed)
    texts = set()
    with project(shared_remote.url) as folder:
        apply(write(folder, before))
        scattered(folder, before, rng)
        if before.sections:
            assert planned_of(folder).plan.changes == ()
        for _ in range(2 if after.sections else 0):
            scattered(folder, after, rng)
            planned = planned_of(folder)
            texts.add(dump_plan(planned.plan, planned.compiled))
    assert len(texts) <= 1


FULL = Estate(
    {
        "permissions": {"staff": {"levels": [[{"allowed": ["group:Alpha"]}], [{"allowed": ["user:dave"]}]]}},
        "groups": [
            {"name": "Alpha", "members": ["group:Bravo", "user:alice@example.com"]},
            {"name": "Bravo", "members": ["user:bob@example.com"], "wellKnowns": ["group:Alpha"]},
        ],
        "users": [{"name": "dave", "wellKnowns": ["group:Alpha"]}],
        "aliases": [
            {"ofEach": {"membersOf": "*"}, "is": [{"provider": EMAIL, "identity": "user:{name}"}]},
            {"of": "user:dave", "is": [{"provider": EMAIL, "identity": "user:dave@example.com"}]},
        ],
        "items": [
            {"uri": URIS[0], "source": "handbook", "permissions": "staff", "body": {"text": "one"}},
            {"uri": URIS[1], "source": "handbook", "permissions": "staff", "parent": URIS[0]},
            {"uri": URIS[2], "source": "blog", "title": "three"},
        ],
    }
)
NEXT = Estate(
    {
        "permissions": {"staff": {"allowed": ["group:Alpha"], "denied": ["user:dave"]}},
        "groups": [{"name": "Alpha", "members": ["user:alice@example.com", "user:carol"]}],
        "aliases": [{"ofEach": {"membersOf": "*"}, "is": [{"provider": EMAIL, "identity": "user:{name}"}]}],
        "items": [
            {"uri": URIS[0], "source": "handbook", "permissions": "staff", "body": {"text": "two"}},
            {"uri": URIS[3], "source": "handbook", "permissions": "staff"},
        ],
    }
)


# As a machine of so many processors, that lists folders in an order of its own and shares out every file.
MACHINE = """\
import os, random, sys
draw = random.Random(int(sys.argv.pop(1)))
workers = int(sys.argv.pop(1))
os.cpu_count = lambda: workers
def shuffled(real):
    def listed(*given):
        names = list(real(*given))
        draw.shuffle(names)
        return names
    return listed
os.listdir = shuffled(os.listdir)
import reconciler.manifest.manyfiles
reconciler.manifest.manyfiles.PARALLEL_BYTES = 0
from reconciler.cli.main import main
main()
"""
LOCALES = ("C", "C.UTF-8", "tr_TR.UTF-8", "de_DE.ISO-8859-1", "ja_JP.eucJP", "POSIX")


def test_the_machine_means_nothing(tmp_path: Path, remote: Remote) -> None:
    """P8, over 20 processes: hash seed, locale, time zone, folders, order of creation and of listing, processors."""
    rng = random.Random(8)
    seen = set()
    with project(remote.url) as folder:
        apply(write(folder, FULL))
        state = (folder.root / ".reconciler" / "local.state.db").read_bytes()
    for number in range(20):
        folder = Folder(tmp_path / f"{number}" / rng.choice(["project", "Ünïcode", "a b"]))
        scattered(folder, NEXT, rng)
        folder.write(".reconciler/local.state.db", state)
        plan = tmp_path / f"{number}.json"
        environment = child_environment(
            PYTHONHASHSEED=str(rng.randrange(2**32)),
            LC_ALL=rng.choice(LOCALES),
            LANGUAGE=rng.choice(LOCALES),
            TZ=rng.choice(["UTC", "JST-9", "XXX+11:30"]),
            COLUMNS=str(rng.choice([20, 80, 500])),
            HOME=rng.choice(["/", "/nowhere"]),
        )
        machine = [sys.executable, "-W", "error", "-c", MACHINE, str(number), str(1 + number % 3)]
        form = ("json", "text", "markdown", "html")[number % 4]
        options = ["--format", form, "--out", str(plan), *rng.choice([(), ("--no-cache",)])]
        done = subprocess.run(
            [*machine, "-C", str(folder.root), "plan", *options],
            cwd=rng.choice(["/", str(tmp_path), str(folder.root)]),
            env=environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        seen |= {(form, done.stdout), ("saved", plan.read_bytes())}
    assert len(seen) == 5


# -- death -----------------------------------------------------------------------------------------


def killed_and_resumed(remote: Remote, before: Estate, after: Estate, fate: Fate, batching: Batching) -> bool:
    """Kill an apply of `after`, resume it, and hold the end against the law. False when it outlived its calls."""
    remote.reset()
    with project(remote.url) as folder:
        apply(write(folder, before), batching=batching)
        write(folder, after)
        earlier = {entry.run for entry in journal(folder)}
        total = remote.total
        whole = planned_of(folder, batching).compiled.calls
        planned = None
        try:
            planned = apply(folder, fate, batching)
        except Killed:
            pass
        else:
            assert not fate.dead
        with open_session(str(folder.root), None) as session:
            accepted = {
                address
                for entry in session.store.journal()
                if entry.run not in earlier and entry.outcome is Outcome.ACCEPTED
                for address, _ in entry.intent.covers
            }
            in_doubt = {address for entry in session.store.unsettled() for address, _ in entry.intent.covers}
            in_flight = {entry.intent.call for entry in session.store.unsettled() if entry.run not in earlier}
        resumed = apply(folder, batching=batching)
        again = {address for call in resumed.compiled.calls for address in (entry.address for entry in call.covers)}
        if fate.dead:
            assert not again & (accepted - in_doubt), "what was accepted is not sent again"
        else:
            assert planned is not None and not again
        assert in_doubt <= again, "what is in doubt is"
        allowed = sum(call.requests * (2 if call.number in in_flight else 1) for call in whole)
        assert len(in_flight) <= 1 and remote.total - total <= allowed, "once each, and what was in flight once more"
        assert_settled(folder, remote)
        return fate.dead


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("batching", ["never", "auto"])
def test_killed_at_every_call_it_goes_on_to_the_same_end(remote: Remote, point: str, batching: Batching) -> None:
    """P3 and P4, exhaustive for one estate: each boundary of each call."""
    call = 1
    while killed_and_resumed(remote, FULL, NEXT, Fate(call, point), batching):
        call += 1
    assert call > (8 if batching == "never" else 3)


@settings(QUICK, max_examples=25)
@given(
    pair=pairs(),
    call=st.integers(1, 12),
    point=st.sampled_from(POINTS),
    batching=st.sampled_from(["auto", "never"]),
)
def test_killed_anywhere_it_goes_on_to_the_same_end(
    shared_remote: Remote, pair: tuple[Estate, Estate], call: int, point: str, batching: Batching
) -> None:
    killed_and_resumed(shared_remote, *pair, Fate(call, point), batching)


@pytest.mark.parametrize("batching", ["auto", "never"])
def test_well_knowns_that_are_gone_do_not_come_back_with_the_end_of_an_alias(
    remote: Remote, batching: Batching
) -> None:
    """A shrunk case: the first run settled the user, the second one only empties the alias."""
    groups = [{"name": "Alpha", "members": []}]
    known = {"name": "dave", "wellKnowns": ["group:Alpha"]}
    entry = {"of": "user:dave", "is": [{"provider": EMAIL, "identity": "user:dave@example.com"}]}
    before = Estate({"groups": groups, "users": [known], "aliases": [entry]})
    after = Estate({"groups": groups, "users": [{"name": "dave"}]})

    assert killed_and_resumed(remote, before, after, Fate(1, "after recording"), batching)


def test_killed_twice_and_changed_in_between(remote: Remote) -> None:
    """What is in doubt from one plan is settled by another one that wants something else."""
    with project(remote.url) as folder:
        for estate, fate in (
            (FULL, Fate(3, "after sending")),
            (NEXT, Fate(2, "before recording")),
            (FULL, Fate(5, "before sending")),
        ):
            with pytest.raises(Killed):
                apply(write(folder, estate), fate, "never")
        apply(write(folder, NEXT), batching="never")
        assert_settled(folder, remote)
