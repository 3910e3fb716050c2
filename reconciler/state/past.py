"""What was recorded at a moment of the past, as far as it decides who sees what: the state, walked back.

Each accepted call, and each change without one, wrote down what it found (`StateReader.steps`). What the changes after
the moment found first is what was there at the moment; what none of them touched is as it is now. Knows nothing of how
a store keeps it, nor of who asks.

Changes are in the order in which they were recorded. Should the clock of one computer have been wrong, all that came
after a change that is dated later than the moment came after the moment, too, and `misdated` names the runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import DIGEST_SIZE, NO_SHARED, digest
from reconciler.model.former import ABSENT, Former, access_digest
from reconciler.model.instant import NotAnInstant, moment_text, parse_moment
from reconciler.model.states import Resource
from reconciler.problems import Problem, StateError
from reconciler.state.journal import REPLACED, WITHOUT_CALL, JournalEntry, Outcome, RunRecord
from reconciler.state.store import StateReader

_NO_DOCUMENT = b"{}"
_NOT_KEPT = bytes(DIGEST_SIZE)  # stands for the digest of an item's own document, of which nothing is kept
_ITEM = f"{Kind.ITEM.value}/"
_END = 1 << 62


@dataclass(frozen=True, slots=True)
class Past:
    """The recorded state at a moment, told by how it differs from the present one.

    `moment` is in milliseconds since 1970. `run` is the one that had last begun, and `under_way` says that it had not
    ended; `applied` is the newest up to it that had a call accepted by then, None if there is none. `formers` are what
    was recorded then where it is not what is recorded now, in address order. `doubts` are the calls whose outcome
    nobody knew then, with the addresses that no later call had settled. `misdated` are runs whose clock contradicts
    the order in which things were recorded.
    """

    moment: int
    run: RunRecord
    applied: RunRecord | None
    under_way: bool
    formers: Mapping[Address, Former]
    doubts: tuple[JournalEntry, ...]
    misdated: tuple[str, ...]

    def fingerprints(self, now: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return the fingerprints of then, of those of `now`, in address order.

        Of an item that was sent again since, the half that is of its own document is that of now, or zeros: it has
        no part in who sees the item, and is not kept.
        """
        found = dict(now)
        for address, former in self.formers.items():
            if not former.existed:
                found.pop(address, None)
            elif address.kind is Kind.ITEM:
                shared = digest(former.shared) if former.shared else NO_SHARED
                found[address] = now.get(address, _NOT_KEPT)[:DIGEST_SIZE] + shared
            else:
                found[address] = Resource(address, former.doc, former.shared).fingerprint
        return dict(sorted(found.items()))

    def resources(self, now: Mapping[str, Resource], addresses: Sequence[str]) -> dict[str, Resource]:
        """Return what was recorded then at these addresses, given what is recorded there now.

        An item has the document of now, or an empty one, and the permissions of then.
        """
        found: dict[str, Resource] = {}
        for address in addresses:
            former = self.formers.get(Address(address))
            present = now.get(address)
            if former is None:
                if present is not None:
                    found[address] = present
            elif former.existed:
                own = former.doc if former.address.kind is not Kind.ITEM else present.doc if present else _NO_DOCUMENT
                found[address] = Resource(former.address, own, former.shared)
        return found


