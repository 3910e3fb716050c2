"""`reconciler state push`: what a snapshot says becomes the recorded state; nothing is sent to the remote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import project_options
from reconciler.cli.stateedit import editing, lock_timeout_option
from reconciler.problems import Problem, StateError, UsageError

if TYPE_CHECKING:
    from reconciler.state.snapshot import Snapshot


@click.command("push", short_help="Make a snapshot, as from `state pull`, the recorded state.")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Also an older serial, or another lineage.")
@lock_timeout_option
@project_options
def push_command(file: Path, directory: str | None, environment: str | None, force: bool, lock_timeout: float) -> int:
    """Make a snapshot, as from `state pull`, the recorded state: whole or not at all.

    An older serial and another lineage are refused, because what was accepted since then, or elsewhere, would be
    forgotten. History stays, and this is a run in it. Nothing is sent to the remote.

    Example:

    \b
        reconciler state pull -e prod --out state.json
        reconciler state push -e prod state.json
    """
    from reconciler.cli.session import check_target, open_session
    from reconciler.state.snapshot import decode, take

    snapshot = decode(read_snapshot(file), str(file))
    if not snapshot.base.lineage or snapshot.target is None:
        raise StateError(
            Problem(
                "empty-snapshot",
                "it is the snapshot of a state that nothing was ever recorded in",
                why="it would make what is recorded forgotten.",
                fix="to forget addresses, use `state rm`.",
                where=str(file),
            )
        )
    with open_session(directory, environment, use_cache=False) as session:
        check_target(session, snapshot.target)
        with session.store.reading():
            current, seen = take(session.store), session.store.runs(1)
        if current == snapshot:
            click.echo(f"{session.store.where} is what {file} says already; nothing was done")
            return 0
        if not force:
            _refuse_other(current, snapshot, session.store.where, file)
        # Never one that was there before: a plan made of that state must not pass for one of this.
        base = replace(snapshot.base, serial=max(snapshot.base.serial, current.base.serial + 1))
        with editing(session, seen, lock_timeout, snapshot.target, snapshot.base.lineage) as writer:
            writer.replace(base, snapshot.rows, snapshot.unsettled)
    before, after = len(current.rows), len(snapshot.rows)
    click.echo(f"recorded what {file} says: {after} resources (serial {base.serial}); before, there were {before}")
    click.echo("the remote was not touched")
    return 0


def read_snapshot(file: Path) -> bytes:
    """Return what a snapshot's file holds. Raises UsageError when it cannot be read."""
    import os

    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            Problem(
                "no-snapshot",
                f'the snapshot "{file}" cannot be read: {os.strerror(error.errno or 0)}',
                fix="check the path.",
            )
        ) from None


def _refuse_other(current: Snapshot, snapshot: Snapshot, where: str, file: Path) -> None:
    """Refuse a snapshot that does not come after what is recorded. Raises StateError."""
    recorded, offered = current.base, snapshot.base
    if not recorded.lineage:
        return
    if recorded.lineage != offered.lineage:
        raise StateError(
            Problem(
                "other-lineage",
                f'"{file}" is of another lineage: {offered.lineage}, and the state of {recorded.lineage}',
                why="they never were one state, so what was accepted here would be forgotten.",
                fix="check the environment (-e); if it is meant, pull the present state to keep it, then add --force.",
                where=where,
            )
        )
    if offered.serial <= recorded.serial:
        same = offered.serial == recorded.serial
        raise StateError(
            Problem(
                "older-serial",
                f'"{file}" has serial {offered.serial}, and the state {recorded.serial}'
                + (", with other contents" if same else ""),
                why="what was accepted since it was pulled would be forgotten.",
                fix="pull again and change that; if it is meant, pull the present state to keep it, then add --force.",
                where=where,
            )
        )
