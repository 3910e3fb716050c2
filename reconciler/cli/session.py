"""What the commands that work on a project have in common: the project, its state, its plan.

This is where the pure parts are wired to files; it prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.opening import Opened, open_project
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Project
from reconciler.model.states import Resource, StateBase, Target
from reconciler.planning.plan import BodyRef, Plan
from reconciler.problems import ManifestError, Problem, StateError, errors_in
from reconciler.state.sqlite import SqliteStore

if TYPE_CHECKING:
    from reconciler.calls.compile import Batching, Compiled
    from reconciler.calls.context import WireContext
    from reconciler.manifest.load import Loaded
    from reconciler.planning.hazards import Limits
    from reconciler.planning.make import Wish

# What a cached reading depends on beside the texts; raise it when reading comes to mean something else.
CACHE_EDITION = f"{__version__}/1"
WORK_FOLDER = ".reconciler"


@dataclass(slots=True)
class Session:
    """An opened project with its state. Close it."""

    opened: Opened
    store: SqliteStore
    cache: ManifestCache

    @property
    def project(self) -> Project:
        """What reconciler.yaml says for the environment."""
        return self.opened.project

    @property
    def folder(self) -> ProjectFolder:
        """The project's folder."""
        return self.opened.folder

    @property
    def work_folder(self) -> Path:
        """Where everything is kept that is not the user's: state, cache, the emulator's data."""
        return self.folder.root / WORK_FOLDER

    @property
    def target(self) -> Target:
        """Which remote the project speaks of."""
        project = self.project
        return Target(
            project.environment.organization,
            tuple((source.name, source.id) for source in project.sources),
            tuple((provider.name, provider.id) for provider in project.providers),
        )

    @property
    def source_providers(self) -> dict[str, str]:
        """The provider of each source that has one."""
        return {source.name: source.provider for source in self.project.sources if source.provider}

    def wire_context(self) -> WireContext:
        """Return what names mean at the remote."""
        from reconciler.calls.context import WireContext

        return WireContext.of(self.target, {source.name: source.provider for source in self.project.sources})

    def close(self) -> None:
        """Let go of all files."""
        self.store.close()
        self.cache.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_session(directory: str | None, environment: str | None, *, use_cache: bool = True) -> Session:
    """Find the project and open its state for reading. Raises UsageError, ManifestError or StateError."""
    opened = open_project(directory, environment)
    work = opened.folder.root / WORK_FOLDER
    cache = ManifestCache(work / "cache.db" if use_cache else None, CACHE_EDITION)
    if use_cache:
        _ignore_in_git(work)
    return Session(opened, SqliteStore(opened.folder.root / opened.project.environment.state), cache)


