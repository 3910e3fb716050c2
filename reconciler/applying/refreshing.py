"""Which providers a run changed, and the refresh of their security caches that it may ask for at its end.

The remote takes identities into a store of its own, and its security cache picks them up when it is refreshed
(push-api.md 2.6, 5.1): until then whoever loses sight of an item keeps it.

[io] It sends nothing by itself, and asks in a thread of its own so that what is waited for is told meanwhile.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from reconciler.applying.events import Noted, ProviderAccepted, RefreshOutcome, RefreshRetried, RefreshTriggered
from reconciler.calls.call import IDENTITY_CALLS, Call
from reconciler.problems import ReconcilerError


class Refresher(Protocol):
    """Asks the remote to refresh the security cache of a provider, named as in the project. Raises ReconcilerError.

    `retried` hears of each retry before it is waited for: the number of the attempt to come, seconds, the reason.
    """

    def __call__(self, provider: str, *, retried: Callable[[int, float, str], None]) -> None: ...


class Refreshing:
    """Gathers what a run changes of each provider, and has each refreshed once if there is a `refresh`.

    `waiting` are the providers of which earlier runs changed something that nobody has seen take effect.
    """

    def __init__(self, refresh: Refresher | None = None, waiting: Iterable[str] = ()) -> None:
        self._refresh = refresh
        self._touched = set(waiting) if refresh is not None else set()
        self._calls: dict[str, int] = {}
        self._changed: dict[str, set[str]] = {}
        self._outcomes: dict[str, RefreshOutcome] = {}

    def accepted(self, call: Call) -> None:
        """Take note of a call that the remote took."""
        if call.kind in IDENTITY_CALLS:
            self._touched.add(call.scope)
            self._calls[call.scope] = self._calls.get(call.scope, 0) + 1
            self._changed.setdefault(call.scope, set()).update(covered.address for covered in call.covers)

    def doubtful(self, call: Call) -> None:
        """Take note of a call that the remote may have taken: a narrowing in it must not wait for the next run."""
        if call.kind in IDENTITY_CALLS:
            self._touched.add(call.scope)

    def events(self) -> Iterator[RefreshRetried | RefreshTriggered | Noted]:
        """Have the providers refreshed that are not yet; what goes wrong is told and hinders nothing."""
        while self._refresh is not None and self._touched:
            provider = min(self._touched)
            # Whatever ends this, nobody is asked twice.
            self._touched.remove(provider)
            self._outcomes[provider] = "failed"
            try:
                yield from _asking(self._refresh, provider)
            except ReconcilerError as error:
                yield Noted(error.problems[0])
            else:
                self._outcomes[provider] = "triggered"
                yield RefreshTriggered(provider)

    def outcome(self) -> tuple[ProviderAccepted, ...]:
        """Return what was accepted of each provider and what came of its refresh, by the provider's name."""
        return tuple(
            ProviderAccepted(
                provider,
                self._calls.get(provider, 0),
                len(self._changed.get(provider, ())),
                self._outcomes.get(provider, "not-asked"),
            )
            for provider in sorted(self._calls.keys() | self._outcomes.keys())
        )


def _asking(refresh: Refresher, provider: str) -> Iterator[RefreshRetried]:
    """Have a provider refreshed, and yield each retry when it begins to be waited for. Raises what `refresh` raises."""
    heard: queue.SimpleQueue[RefreshRetried | None] = queue.SimpleQueue()
    failures: list[BaseException] = []

    def retried(attempt: int, wait: float, reason: str) -> None:
        heard.put(RefreshRetried(provider, attempt, wait, reason))

    def ask() -> None:
        try:
            refresh(provider, retried=retried)
        except BaseException as error:
            failures.append(error)
        heard.put(None)

    # A daemon: asked twice to stop, the process must not wait for an answer that may take minutes.
    threading.Thread(target=ask, daemon=True).start()
    while (retry := heard.get()) is not None:
        yield retry
    if failures:
        raise failures[0]
