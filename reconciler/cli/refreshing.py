"""The refresh of security caches that `--refresh-identities` asks for: of whom, how it is announced, and the call."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from reconciler.applying.events import Event, RunFinished
from reconciler.applying.patience import Patience
from reconciler.applying.refreshing import Refresher, Refreshing
from reconciler.calls.call import IDENTITY_CALLS, Compiled
from reconciler.cli.session import Session
from reconciler.model.address import Address, Kind
from reconciler.problems import Severity

if TYPE_CHECKING:
    from reconciler.cli.remote import Remote
    from reconciler.pushapi.failures import CallFailed

_NOT_ALLOWED = (401, 403)


def unrefreshed(session: Session) -> tuple[str, ...]:
    """Return the providers of which something was accepted that nobody has seen take effect.

    Those are what a run left that died before it could ask for the refresh, or that was not to ask for it.
    """
    from reconciler.verifying.scope import read_scope

    scope = read_scope(session.store, everything=False)
    addresses = map(Address, (*scope.rows, *scope.deletions))
    known = {provider.name for provider in session.project.providers}
    return tuple(sorted({entry.scope for entry in addresses if entry.kind is not Kind.ITEM} & known))


def to_refresh(compiled: Compiled, waiting: Iterable[str]) -> tuple[str, ...]:
    """Return the providers that a run of these calls may ask to be refreshed."""
    changed = {call.scope for call in compiled.calls if call.kind in IDENTITY_CALLS}
    return tuple(sorted(changed.union(waiting)))


def announcement(session: Session, providers: Iterable[str]) -> Iterator[str]:
    """Yield what will be asked for beside the plan's calls, as lines."""
    from reconciler.rendering.values import count, visible

    organization = quote(session.project.environment.organization, safe="")
    calls = [
        f"  POST rest/organizations/{organization}/securitycache/{quote(id_, safe='')}/refresh"
        for name, id_ in session.target.providers
        if name in set(providers)
    ]
    if calls:
        yield f"And then {count(len(calls), 'refresh', 'refreshes')} of identities:"
        yield from map(visible, calls)
    else:
        yield "No refresh is asked for: no identity change waits for one."


@contextmanager
def refresher(session: Session, remote: Remote, sleep: Callable[[float], None] = time.sleep) -> Iterator[Refresher]:
    """Give what triggers a refresh, with the attempts and at the pace of other calls."""
    from reconciler.pushapi.failures import CallFailed
    from reconciler.pushapi.reader import Reader

    ids = dict(session.target.providers)
    with Reader(
        remote.hosts,
        session.project.environment.organization,
        remote.api_key.reveal(),
        network=remote.network,
        pace=remote.pace,
        policy=remote.policy,
        sleep=sleep,
    ) as reader:

        def refresh(provider: str, *, retried: Callable[[int, float, str], None]) -> None:
            try:
                reader.refresh(ids[provider], retried)
            except CallFailed as error:
                raise _told(session, provider, error) from error

        yield refresh


def _told(session: Session, provider: str, error: CallFailed) -> CallFailed:
    """Return the failure in words that say what it means for access; it stops nothing, so it is a note."""
    from reconciler.pushapi.failures import CallFailed

    problem = error.problems[0]
    forbidden = error.status in _NOT_ALLOWED
    happened = "the API key may not refresh" if forbidden else "the remote did not take the request to refresh"
    told = replace(
        problem,
        code="refresh-not-allowed" if forbidden else "refresh-not-triggered",
        what=f"{happened} its security cache ({problem.what.removesuffix('.')}): what was accepted takes effect at "
        "the provider's own next refresh, and until then those who lose sight keep it",
        why="the remote's security cache takes identities over when it is refreshed, often once a day.",
        fix="give the key the privilege Security identity providers - Edit, or refresh the provider in the "
        "administration console"
        if forbidden
        else f"ask again:\n    {shlex.join(('reconciler', *session.options, 'apply'))} --refresh-identities",
        where=f'provider "{provider}"',
        severity=Severity.NOTE,
    )
    return CallFailed(told, outcome=error.outcome, status=error.status)


def refresh_alone(
    session: Session, remote: Remote, providers: Iterable[str], handle: Callable[[Event], None]
) -> RunFinished:
    """Trigger the refreshes where no call is to be made, and return what came of them, as of a run of no calls."""
    began = time.monotonic()
    with refresher(session, remote) as refresh:
        refreshing = Refreshing(Patience(lambda: False, time.monotonic), refresh, providers)
        for event in refreshing.events():
            handle(event)
    return RunFinished(0, 0, 0, 0, time.monotonic() - began, (), refreshing.outcome())
