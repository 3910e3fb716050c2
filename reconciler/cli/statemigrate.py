"""`reconciler state migrate` and `reopen`: the whole state goes to another store, and the old one is closed."""

from __future__ import annotations

from contextlib import closing
from itertools import zip_longest
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import project_options
from reconciler.cli.stateedit import lock_timeout_option
from reconciler.logs import tell
from reconciler.manifest.urls import OBJECT_SCHEMES
from reconciler.problems import Problem, StateError, UsageError

if TYPE_CHECKING:
    from reconciler.state.store import Store

_OBJECTS = tuple(f"{scheme}://" for scheme in OBJECT_SCHEMES)


@click.command("migrate", short_help="Move the whole state, with its history, to another store.")
@click.option(
    "--to", "goal", metavar="STORE", required=True, help="Where to: what `state` will say in reconciler.yaml."
)
@click.option("--from", "origin", metavar="STORE", help="Where from; by default what `state` says there.")
@click.option("--force", is_flag=True, help="Also a state that was moved elsewhere before.")
@lock_timeout_option
@project_options
def migrate_command(
    goal: str, origin: str | None, directory: str | None, environment: str | None, force: bool, lock_timeout: float
) -> int:
    """Move the whole state to another store: resources, doubts, runs with their chain, journal, ordering ids.

    STORE is a file below the project's folder, or postgresql://, s3://, gs:// or az:// as `state` in reconciler.yaml
    may name it. It must hold nothing yet. Both are locked meanwhile. What is there afterwards is compared with what is
    here, and then no run begins here any more. Nothing is sent to the remote.

    Example:

    \b
        reconciler state migrate -e prod --to 'postgresql://reconciler@db.example.com/search?schema=prod'
    """
    from reconciler.cli.identify import iso, lock_info
    from reconciler.cli.session import open_session
    from reconciler.settings import find_state_key
    from reconciler.state.opening import open_store
    from reconciler.state.whole import moved_problem

    for option, store in (("--to", goal), ("--from", origin)):
        _refuse_store(option, store)
    with open_session(directory, environment, use_cache=False) as session:
        told = origin or session.project.environment.state
        root, work = session.folder.root, session.work_folder
        key, must_encrypt = find_state_key(), session.project.environment.encrypt_state
        lock = lock_info(iso())
        with (
            closing(open_store(told, root, work, key)) as source,
            closing(open_store(goal, root, work, key, must_encrypt=must_encrypt)) as arrived,
        ):
            _refuse_same(told, goal, source, arrived)
            _refuse_empty(source)
            with (
                source.lock(lock, timeout=lock_timeout) as left,
                arrived.lock(lock, timeout=lock_timeout) as writer,
            ):
                moved = source.moved_to()
                # One that was killed before it could say so is done.
                if moved and not force and not (moved == goal and _same(source, arrived)):
                    raise StateError(moved_problem(source.where, moved))
                problems = source.check()
                if problems:
                    raise StateError(*problems)
                if arrived.runs(1) or arrived.base().lineage:
                    # One that was killed before it closed the old state is finished by the next.
                    if not _same(source, arrived):
                        raise StateError(_not_empty(arrived.where))
                else:
                    with source.reading():
                        writer.restore(source.dump())
                    if not _same(source, arrived):
                        raise StateError(_not_whole(arrived.where))
                left.record_moved(goal)
                if arrived.moved_to():  # it was there before, and nothing happened since
                    writer.record_moved("")
            resources, runs = len(arrived.fingerprints()), len(arrived.runs())
            click.echo(f"moved {source.where} to {arrived.where}: resources: {resources}, runs: {runs}")
    click.echo("the remote was not touched, and no run begins any more where the state was")
    if key is not None and goal.startswith(("postgresql://", "postgres://")):
        tell("note", "reconciler does not encrypt a state in PostgreSQL: what is there now is not encrypted")
    if origin is None:
        click.echo(f"now say in reconciler.yaml, under environments, {session.project.environment.name}:")
        click.echo(f"    state: {goal}")
    return 0


@click.command("reopen", short_help="Use a state again that was moved to another store.")
@lock_timeout_option
@project_options
def reopen_command(directory: str | None, environment: str | None, lock_timeout: float) -> int:
    """Use a state again that was moved to another store; what was recorded there since then is not known here.

    Example:

    \b
        reconciler state reopen -e prod
    """
    from reconciler.cli.identify import iso, lock_info
    from reconciler.cli.session import open_session

    with open_session(directory, environment, use_cache=False) as session:
        moved = session.store.moved_to()
        if not moved:
            click.echo(f"{session.store.where} was not moved; nothing was done")
            return 0
        with session.store.lock(lock_info(iso()), timeout=lock_timeout) as writer:
            writer.record_moved("")
        click.echo(f"{session.store.where} is in use again; what was recorded at {moved} since then is not known here")
    return 0


def _refuse_store(option: str, store: str | None) -> None:
    """Refuse what `state` of reconciler.yaml could not say. Raises UsageError."""
    from reconciler.manifest.projectfile import bad_state

    problem = bad_state(store) if store is not None else None
    if problem is None:
        return
    if problem.code == "secret-in-manifest":
        problem = Problem(
            "secret-in-url",
            f"the URL of {option} holds credentials",
            why="a command line is seen by others on this machine, and kept in the shell's history.",
            fix=problem.fix,
        )
    raise UsageError(problem)


def _refuse_same(told: str, goal: str, source: Store, arrived: Store) -> None:
    from reconciler.state.sqlite.store import SqliteStore

    same = told == goal or source.where == arrived.where
    if isinstance(source, SqliteStore) and isinstance(arrived, SqliteStore):
        same = source.real == arrived.real
    elif told.startswith(_OBJECTS) and goal.startswith(_OBJECTS):
        from reconciler.state.objects.url import parse

        same = parse(told) == parse(goal)  # two accounts or endpoints may have buckets of one name
    if same:
        raise UsageError(
            Problem("same-store", f'the state is at "{goal}" already', fix="name another store with --to.")
        )


def _refuse_empty(source: Store) -> None:
    if not source.base().lineage:
        raise StateError(
            Problem(
                "empty-state",
                "nothing was ever recorded in this state, so there is nothing to move",
                fix="check the environment (-e) and --from; for a new state, name the store in reconciler.yaml.",
                where=source.where,
            )
        )


def _same(one: Store, other: Store) -> bool:
    """Return whether two stores hold the same state, history included."""
    with one.reading(), other.reading():
        return all(mine == theirs for mine, theirs in zip_longest(one.dump(), other.dump()))


def _not_empty(where: str) -> Problem:
    return Problem(
        "state-not-empty",
        "another state is recorded there already",
        why="two histories do not make one, and what was accepted there would be forgotten.",
        fix="name a place that holds nothing yet.",
        where=where,
    )


def _not_whole(where: str) -> Problem:
    return Problem(
        "state-not-whole",
        "what arrived there is not what was sent",
        why="a store that changes what it is given cannot be trusted with a state; the old one is still in use.",
        fix="empty that place and report this: it is a bug in reconciler or in the store.",
        where=where,
    )
