"""`reconciler state`: what the recorded state holds. What changes it is in `stateedit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli import history, stateedit, stateencrypt, statemigrate, statepush
from reconciler.cli.addresses import unknown_address
from reconciler.cli.options import format_option, project_options
from reconciler.logs import tell

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.state.journal import JournalEntry, RunRecord
    from reconciler.state.rows import RecordedRow

ACCEPTED = "accepted"  # by the remote, and nobody has looked whether it was indexed
UNCONFIRMED = "unconfirmed"  # a call was sent whose outcome nobody knows
_MARK_WIDTH = len(UNCONFIRMED)


@click.group("state")
def command() -> None:
    """Look at the recorded state, what we know that the remote accepted, or change it by hand.

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
        tell("note", note)
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
            raise unknown_address(session, address)
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


@command.command("check", short_help="Check that the recorded state is whole.")
@format_option("text", "json")
@project_options
def check_command(directory: str | None, environment: str | None, output: str) -> int:
    """Check that the recorded state is whole: the file, rows and their digests, the journal, the chain of runs.

    Exits with 1 and says what is wrong. Changes nothing.

    Example:

    \b
        reconciler state check -e prod
    """
    from reconciler.cli.output import show_problems, write
    from reconciler.cli.session import open_session

    with open_session(directory, environment, use_cache=False) as session, session.store.reading():
        problems = session.store.check()
        clear = stateencrypt.is_clear_despite_key(session.store)
        where = session.store.where
        told = "" if problems else f"resources: {len(session.store.fingerprints())}, runs: {len(session.store.runs())}"
    if output == "json":
        from reconciler.rendering.problems import render_problems_json

        write(render_problems_json(problems))
    elif problems:
        show_problems(problems)
    else:
        write(f"nothing is wrong with {where}: {told}\n")
    if output == "text" and clear:
        tell("note", "it is not encrypted, although there is a key: `reconciler state encrypt` does that")
    return 1 if problems else 0


for added in (
    history.group,
    stateedit.rm_command,
    stateedit.mv_command,
    stateedit.unlock_command,
    statepush.push_command,
    statemigrate.migrate_command,
    statemigrate.reopen_command,
    stateencrypt.encrypt_command,
    stateencrypt.decrypt_command,
):
    command.add_command(added)


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
    notes = [] if session.store.base().serial else [f"nothing is recorded yet in {session.store.where}"]
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
