"""Which providers a run changed, and the refresh of their security caches that it may ask for at its end.

The remote takes identities into a store of its own, and its security cache picks them up when it is refreshed
(push-api.md 2.6, 5.1): until then whoever loses sight of an item keeps it.

It sends nothing by itself; retries are told when they begin to be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from reconciler.applying.events import Noted, ProviderAccepted, RefreshOutcome, RefreshRetried, RefreshTriggered
from reconciler.applying.patience import Patience
from reconciler.calls.call import IDENTITY_CALLS, Call
from reconciler.problems import ReconcilerError


class Refresher(Protocol):
    """Asks the remote to refresh the security cache of a provider, named as in the project. Raises ReconcilerError.

    `retried` hears of each retry before it is waited for: the number of the attempt to come, seconds, the reason.
    """

    def __call__(self, provider: str, *, retried: Callable[[int, float, str], None]) -> None: ...


class Refreshing:
    """Gathers what a run changes of each provider, and has each refreshed once if there is a `refresh`.

    `waiting` are the providers of which earlier runs changed something that nobody has seen take effect. An answer
    is waited for as long as there is `patience`.
    """

    def __init__(self, patience: Patience, refresh: Refresher | None = None, waiting: Iterable[str] = ()) -> None:
        self._patience = patience
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
                yield from _asking(self._patience, self._refresh, provider)
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


def _asking(patience: Patience, refresh: Refresher, provider: str) -> Iterator[RefreshRetried]:
    """Have a provider refreshed, and yield each retry when it begins to be waited for. Raises what `refresh` raises."""

    def ask(tell: Callable[[RefreshRetried], None]) -> None:
        def retried(attempt: int, wait: float, reason: str) -> None:
            tell(RefreshRetried(provider, attempt, wait, reason))

        refresh(provider, retried=retried)

    yield from patience.listen(f'the refresh of provider "{provider}"', ask)
