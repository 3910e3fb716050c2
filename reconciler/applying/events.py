"""What happens while calls run, as typed values: the applier yields them, somebody else shows them.

Events hold no rendered text beyond a reason and a problem, and no clock reading: only durations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from reconciler.calls.call import Call
from reconciler.problems import Problem

FailureOutcome: TypeAlias = Literal["refused", "unknown", "stopped"]
RefreshOutcome: TypeAlias = Literal["not-asked", "triggered", "failed"]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins: its id, how many calls it will make and how many resources they settle."""

    run: str
    calls: int
    resources: int


@dataclass(frozen=True, slots=True)
class StatusTold:
    """The remote was told what a source is doing (push-api.md 5.5)."""

    source: str
    status: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something went wrong that stops nothing and changes nothing of what is applied."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class StageStarted:
    """The calls of a stage begin; those of the stage before are all accepted."""

    name: str
    calls: int


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The intent is recorded and the call is about to be sent."""

    call: Call


@dataclass(frozen=True, slots=True)
class CallRetried:
    """An attempt did not succeed; attempt number `attempt` follows after `wait_seconds`."""

    call: Call
    attempt: int
    wait_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """A call waits for its turn, as many seconds, under a limit such as `250 calls per 300 s`."""

    seconds: float
    limit: str


@dataclass(frozen=True, slots=True)
class CallAccepted:
    """The remote accepted the call and the state file says so; `request_ids` are what it calls its requests."""

    call: Call
    status: int
    seconds: float
    bytes_sent: int
    request_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The call was refused, or nobody knows whether it was accepted, or somebody stopped it before that.

    Only the first two count as failures; the next run sends all of them again.
    """

    call: Call
    problem: Problem
    outcome: FailureOutcome


@dataclass(frozen=True, slots=True)
class Stopping:
    """Somebody asked to stop: no further call starts, and those in flight are finished and recorded."""

    in_flight: int


@dataclass(frozen=True, slots=True)
class RefreshRetried:
    """A provider's refresh was not triggered; attempt number `attempt` follows after `wait_seconds`."""

    provider: str
    attempt: int
    wait_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class RefreshTriggered:
    """The remote was asked to refresh a provider's security cache and agreed (push-api.md 2.6)."""

    provider: str


@dataclass(frozen=True, slots=True)
class ProviderAccepted:
    """How many calls that change a provider's identities were accepted, and how many identities and aliases those
    change.

    They take effect when the provider's security cache is refreshed (push-api.md 5.1); `refresh` says whether it was
    asked to. Both counts are 0 where it was asked for the sake of an earlier run.
    """

    provider: str
    calls: int
    changes: int
    refresh: RefreshOutcome = "not-asked"


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run is over; each of its calls is counted once.

    `failures` are the failed and unknown ones as they came, `identities` what was accepted of each provider.
    """

    done: int
    failed: int
    unknown: int
    not_started: int
    seconds: float
    failures: tuple[CallFailed, ...] = ()
    identities: tuple[ProviderAccepted, ...] = ()


Event: TypeAlias = (
    RunStarted
    | StatusTold
    | Noted
    | StageStarted
    | CallStarted
    | CallRetried
    | Paused
    | CallAccepted
    | CallFailed
    | Stopping
    | RefreshRetried
    | RefreshTriggered
    | RunFinished
)
