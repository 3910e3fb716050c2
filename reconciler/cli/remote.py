"""The remote of an environment: the public hosts, a base URL, or the embedded emulator, started here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.cli.session import Session
from reconciler.problems import Problem, StateError
from reconciler.settings import Secret, find_api_key

if TYPE_CHECKING:
    from reconciler.emulator.options import EmulatorOptions, Visibility
    from reconciler.manifest.project import Project
    from reconciler.pushapi.hosts import Hosts

EMULATOR = "emulator"
_VISIBILITY: dict[str, Visibility] = {"secured": "SECURED", "shared": "SHARED", "private": "PRIVATE"}


@dataclass(frozen=True, slots=True)
class Remote:
    """Where calls go, and the key that opens it."""

    hosts: Hosts
    api_key: Secret


@contextmanager
def connect(session: Session) -> Iterator[Remote]:
    """Give the environment's remote for the length of a `with` block. Raises UsageError without a key."""
    from reconciler.pushapi.hosts import hosts, hosts_at

    environment = session.project.environment
    if environment.target == EMULATOR:
        with _emulator(session) as remote:
            yield remote
        return
    key = find_api_key(environment.api_key, session.folder.root)
    if environment.target:
        yield Remote(hosts_at(environment.target), key)
    elif environment.region == "hipaa":
        yield Remote(hosts("us", "hipaa"), key)
    else:
        yield Remote(hosts(environment.region), key)


@contextmanager
def _emulator(session: Session) -> Iterator[Remote]:
    import secrets
    import sqlite3
    from dataclasses import replace

    from reconciler.emulator.database import UnreadableDatabase
    from reconciler.emulator.server import BackgroundEmulator
    from reconciler.pushapi.hosts import hosts_at

    # Nobody else is to speak to it while it runs, so each run has a key of its own.
    key = secrets.token_urlsafe(24)
    options = replace(emulator_options(session.project), api_key=key, data_dir=session.work_folder / EMULATOR)
    with ExitStack() as stack:
        try:
            emulator = stack.enter_context(BackgroundEmulator(options))
        except (UnreadableDatabase, sqlite3.Error, OSError) as error:
            raise StateError(
                Problem(
                    "emulator-data",
                    f"the embedded emulator cannot start: {error}",
                    why="it keeps what was pushed in this folder, which it must be able to write.",
                    fix="make the folder writable; if its files are damaged, move it away together with the state, "
                    "which speaks of what it held.",
                    where=str(options.data_dir),
                )
            ) from None
        yield Remote(hosts_at(emulator.url), Secret(key))


def emulator_options(project: Project) -> EmulatorOptions:
    """Return an emulator's options that serve what the project names."""
    from reconciler.emulator.options import EmulatorOptions, SourceOptions

    ids = {provider.name: provider.id for provider in project.providers}
    return EmulatorOptions(
        organizations=(project.environment.organization,),
        sources=tuple(
            SourceOptions(source.id, _VISIBILITY[source.visibility], ids.get(source.provider or ""))
            for source in project.sources
        ),
        providers=tuple((provider.id, provider.cascades_to) for provider in project.providers),
    )
