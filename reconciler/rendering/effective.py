"""When identity changes take effect, in the words of plans and of what an apply came to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.calls.effective import duration, effective_words
from reconciler.rendering.values import count

if TYPE_CHECKING:
    from reconciler.applying.events import ProviderAccepted
    from reconciler.calls.call import IdentityEffect

_TRIGGERED = "as soon as the refresh that was triggered is done"


def effect_document(effect: IdentityEffect) -> dict[str, Any]:
    """Return what a plan changes of a provider's identities, and when that holds, as JSON values."""
    return {
        "provider": effect.provider,
        "calls": effect.calls,
        "changes": effect.changes,
        "effective": effective_words(effect.refresh_every),
        "refresh_every": effect.refresh_every,
    }


def effective_line(effects: Sequence[IdentityEffect], access: Mapping[str, Any]) -> str:
    """Return when a plan's identity changes take effect, and who keeps what until then; nothing when there are none.

    `access` is who gains and who loses sight of what (`rendering.exposuredoc`), empty where that was not worked out.
    """
    if not effects:
        return ""
    told = ", ".join(f"{count(effect.changes, 'change')} of {effect.provider}{_within(effect)}" for effect in effects)
    # What an item itself says holds as soon as it is indexed: those losses wait for nothing.
    late = [bool(entry["because"]) for entry in access.get("lost", ())]
    by_them = "" if all(late) else " by them"
    kept = f" For as long, those who lose sight{by_them} keep it." if any(late) else ""
    return f"Identity changes take effect at the provider's next refresh: {told}.{kept}"


def _within(effect: IdentityEffect) -> str:
    return "" if effect.refresh_every is None else f" (within {duration(effect.refresh_every)})"


def accepted_document(accepted: ProviderAccepted, refresh_every: int | None) -> dict[str, Any]:
    """Return what was accepted of a provider's identities, and when that takes effect, as JSON values."""
    return {
        "provider": accepted.provider,
        "calls": accepted.calls,
        "changes": accepted.changes,
        "effective": _when(accepted, refresh_every),
        "refresh_every": refresh_every,
        "refresh": accepted.refresh,
    }


def accepted_lines(accepted: Iterable[ProviderAccepted], refresh_every: Mapping[str, int]) -> Iterator[str]:
    """Yield, for each provider, how many of its identities were changed and when that takes effect."""
    for entry in accepted:
        when = _when(entry, refresh_every.get(entry.provider))
        if entry.calls:
            verb = "takes" if entry.changes == 1 else "take"
            yield f"{count(entry.changes, 'identity change')} of {entry.provider} accepted; {verb} effect {when}."
        else:
            yield f"what earlier runs changed of {entry.provider} takes effect {when}."


def _when(accepted: ProviderAccepted, refresh_every: int | None) -> str:
    return _TRIGGERED if accepted.refresh == "triggered" else effective_words(refresh_every)