def past_of(state: StateReader, moment: int, now: Mapping[str, bytes]) -> Past:
    """Return what was recorded at a moment, in milliseconds since 1970: all that was recorded by then, to the call.

    `now` are the fingerprints that are recorded. Raises StateError `history-too-short` for a moment before the first
    that is known, and `history-torn` when what was written down does not fit together.
    """
    history = state.runs()[::-1]
    cut = next((place for place, record in enumerate(history) if _ended(state, record) > moment), len(history))
    if not history or moment < _known_from(state, history):
        raise StateError(_too_short(state, history, cut, moment))
    walk = _Walk(state)
    misdated = {record.run.id for record in history[cut + 1 :] if record.ended_at and _time(record.ended_at) <= moment}
    amid = False
    for place, record in enumerate(history[cut:]):
        for step in state.steps(record.run.id):
            early = _time(step.at) <= moment
            if early and place == 0:
                amid = True
                continue
            if early:
                misdated.add(record.run.id)
            if step.formers is None:
                raise StateError(_too_short(state, history, cut, moment))
            walk.add(record, step.formers)
    walk.end_at(now)
    begun = cut < len(history) and (amid or _time(history[cut].run.started_at) <= moment)
    upto = history[: cut + begun]
    return Past(
        moment=moment,
        run=upto[-1],
        applied=_applied(state, upto, moment),
        under_way=begun,
        formers=dict(sorted(walk.found.items())),
        doubts=tuple(_doubts(state, history, cut, moment)),
        misdated=tuple(record.run.id for record in history if record.run.id in misdated),
    )


def _time(text: str) -> int:
    """Return a recorded time in milliseconds since 1970; what is no time is as early as can be."""
    try:
        return parse_moment(text)
    except NotAnInstant:
        return -_END


def _ended(state: StateReader, record: RunRecord) -> int:
    """Return when a run ended; of one that died or is under way, when it last wrote something down."""
    if record.ended_at:
        return _time(record.ended_at)
    times = [_time(entry.settled_at or entry.intent.at) for entry in state.journal(record.run.id)]
    return max([_time(record.run.started_at), *times])


# -- how far back ----------------------------------------------------------------------------------


def _known_from(state: StateReader, history: Sequence[RunRecord]) -> int:
    """Return the moment before which nothing is known for certain: the first run, or the last that is not kept."""
    kept = set(state.runs_with_formers())
    lost = [_ended(state, record) for record in history if record.run.id not in kept]
    return max(lost, default=_time(history[0].run.started_at))


def _too_short(state: StateReader, history: Sequence[RunRecord], cut: int, moment: int) -> Problem:
    asked = moment_text(moment)
    if not history:
        return Problem(
            "history-too-short",
            f"nothing is known of {asked}: nothing ran yet",
            where=state.where,
            fix="apply first; the history begins with that.",
        )
    silent = (step for record in history[cut:] for step in state.steps(record.run.id) if step.formers is None)
    first = _known_from(state, history)
    known_from = max([first, *(_time(step.at) for step in silent)])
    if known_from == _time(history[0].run.started_at):
        why = f"run {history[0].run.id} is the first of this state; what the remote had before was recorded nowhere."
    else:
        why = "what was before earlier changes was not written down, by an earlier version of reconciler."
    return Problem(
        "history-too-short",
        f"nothing is known of {asked}: the history reaches back to {moment_text(known_from)}",
        why=why,
        fix="ask of a later moment, or look for a backup of the state from that time.",
        where=state.where,
    )


# -- walking back ----------------------------------------------------------------------------------


class _Walk:
    """What the changes since a moment found first, and what they left last; each must fit the one before."""

    def __init__(self, state: StateReader) -> None:
        self.found: dict[Address, Former] = {}
        self._left: dict[Address, bytes] = {}
        self._models = {b"": NO_SHARED}
        self._state = state

    def add(self, record: RunRecord, formers: Sequence[Former]) -> None:
        """Add what a later change found. Raises StateError when that is not what the last one left."""
        for former in formers:
            address = former.address
            if self.found.setdefault(address, former) is not former and self._left[address] != self._access(former):
                raise StateError(_torn(self._state, address, f"what run {record.run.id} found is not what was left"))
            self._left[address] = former.left

    def end_at(self, now: Mapping[str, bytes]) -> None:
        """Make sure that what is recorded now is what the last change left. Raises StateError."""
        others = [address for address in self._left if not address.startswith(_ITEM)]
        present = {row.address: access_digest(row.resource) for row in self._state.rows(others)}
        for address, left in self._left.items():
            if address.startswith(_ITEM):
                recorded = now[address][DIGEST_SIZE:] if address in now else ABSENT
            else:
                recorded = present.get(address, ABSENT)
            if recorded != left:
                raise StateError(_torn(self._state, address, "what is recorded is not what the last change left"))

    def _access(self, former: Former) -> bytes:
        """Return `former.access`: of items by the few models that they share, since there may be millions."""
        if not former.existed or not former.address.startswith(_ITEM):
            return former.access
        model = self._models.get(former.shared)
        return model or self._models.setdefault(former.shared, digest(former.shared))


