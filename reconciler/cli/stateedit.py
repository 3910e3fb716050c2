"""`reconciler state rm`, `mv` and `unlock`: changes of the record alone; nothing is sent to the remote."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from reconciler.cli.addresses import unknown_address
from reconciler.cli.loudness import take_run
from reconciler.cli.options import is_interactive, project_options
from reconciler.logs import WARNING, tell
from reconciler.problems import Problem, StateError, UsageError, did_you_mean

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.model.states import Target
    from reconciler.state.journal import RunRecord
    from reconciler.state.store import Writer

PROTECTED = "protected"

_allow_protected = click.option(
    "--allow",
    "allowed",
    type=click.Choice([PROTECTED]),
    multiple=True,
    help="Also what was applied with `protect: true`.",
)
lock_timeout_option = click.option(
    "--lock-timeout",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="How long to wait for the lock (default: not at all).",
)


@click.command("rm", short_help="Forget addresses; the remote keeps what it has.")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@_allow_protected
@click.option("--auto-approve", is_flag=True, help="Do not ask, where an address is a pattern.")
@lock_timeout_option
@project_options
def rm_command(
    addresses: tuple[str, ...],
    directory: str | None,
    environment: str | None,
    allowed: tuple[str, ...],
    auto_approve: bool,
    lock_timeout: float,
) -> int:
    """Forget addresses; the remote keeps what it has, and a later plan no longer deletes it.

    What a manifest still declares is planned as new. `*` in an address stands for anything; what it would forget is
    listed and asked about. All are forgotten together, or none.

    Example:

    \b
        reconciler state rm item/handbook/file://folder/mytext.txt
        reconciler state rm 'item/blog/*' --auto-approve
    """
    from reconciler.cli.session import open_session
    from reconciler.rendering.values import visible

    with open_session(directory, environment, use_cache=False) as session:
        with session.store.reading():
            seen = session.store.runs(1)
            gone = _meant(session, addresses)
            _refuse_protected(session, gone, allowed)
        listed = "".join(f"  {visible(address)}\n" for address in gone)
        if any("*" in address for address in addresses) and not auto_approve:
            tell(
                "state.forgets", f"these would be forgotten:\n{listed}".removesuffix("\n"), WARNING, addresses=len(gone)
            )
            _ask(f"Forget {_count(gone)}?")
        with editing(session, seen, lock_timeout) as writer:
            from reconciler.cli.identify import iso

            serial = writer.forget(gone, at=iso())
    click.echo(f"forgot {_count(gone)} (serial {serial}):\n{listed}", nl=False)
    click.echo("the remote was not touched: it keeps what it has; what a manifest still declares is planned as new")
    return 0


@click.command("mv", short_help="Record under another address; the remote keeps what it has.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@_allow_protected
@lock_timeout_option
@project_options
def mv_command(
    old: str,
    new: str,
    directory: str | None,
    environment: str | None,
    allowed: tuple[str, ...],
    lock_timeout: float,
) -> int:
    """Record under the address NEW what is recorded at OLD; the remote keeps what it has.

    For a source or provider that got another name in reconciler.yaml, and for what somebody renamed at the remote.

    Example:

    \b
        reconciler state mv group/corp/Staff group/people/Staff
    """
    from reconciler.cli.identify import iso
    from reconciler.cli.session import open_session
    from reconciler.rendering.values import visible

    with open_session(directory, environment, use_cache=False) as session:
        with session.store.reading():
            seen = session.store.runs(1)
            known = session.store.fingerprints()
            if old not in known:
                raise unknown_address(session, old)
            _refuse_goal(session, old, new, known)
            _refuse_protected(session, [old], allowed)
            _refuse_doubtful(session, {old, new})
        with editing(session, seen, lock_timeout) as writer:
            serial = writer.move(old, new, at=iso())
    click.echo(f"{visible(old)}\nis now recorded as {visible(new)} (serial {serial})")
    click.echo("the remote was not touched: what is recorded must be there under the new address already")
    return 0


@click.command("unlock", short_help="Clear what a run that died left of its lock.")
@click.argument("lock_id", metavar="ID")
@project_options
def unlock_command(lock_id: str, directory: str | None, environment: str | None) -> int:
    """Clear what a run that died left of its lock, by the id that the message `state-locked` shows.

    A lock of a local state goes with its process, so a living run keeps it, and one that died blocks nobody.

    Example:

    \b
        reconciler state unlock 3f2a9c0d1e4b
    """
    from reconciler.cli.session import open_session
    from reconciler.rendering.values import visible

    with open_session(directory, environment, use_cache=False) as session:
        holder = session.store.unlock(lock_id)
        newest = next(iter(session.store.runs(1)), None)
    who = f'process {holder.pid} of {holder.user} on {holder.host}, "{holder.command}", since {holder.since}'
    click.echo(visible(f"nobody holds the lock any more; what was left of lock {lock_id} is cleared: {who}"))
    if newest is not None and not newest.ended_at:
        click.echo(f"run {newest.run.id} did not end: apply goes on where it stopped")
    return 0


@contextmanager
def editing(
    session: Session,
    seen: tuple[RunRecord, ...],
    lock_timeout: float,
    target: Target | None = None,
    lineage: str = "",
) -> Iterator[Writer]:
    """Hold the lock of a state in which nothing was recorded since, in a run of its own. Raises StateError.

    `seen` is the newest run as it was then: whatever is written changes its record or begins another. The run
    speaks of `target`, by default the remote that the last one spoke to. A state that has no lineage yet gets this
    one.
    """
    import uuid

    from reconciler import __version__
    from reconciler.cli.identify import iso, lock_info
    from reconciler.state.journal import RunInfo

    lock = lock_info(iso())
    with session.store.lock(lock, timeout=lock_timeout) as writer:
        if session.store.runs(1) != seen:
            raise StateError(
                Problem(
                    "state-moved",
                    "another run changed the state since it was looked at",
                    why="what is to be done was worked out from what it was before.",
                    fix="run the same command again.",
                    where=session.store.where,
                )
            )
        run = RunInfo(
            id=take_run(),
            command=lock.command,
            started_at=lock.since,
            host=lock.host,
            user=lock.user,
            tool_version=__version__,
            environment=session.project.environment.name,
        )
        writer.begin_run(run, target or session.store.target() or session.target, lambda: lineage or str(uuid.uuid4()))
        try:
            yield writer
        except BaseException:
            with suppress(StateError):
                writer.end_run(at=iso(), result="failed")
            raise
        writer.end_run(at=iso(), result="done")


def _meant(session: Session, addresses: Collection[str]) -> list[str]:
    """Return what the words mean, sorted: recorded addresses, and those of calls of unknown outcome."""
    from reconciler.planning.selection import matcher

    doubtful = {str(address) for entry in session.store.unsettled() for address, _ in entry.intent.covers}
    known = {*session.store.fingerprints(), *doubtful}
    found: set[str] = set()
    for word in addresses:
        hit = set(filter(matcher([word]), known)) if "*" in word else known & {word}
        if not hit:
            raise unknown_address(session, word)
        found |= hit
    return sorted(found)


def _refuse_protected(session: Session, addresses: Collection[str], allowed: Collection[str]) -> None:
    if PROTECTED in allowed:
        return
    kept = [row.address for row in session.store.rows(addresses) if row.resource.own().get("protect")]
    if kept:
        raise StateError(
            *(
                Problem(
                    PROTECTED,
                    f'"{address}" is protected',
                    why="it was applied with `protect: true`; what is not recorded there is protected no more.",
                    fix="add --allow protected if it is meant.",
                    where=session.store.where,
                )
                for address in kept
            )
        )


def _refuse_goal(session: Session, old: str, new: str, known: Collection[str]) -> None:
    """Refuse an address that what is at `old` cannot have. Raises UsageError."""
    from reconciler.model.address import Address, Kind

    origin = Address(old)
    parts = new.split("/", 2)
    where = session.store.where
    if len(parts) < 3 or not all(parts) or parts[0] != origin.kind.value:
        raise UsageError(
            Problem(
                "bad-address",
                f'"{new}" is no address of the kind {origin.kind.value}',
                why="what is recorded stays what it is.",
                fix=f"write it as {origin.kind.value}/SCOPE/NAME.",
                where=where,
            )
        )
    entries = session.project.sources if origin.kind is Kind.ITEM else session.project.providers
    names = [entry.name for entry in entries]
    if parts[1] not in names:
        what = "source" if origin.kind is Kind.ITEM else "provider"
        raise UsageError(
            Problem(
                f"unknown-{what}",
                f'reconciler.yaml has no {what} "{parts[1]}"',
                fix=did_you_mean(parts[1], names) or f"declare it first, or name one of: {', '.join(sorted(names))}.",
                where=where,
            )
        )
    if new in known:
        raise UsageError(
            Problem(
                "address-taken",
                f'something is recorded at "{new}" already',
                why="what is known of it would be lost.",
                fix="choose another address, or forget that one first with `state rm`.",
                where=where,
            )
        )


def _refuse_doubtful(session: Session, addresses: Collection[str]) -> None:
    doubtful = {str(address) for entry in session.store.unsettled() for address, _ in entry.intent.covers}
    for address in sorted(doubtful & set(addresses)):
        raise StateError(
            Problem(
                "unconfirmed",
                f'a call for "{address}" was sent whose outcome is unknown',
                why="nobody knows yet what is there.",
                fix="apply first: it is sent again.",
                where=session.store.where,
            )
        )


def _ask(question: str) -> None:
    if not is_interactive():
        raise UsageError(
            Problem(
                "approval-needed",
                "there is no terminal to ask on",
                why="a pattern may mean more than was thought of.",
                fix="look at the list, then add --auto-approve.",
            )
        )
    if not click.confirm(question, default=False, err=True):
        raise UsageError(Problem("not-approved", "nothing was done", fix="run it again when you are ready."))


def _count(addresses: Collection[str]) -> str:
    return f"{len(addresses)} {'address' if len(addresses) == 1 else 'addresses'}"