def _ignore_in_git(work: Path) -> None:
    """Keep the work folder out of version control: a state in git is merged, and then it lies."""
    marker = work / ".gitignore"
    try:
        if work.is_dir() and not marker.exists():
            marker.write_text("*\n")
    except OSError:
        return


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with its calls.

    `loaded` is what it was made from, None for a saved plan and for one of nothing. `digest` names a
    saved plan.
    """

    plan: Plan
    compiled: Compiled
    loaded: Loaded | None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class _Recorded:
    base: StateBase
    fingerprints: dict[str, bytes]
    unsettled: frozenset[str]
    target: Target | None


def make_project_plan(
    session: Session,
    wish: Wish,
    *,
    keep_bodies: bool = False,
    digest: bool = False,
    batching: Batching = "auto",
) -> Planned:
    """Read manifests and state and return the plan between them.

    Raises ManifestError with all problems when any is an error, StateError for an unusable state or
    one of another target.
    """
    from reconciler.manifest.load import load_manifests
    from reconciler.planning.make import Side, make_plan
    from reconciler.planning.selection import check_sources

    check_sources(wish.sources, [source.name for source in session.project.sources])
    recorded = _read_state(session)
    loaded = load_manifests(
        session.project,
        session.folder,
        session.opened.file,
        recorded=recorded.fingerprints,
        cache=session.cache,
        keep_bodies=keep_bodies,
    )
    if errors_in(loaded.problems):
        raise ManifestError(*loaded.problems)
    check_target(session, recorded.target)
    plan = make_plan(
        environment=session.project.environment.name,
        target=session.target,
        base=recorded.base,
        desired=Side(loaded.desired.fingerprints, loaded.resources),
        recorded=Side(recorded.fingerprints, lambda addresses: recorded_resources(session.store, addresses)),
        unsettled=recorded.unsettled,
        moved=loaded.desired.moved,
        limits=_limits(session.project),
        wish=wish,
        problems=loaded.problems,
        bodies=lambda addresses: _bodies(loaded, addresses),
        manifest_digest=loaded.desired.digest() if digest else "",
    )
    return Planned(plan, _compile(session, plan, batching), loaded)


def make_destroy_plan(session: Session, wish: Wish, *, batching: Batching = "auto") -> Planned:
    """Return the plan of deleting everything that is recorded; manifests are not read."""
    from reconciler.planning.hazards import Limits
    from reconciler.planning.make import Side, make_plan

    recorded = _read_state(session)
    check_target(session, recorded.target)
    plan = make_plan(
        environment=session.project.environment.name,
        target=session.target,
        base=recorded.base,
        desired=Side({}, lambda _addresses: {}),
        recorded=Side(recorded.fingerprints, lambda addresses: recorded_resources(session.store, addresses)),
        unsettled=recorded.unsettled,
        moved={},
        limits=Limits(),
        wish=wish,
        bodies=lambda _addresses: (),
    )
    return Planned(plan, _compile(session, plan, batching), None)


def _read_state(session: Session) -> _Recorded:
    store = session.store
    with store.reading():
        unsettled = {address for entry in store.unsettled() for address, _ in entry.intent.covers}
        return _Recorded(
            store.base(), store.fingerprints(), frozenset(unsettled) | frozenset(store.rejected()), store.target()
        )


def recorded_resources(store: SqliteStore, addresses: Iterable[str]) -> Mapping[str, Resource]:
    """Return the recorded resources at these addresses."""
    return {row.address: row.resource for row in store.rows(addresses)}


def check_target(session: Session, recorded: Target | None) -> None:
    """Refuse a project that now means another organization, source or provider than the state speaks of."""
    if recorded is None:
        return
    target = session.target
    moved = []
    if recorded.organization != target.organization:
        moved.append(f'organization "{recorded.organization}" is now "{target.organization}"')
    for what, before, after in (
        ("source", recorded.sources, target.sources),
        ("provider", recorded.providers, target.providers),
    ):
        now = dict(after)
        moved += [
            f'{what} "{name}" was "{known}" and is now "{now[name]}"'
            for name, known in before
            if name in now and now[name] != known
        ]
    if moved:
        raise StateError(
            Problem(
                "other-target",
                f"the state speaks of another remote: {'; '.join(moved)}",
                why="what it records was pushed there, so it says nothing about the new place.",
                fix="give the environment a `state` of its own, or undo the change in reconciler.yaml.",
                where=session.store.where,
            )
        )


def _bodies(loaded: Loaded, addresses: Iterable[str]) -> Iterator[BodyRef]:
    seen: set[str] = set()
    for entry in loaded.entries(addresses).values():
        if entry.body_sha256 and entry.body_sha256 not in seen:
            seen.add(entry.body_sha256)
            yield BodyRef(entry.body_sha256, entry.body_size, entry.content_path)


def _limits(project: Project) -> Limits:
    from reconciler.planning.hazards import Limits

    guardrails = project.guardrails
    return Limits(guardrails.deletes, guardrails.updates, guardrails.max_changes)


def _compile(session: Session, plan: Plan, batching: Batching) -> Compiled:
    from reconciler.calls.compile import Compiled, compile_calls

    if not plan.changes:
        return Compiled()
    paths = {body.sha256: body.path for body in plan.bodies if body.path}
    return compile_calls(plan.changes, session.wire_context(), batching=batching, body_paths=paths)
