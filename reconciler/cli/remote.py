"""The remote of an environment: the public hosts, a base URL, or the embedded emulator, started here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.cli.session import Session
from reconciler.problems import Problem, StateError, UsageError
from reconciler.settings import Secret, find_api_key

if TYPE_CHECKING:
    from reconciler.calls.quotas import Allowance
    from reconciler.emulator.options import EmulatorOptions, Visibility
    from reconciler.manifest.project import Environment, Project
    from reconciler.pushapi.hosts import Hosts
    from reconciler.pushapi.network import Network
    from reconciler.pushapi.pace import Pace
    from reconciler.pushapi.reader import Reader
    from reconciler.pushapi.retry import RetryPolicy

EMULATOR = "emulator"
_VISIBILITY: dict[str, Visibility] = {"secured": "SECURED", "shared": "SHARED", "private": "PRIVATE"}


@dataclass(frozen=True, slots=True)
class Remote:
    """Where calls go, the key that opens it, and how calls are made.

    One `pace` for all that speaks to the Push API in a run: the remote counts those calls together. Reading
    takes no turns: the quotas are the Push API's (push-api.md 4.2), and a read that is throttled waits as asked.
    """

    hosts: Hosts
    api_key: Secret
    network: Network
    policy: RetryPolicy
    pace: Pace

    def reader(self, organization: str, policy: RetryPolicy | None = None) -> Reader:
        """Return the read side of an organization, which the caller closes; `policy` in place of the remote's."""
        from reconciler.pushapi.reader import Reader

        key = self.api_key.reveal()
        return Reader(self.hosts, organization, key, network=self.network, policy=policy or self.policy)


@contextmanager
def connect(session: Session) -> Iterator[Remote]:
    """Give the environment's remote for the length of a `with` block.

    Raises UsageError without a key, when the key would travel in clear, or when the proxy or the certificates
    cannot be used.
    """
    environment = session.project.environment
    if environment.target == EMULATOR:
        with _emulator(session) as (hosts, key):
            yield _remote(session, hosts, key)
        return
    hosts = remote_hosts(environment)
    _check_secrecy(environment, hosts)
    key = find_api_key(environment.api_key, session.folder.root)
    yield _remote(session, hosts, key)


def remote_hosts(environment: Environment) -> Hosts:
    """Return the hosts of an environment that is not on the embedded emulator."""
    from reconciler.pushapi.hosts import hosts, hosts_at

    if environment.target:
        return hosts_at(environment.target)
    return hosts("us", "hipaa") if environment.region == "hipaa" else hosts(environment.region)


def _check_secrecy(environment: Environment, hosts: Hosts) -> None:
    """Refuse to speak to another machine by anything but https. Raises UsageError."""
    from reconciler.pushapi.hosts import is_local

    if hosts.push.startswith("https://") or is_local(hosts.push):
        return
    raise UsageError(
        Problem(
            "target-in-clear",
            f'the target of environment "{environment.name}" is not an https address',
            why="the API key and all content would travel in clear, to be read by whoever is on the way.",
            fix="write https:// in `target` of the environment; http:// is for this machine's own addresses, such as "
            "http://127.0.0.1:8080.",
        )
    )


def quota_allowance(project: Project) -> Allowance:
    """Return what may be sent to the environment: as published, or as the project says.

    The published figures hold for the remote alone, not for an emulator on this machine.
    """
    from reconciler.calls.quotas import allowance
    from reconciler.pushapi.hosts import is_local

    target = project.environment.target
    return allowance(project.quotas, published=target != EMULATOR and not (target and is_local(target)))


def _remote(session: Session, hosts: Hosts, key: Secret) -> Remote:
    from reconciler.pushapi.network import Network
    from reconciler.pushapi.pace import Pace, Window
    from reconciler.pushapi.retry import policy_for

    environment = session.project.environment
    # The embedded emulator is this process itself.
    proxy = None if environment.target == EMULATOR else environment.proxy
    # Nor does its storage leave this process.
    upload_hosts = () if environment.target == EMULATOR else environment.upload_hosts
    network = Network(proxy, _ca_file(session), environment.ca_file or "", upload_hosts)
    for url in (hosts.push, hosts.platform):
        network.check(url)
    windows = [Window(calls, seconds) for calls, seconds in quota_allowance(session.project).windows]
    return Remote(hosts, key, network, policy_for(environment.retry_for), Pace(windows))


def _ca_file(session: Session) -> str | None:
    name = session.project.environment.ca_file
    if name is None:
        return None
    found = session.folder.resolve(name)
    if isinstance(found, Problem):
        raise UsageError(replace(found, where="`caFile` of the environment"))
    return found.real


@contextmanager
def _emulator(session: Session) -> Iterator[tuple[Hosts, Secret]]:
    import secrets
    import sqlite3

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
        yield hosts_at(emulator.url), Secret(key)


def emulator_options(project: Project) -> EmulatorOptions:
    """Return an emulator's options that serve what the project names."""
    from reconciler.emulator.options import EmulatorOptions, SourceOptions

    ids = {provider.name: provider.id for provider in project.providers}
    return EmulatorOptions(
        organizations=(project.environment.organization,),
        sources=tuple(
            SourceOptions(source.id, _VISIBILITY[source.visibility], ids.get(source.provider or ""), source.kind)
            for source in project.sources
        ),
        providers=tuple((provider.id, provider.cascades_to, provider.case_sensitive) for provider in project.providers),
    )