def _torn(state: StateReader, address: Address, detail: str) -> Problem:
    return Problem(
        "history-torn",
        f'the history of "{address}" does not fit together: {detail}',
        why="something else than reconciler changed the state, so what was recorded before cannot be told.",
        fix="compare it with a backup of the state; this looks for more:\n    reconciler state check",
        where=state.where,
    )


def _applied(state: StateReader, upto: Sequence[RunRecord], moment: int) -> RunRecord | None:
    """Return the newest of these runs that had a call accepted by the moment."""
    *earlier, last = upto
    accepted = last.calls.accepted and any(
        entry.outcome is Outcome.ACCEPTED
        and entry.intent.kind not in WITHOUT_CALL
        and _time(entry.settled_at) <= moment
        for entry in state.journal(last.run.id)
    )
    return last if accepted else next((record for record in reversed(earlier) if record.calls.accepted), None)


# -- doubt -----------------------------------------------------------------------------------------


def _doubts(state: StateReader, history: Sequence[RunRecord], cut: int, moment: int) -> Iterator[JournalEntry]:
    """Yield the calls whose outcome nobody knew at the moment, narrowed to the addresses that were in doubt."""
    unsure = list(state.unsure())
    # What a later replacement brought along is dated earlier than it.
    replaced = (entry.seq for entry in unsure if entry.intent.kind == REPLACED and _time(entry.settled_at) > moment)
    end = min([_first_entry(state, history[cut + 1 :]), *replaced])
    sent = {entry.seq: entry for entry in unsure if entry.seq < end and _time(entry.intent.at) <= moment}
    for entry in state.journal(history[cut].run.id) if cut < len(history) else ():
        if entry.intent.kind not in WITHOUT_CALL and _time(entry.intent.at) <= moment < _time(entry.settled_at):
            sent[entry.seq] = replace(entry, outcome=None, settled_at="", detail="")
    replacements = [seq for seq, entry in sent.items() if entry.intent.kind == REPLACED]
    start = max(replacements, default=0)  # what was in doubt before a state was replaced is none of it
    doubts = {seq: entry for seq, entry in sorted(sent.items()) if seq > start}
    left: dict[int, dict[Address, str]] = {}
    reached = 0
    for seq in doubts:
        if seq > reached:
            reached = _settle(state, doubts, left, seq, end, moment)
    for seq, covers in left.items():
        if covers:
            doubt = doubts[seq]
            yield replace(doubt, intent=replace(doubt.intent, covers=tuple(covers.items())))


def _settle(
    state: StateReader,
    doubts: Mapping[int, JournalEntry],
    left: dict[int, dict[Address, str]],
    seq: int,
    end: int,
    moment: int,
) -> int:
    """Follow the journal from a doubt on until nothing is in doubt, or to its end; return how far it came."""
    for entry in state.journal(after=seq - 1):
        if entry.seq >= end:
            return end
        if entry.seq in doubts:
            left[entry.seq] = dict(entry.intent.covers)
        elif entry.outcome is Outcome.ACCEPTED and _time(entry.settled_at) <= moment:
            for covers in left.values():
                for address, _ in entry.intent.covers:
                    covers.pop(address, None)
        if not any(left.values()):
            return entry.seq
    return end


def _first_entry(state: StateReader, later: Sequence[RunRecord]) -> int:
    """Return the number of the first entry that these runs wrote, or one above all."""
    for record in later:
        entry = next(state.journal(record.run.id), None)
        if entry is not None:
            return entry.seq
    return _END
