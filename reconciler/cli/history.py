"""`reconciler state history`: which runs changed the state, and whether the record of them is whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import format_option, project_options
from reconciler.logs import tell

if TYPE_CHECKING:
    from reconciler.model.states import StateBase
    from reconciler.problems import Problem
    from reconciler.state.journal import RunRecord

_WIDTH = 10
_FORMAT = "1.0"  # of the JSON; described in `rendering.report_schema`
_DIGEST = re.compile(r"[0-9a-f]{64}")


@click.group("history", invoke_without_command=True, short_help="List the runs, newest first; `verify` checks them.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N runs (default: all).")
@format_option("text", "json")
@project_options
@click.pass_context
def group(
    ctx: click.Context, limit: int | None, directory: str | None, environment: str | None, output: str
) -> int | None:
    """List the runs, newest first: when, who, what, how the calls ended.

    Each record is chained to the one before by its digest, which `history verify` works out anew.

    Example:

    \b
        reconciler state history --limit 5
    """
    if ctx.invoked_subcommand is not None:
        ctx.find_root().obj.update(directory=directory, environment=environment)
        return None

    from reconciler.cli.output import write
    from reconciler.cli.session import open_session

    with open_session(directory, environment, use_cache=False) as session, session.store.reading():
        base, runs = session.store.base(), session.store.runs(limit)
        where = session.store.where
    if output == "json":
        head = {"format_version": _FORMAT, "lineage": base.lineage, "serial": base.serial}
        _write_json({**head, "runs": [_document(record) for record in runs]})
        return 0
    write("\n".join(_text(record, newest=place == 0) for place, record in enumerate(runs)))
    if not runs:
        tell("history.empty", f"nothing ran yet on {where}")
    return 0


@group.command("verify", short_help="Check that no record of a run was changed or removed.")
@click.option(
    "--contains",
    "noted",
    multiple=True,
    metavar="DIGEST",
    help="Refuse a history without the record of this digest, which was noted down before (repeatable).",
)
@format_option("text", "json")
@project_options
def verify_command(noted: tuple[str, ...], directory: str | None, environment: str | None, output: str) -> int:
    """Check that no record of a run was changed or removed: each must fit its digest, which covers the one before.

    Needs nothing but the state. Whoever can write the state file can make all digests anew, or put back a file of
    earlier; note down the last digest elsewhere, and give it with --contains, to notice that, too.

    Example:

    \b
        reconciler state history verify -e prod
        reconciler state history verify --format json
    """
    from reconciler.cli.output import show_problems
    from reconciler.cli.session import open_session
    from reconciler.problems import StateError
    from reconciler.state.chain import first_misfit

    _check_digests(noted)
    with open_session(directory, environment, use_cache=False) as session, session.store.reading():
        base, runs, where = session.store.base(), session.store.runs(), session.store.where
        misfit = first_misfit(runs)
    problems = [_broken(runs, misfit, where)] if misfit else _lacking(noted, runs, where)
    if output == "json":
        _write_json(_verdict(base, runs, misfit, noted))
        if problems:
            show_problems(problems)
        return 1 if problems else 0
    if problems:
        raise StateError(*problems)
    chained = [record for record in runs if record.digest]
    if chained:
        last = chained[0]
        click.echo(
            f"the history is whole; runs: {len(chained)}, the last is {last.run.id} with the digest {last.digest}"
        )
    elif runs:
        click.echo(f"the runs in {where} are not chained yet; the next one chains them")
    else:
        click.echo(f"nothing ran yet on {where}")
    return 0


def _check_digests(noted: Sequence[str]) -> None:
    from reconciler.problems import Problem, UsageError

    for word in noted:
        if not _DIGEST.fullmatch(word):
            raise UsageError(
                Problem(
                    "not-a-digest",
                    f'--contains is "{word}", which is no digest of a record',
                    why="a note that did not arrive must not look like one that was kept.",
                    fix="give the 64 hex digits that `state history` shows of a run.",
                )
            )


def _broken(runs: Sequence[RunRecord], misfit: RunRecord, where: str) -> Problem:
    from reconciler.problems import Problem
    from reconciler.state.chain import misfit_told

    return Problem(
        "history-broken",
        misfit_told(runs, misfit),
        why="it was changed since it was written, or one before it was removed; nothing can be told of it and of what "
        "follows.",
        fix="compare it with a backup of the state; this shows each record:\n    reconciler state history",
        where=where,
    )


def _lacking(noted: Sequence[str], runs: Sequence[RunRecord], where: str) -> list[Problem]:
    """Return a problem for each digest that was noted down and that no record has."""
    from reconciler.problems import Problem

    return [
        Problem(
            "history-lacks-digest",
            f"no run has the digest {digest}",
            why="when it was noted down there was one: the state is older than the note, another one, or its history "
            "was made anew.",
            fix="look for the state that had it, in a backup or where else it is kept; apply nothing before.",
            where=where,
        )
        for digest in _missing(noted, runs)
    ]


def _missing(noted: Sequence[str], runs: Sequence[RunRecord]) -> list[str]:
    known = {record.digest for record in runs}
    return [digest for digest in noted if digest not in known]


def _verdict(
    base: StateBase, runs: Sequence[RunRecord], misfit: RunRecord | None, noted: Sequence[str]
) -> dict[str, Any]:
    """Return what `history verify` found, as JSON values."""
    chained = [record for record in runs if record.digest]
    missing = _missing(noted, runs)
    return {
        "format_version": _FORMAT,
        "whole": misfit is None and not missing,
        "lineage": base.lineage,
        "serial": base.serial,
        "runs": len(runs),
        "chained": len(chained),
        "last": _named(chained[0]) if chained else None,
        "misfit": {**_named(misfit), "number": len(runs) - runs.index(misfit)} if misfit else None,
        "missing": missing,
    }


def _named(record: RunRecord) -> dict[str, Any]:
    return {"id": record.run.id, "started_at": record.run.started_at, "digest": record.digest}


def _write_json(document: dict[str, Any]) -> None:
    import orjson

    from reconciler.cli.output import write

    write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def _document(record: RunRecord) -> dict[str, Any]:
    info = record.run
    return {
        "id": info.id,
        "command": info.command,
        "started_at": info.started_at,
        "ended_at": record.ended_at,
        "result": record.result,
        "detail": record.detail,
        "user": info.user,
        "host": info.host,
        "environment": info.environment,
        "commit": info.commit,
        "plan_digest": info.plan_digest,
        "tool_version": info.tool_version,
        "organization": record.target.organization,
        "calls": {
            "accepted": record.calls.accepted,
            "refused": record.calls.refused,
            "unknown": record.calls.unknown,
        },
        "lineage": record.base.lineage,
        "serial_before": record.base.serial,
        "serial_after": record.serial,
        "digest": record.digest,
    }


def _text(record: RunRecord, *, newest: bool) -> str:
    from reconciler.rendering.values import visible

    info = record.run
    who = " on ".join(part for part in (info.user, info.host) if part)
    result = record.result or ("under way, or died" if newest else "died")
    told = {
        "by": who,
        "command": info.command,
        "commit": info.commit,
        "plan": info.plan_digest,
        "calls": _calls(record),
        "serial": f"{record.base.serial} to {record.serial}",
        "detail": record.detail,
        "digest": record.digest,
    }
    lines = [f"run {info.id}  {info.started_at}  {result}"]
    lines += [f"  {name + ':':<{_WIDTH}}{value}" for name, value in told.items() if value]
    return "".join(f"{visible(line)}\n" for line in lines)


def _calls(record: RunRecord) -> str:
    calls = record.calls
    counts = {"accepted": calls.accepted, "refused": calls.refused, "of unknown outcome": calls.unknown}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "none"
