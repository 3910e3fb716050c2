"""`reconciler state history`: which runs changed the state, and whether the record of them is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import format_option, project_options

if TYPE_CHECKING:
    from reconciler.state.journal import RunRecord

_WIDTH = 10


@click.group("history", invoke_without_command=True, short_help="List the runs, newest first; `verify` checks them.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N runs.")
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
        import orjson

        document = {"lineage": base.lineage, "serial": base.serial, "runs": [_document(record) for record in runs]}
        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return 0
    write("\n".join(_text(record, newest=place == 0) for place, record in enumerate(runs)))
    if not runs:
        click.echo(f"nothing ran yet on {where}", err=True)
    return 0


@group.command("verify", short_help="Check that no record of a run was changed or removed.")
@project_options
def verify_command(directory: str | None, environment: str | None) -> int:
    """Check that no record of a run was changed or removed: each must fit its digest, which covers the one before.

    Needs nothing but the state. Whoever can write the state file can make all digests anew; note down the last one
    elsewhere to notice that, too.

    Example:

    \b
        reconciler state history verify -e prod
    """
    from reconciler.cli.session import open_session
    from reconciler.problems import Problem, StateError
    from reconciler.state.chain import first_misfit, misfit_told

    with open_session(directory, environment, use_cache=False) as session, session.store.reading():
        runs = session.store.runs()
        misfit = first_misfit(runs)
        if misfit is not None:
            raise StateError(
                Problem(
                    "history-broken",
                    misfit_told(runs, misfit),
                    why="it was changed since it was written, or one before it was removed; nothing can be told of it "
                    "and of what follows.",
                    fix="compare it with a backup of the state; this shows each record:\n    reconciler state history",
                    where=session.store.where,
                )
            )
        where = session.store.where
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
