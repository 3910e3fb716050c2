"""`reconciler state`: what the recorded state holds. Nothing here changes it."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import format_option, project_options
from reconciler.problems import Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.state.journal import JournalEntry, RunRecord
    from reconciler.state.rows import RecordedRow

ACCEPTED = "accepted"  # by the remote, and nobody has looked whether it was indexed
UNCONFIRMED = "unconfirmed"  # a call was sent whose outcome nobody knows
_MARK_WIDTH = len(UNCONFIRMED)
_NEIGHBOURS = 50


@click.group("state")
def command() -> None:
    """Look at the recorded state: what we know that the remote accepted.

    Example:

    \b
        reconciler state list
        reconciler state show item/handbook/file://folder/mytext.txt
    """


@command.command("list")
@format_option("text", "json")
@project_options
def list_command(directory: str | None, environment: str | None, output: str) -> int:
    """List what is recorded: a mark and the address.

    The mark is `verified` or `rejected` once `verify` has looked, before that `accepted`, and
    `unconfirmed` when a later call was sent and its outcome is unknown.

    Example:

    \b
        reconciler state list -e prod | grep rejected
    """
    from reconciler.cli.output import write
    from reconciler.cli.session import open_session

    # Written only after the reading: whoever takes the output slowly must not keep a writer waiting.
    with open_session(directory, environment, use_cache=False) as session, session.store.reading():
        text, notes = (_list_json if output == "json" else _list_text)(session)
    write(text)
    for note in notes:
        click.echo(note, err=True)
    return 0


@command.command("show", short_help="Show what is recorded of one address.")
@click.argument("address", metavar="ADDRESS")
@format_option("text", "json")
@project_options
def show_command(address: str, directory: str | None, environment: str | None, output: str) -> int:
    """Show what is recorded of one address: its documents, when it was accepted, and whether it arrived.

    Example:

    \b
        reconciler state show group/corp/AlphaTeam
    """
    from reconciler.cli.output import write
    from reconciler.cli.session import open_session

    with open_session(directory, environment, use_cache=False) as session, session.store.reading():
        row = next(session.store.rows([address]), None)
        if row is None:
            raise _unknown(session, address)
        run = next((entry for entry in session.store.runs() if entry.run.id == row.run), None)
        doubts = _doubts(session).get(address, ())
    write((_row_json if output == "json" else _row_text)(row, run, doubts))
    return 0


@command.command("pull", short_help="Print the whole state as canonical JSON.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it to a file instead."
)
@project_options
def pull_command(directory: str | None, environment: str | None, out: Path | None) -> int:
    """Print the whole state as canonical JSON: the same state is the same text.

    One resource a line, so that a diff of two of them names what changed. `reconciler schema state`
    describes it.

    Example:

    \b
        reconciler state pull -e prod --out state.json
    """
    from reconciler.cli.session import open_session
    from reconciler.state.snapshot import encode, take

    with open_session(directory, environment, use_cache=False) as session:
        text = encode(take(session.store))
    if out is None:
        click.echo(text, nl=False)
    else:
        from reconciler.cli.files import write_whole

        write_whole(out, text, "state")
    return 0


# -- list ------------------------------------------------------------------------------------------

_Doubts = dict[str, tuple["JournalEntry", ...]]


def _doubts(session: Session) -> _Doubts:
    """Return the calls of unknown outcome by each address in doubt."""
    found: _Doubts = {}
    for entry in session.store.unsettled():
        for address, _ in entry.intent.covers:
            found[address] = (*found.get(address, ()), entry)
    return found


def _mark(row: RecordedRow, doubts: _Doubts) -> str:
    return UNCONFIRMED if row.address in doubts else row.verified or ACCEPTED


def _list_text(session: Session) -> tuple[str, list[str]]:
    """Return the list, and what it cannot say: that there is none, and what may be there unrecorded."""
    from reconciler.rendering.values import visible

    doubts = _doubts(session)
    unrecorded = set(doubts)
    lines = []
    for row in session.store.rows():
        unrecorded.discard(row.address)
        lines.append(f"{_mark(row, doubts):<{_MARK_WIDTH}}  {visible(row.address)}\n")
    notes = [] if session.store.base().serial else [f"nothing is recorded yet in {session.store.path}"]
    if unrecorded:
        notes.append(
            f"{len(unrecorded)} more may be at the remote: calls were sent whose outcome is unknown; "
            "the next apply sends them again"
        )
    return "".join(lines), notes


def _list_json(session: Session) -> tuple[str, list[str]]:
    from reconciler.model.canonical import canonical_json

    doubts = _doubts(session)
    base = session.store.base()
    head = canonical_json({"lineage": base.lineage, "serial": base.serial, "unsettled": sorted(doubts)}).decode()
    lines = [
        canonical_json(
            {
                "address": row.address,
                "mark": _mark(row, doubts),
                "ordering_id": row.ordering_id,
                "accepted_at": row.accepted_at,
                "run": row.run,
                "verified": row.verified,
                "verified_detail": row.verified_detail,
            }
        ).decode()
        for row in session.store.rows()
    ]
    listed = "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"
    return f'{head[:-1]},"resources":{listed}}}\n', []


# -- show ------------------------------------------------------------------------------------------


def _row_json(row: RecordedRow, run: RunRecord | None, doubts: Sequence[JournalEntry]) -> str:
    import orjson

    document: dict[str, Any] = {
        "address": row.address,
        "kind": row.address.kind,
        "scope": row.address.scope,
        "name": row.address.name,
        "mark": _mark(row, {row.address: tuple(doubts)} if doubts else {}),
        "ordering_id": row.ordering_id,
        "accepted_at": row.accepted_at,
        "run": _run_document(row.run, run),
        "verified": row.verified,
        "verified_detail": row.verified_detail,
        "unsettled": [
            {
                "run": entry.run,
                "call": entry.intent.call,
                "ordering_id": entry.intent.ordering_id,
                "at": entry.intent.at,
            }
            for entry in doubts
        ],
        "doc": row.resource.own(),
        "shared": row.resource.shared_doc(),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def _run_document(run_id: str, run: RunRecord | None) -> dict[str, Any]:
    if run is None:
        return {"id": run_id}
    info = run.run
    return {
        "id": info.id,
        "command": info.command,
        "started_at": info.started_at,
        "host": info.host,
        "user": info.user,
        "result": run.result,
    }


def _row_text(row: RecordedRow, run: RunRecord | None, doubts: Sequence[JournalEntry]) -> str:
    from reconciler.model.address import Kind
    from reconciler.rendering.values import visible

    told = {
        "accepted": f"{row.accepted_at}, ordering id {row.ordering_id}" if row.ordering_id else _no_call(row),
        "run": _run_text(row.run, run),
        "verified": _verified_text(row),
    }
    lines = [row.address, *(f"  {name + ':':<{_MARK_WIDTH}}{value}" for name, value in told.items())]
    for entry in doubts:
        lines.append(
            f"  {UNCONFIRMED}: call {entry.intent.call} of run {entry.run} was sent at {entry.intent.at}, "
            "and its outcome is unknown"
        )
    lines += ["  document:", *_indented(row.resource.own())]
    shared = row.resource.shared_doc()
    if shared is not None:
        lines += [f"  {'permissions' if row.address.kind is Kind.ITEM else 'shared'}:", *_indented(shared)]
    return "".join(f"{visible(line)}\n" for line in lines)


def _no_call(row: RecordedRow) -> str:
    return f"recorded at {row.accepted_at}; no call was needed"


def _run_text(run_id: str, run: RunRecord | None) -> str:
    if run is None:
        return run_id
    who = " on ".join(part for part in (run.run.user, run.run.host) if part)
    return f"{run_id}, `{run.run.command}`" + (f" by {who}" if who else "")


def _verified_text(row: RecordedRow) -> str:
    if row.verified is None:
        return "not yet; accepted is not indexed"
    return row.verified + (f": {row.verified_detail}" if row.verified_detail else "")


def _indented(document: dict[str, Any]) -> list[str]:
    import orjson

    return [f"    {line}" for line in orjson.dumps(document, option=orjson.OPT_INDENT_2).decode().split("\n")]


def _unknown(session: Session, address: str) -> UsageError:
    known = list(session.store.fingerprints())
    return UsageError(
        Problem(
            "unknown-address",
            f'nothing is recorded at "{address}"',
            why="" if known else "the state is empty: nothing was applied yet.",
            fix=_nearest(address, known) or "list what is recorded:\n    reconciler state list",
            where=session.store.where,
        )
    )


def _nearest(address: str, known: list[str]) -> str:
    """Return "did you mean" for the nearest of any number of addresses.

    Comparing with each of a hundred thousand would take minutes, so only those are looked at that
    share the beginning or the end, or the whole name.
    """
    forward = sorted(known)
    backward = sorted(entry[::-1] for entry in known)
    near = set(_around(forward, address)) | {entry[::-1] for entry in _around(backward, address[::-1])}
    named = [entry for entry in near if entry.split("/", 2)[2] == address]
    return did_you_mean(address, near) or (f'did you mean "{min(named)}"?' if named else "")


def _around(entries: list[str], word: str) -> list[str]:
    place = bisect(entries, word)
    return entries[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS]
