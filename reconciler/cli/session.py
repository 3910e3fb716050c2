"""The project that a command works on, opened: its folder, its settings, its state, its cache.

This is where the pure parts are wired to files; it prints nothing. Plans are made in `makeplan`.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.logs import phase
from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.opening import find_project, open_project
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Project
from reconciler.model.states import Target
from reconciler.problems import ManifestError, Problem, ReconcilerError, StateError
from reconciler.settings import find_state_key
from reconciler.state.opening import open_store
from reconciler.state.store import Store

if TYPE_CHECKING:
    from reconciler.bodies import BodyStore
    from reconciler.calls.context import WireContext

# What a cached reading depends on beside the texts; raise it when reading comes to mean something else.
CACHE_EDITION = f"{__version__}/13"
WORK_FOLDER = ".reconciler"


@dataclass(slots=True)
class Session:
    """An opened project with its state, as of an instant (seconds since 1970). Close it."""

    folder: ProjectFolder
    project_file: str
    project: Project
    store: Store
    cache: ManifestCache
    as_of: int
    options: tuple[str, ...] = ()  # the -C and -e that were given

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
        from reconciler.calls.context import SourceRef, WireContext

        project = self.project
        return WireContext(
            project.environment.organization,
            {
                source.name: SourceRef(
                    source.id,
                    source.provider,
                    catalog=source.kind == "catalog",
                    exclusive=source.exclusive,
                    compression=source.compression,
                    status=source.status,
                )
                for source in project.sources
            },
            {provider.name: provider.id for provider in project.providers},
            frozenset(provider.name for provider in project.providers if provider.exclusive),
        )

    def close(self) -> None:
        """Let go of all files."""
        self.store.close()
        self.cache.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.close()
        if isinstance(error, ReconcilerError):
            error.problems = tuple(self.placed(problem) for problem in error.problems)

    def placed(self, problem: Problem) -> Problem:
        """Return the problem with commands to copy that mean this project and this environment."""
        command = shlex.join(["reconciler", *self.options])
        return replace(problem, fix=problem.fix.replace("\n    reconciler ", f"\n    {command} "))


def open_session(
    directory: str | None, environment: str | None, *, use_cache: bool = True, as_of: int | None = None
) -> Session:
    """Find the project and open its state for reading; grants that end are read `as_of`, or as of now.

    Raises UsageError, ManifestError or StateError.
    """
    folder, file = find_project(directory)
    work = folder.root / WORK_FOLDER
    cache = ManifestCache(work / "cache.db" if use_cache else None, CACHE_EDITION)
    try:
        if use_cache:
            _ignore_in_git(work)
        with phase("opening the project"):
            project = open_project(folder, file, environment, cache)
        key = find_state_key()
        chosen = project.environment
        with phase("opening the state"):
            store = open_store(chosen.state, folder.root, work, key, must_encrypt=chosen.encrypt_state)
    except BaseException as error:
        cache.close()
        if isinstance(error, ManifestError):
            error.folder = str(folder.root)
        raise
    options = [*(("-C", directory) if directory else ()), *(("-e", environment) if environment else ())]
    return Session(folder, file, project, store, cache, int(time.time()) if as_of is None else as_of, tuple(options))


def bodies_store(session: Session) -> BodyStore:
    """Return the store of those bodies that stand in manifests.

    One for each environment: an apply forgets the bodies that its environment needs no more.
    """
    from reconciler.bodies import BodyStore

    return BodyStore(session.work_folder / f"{session.project.environment.name}.bodies.db")


def check_target(session: Session, recorded: Target | None) -> None:
    """Refuse a project that now means another organization, source or provider than the state speaks of.

    A state that was moved to another store speaks of nothing any more.
    """
    if to := session.store.moved_to():
        from reconciler.state.whole import moved_problem

        raise StateError(moved_problem(session.store.where, to))
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


def _ignore_in_git(work: Path) -> None:
    """Keep the work folder out of version control: a state in git is merged, and then it lies."""
    marker = work / ".gitignore"
    try:
        if work.is_dir() and not marker.exists():
            marker.write_text("*\n")
    except OSError:
        return
