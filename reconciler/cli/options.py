"""Options that commands share, and what they mean."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from reconciler.cli.loudness import is_json, is_plain

F = TypeVar("F", bound=Callable[..., Any])

# What `--allow` may name: the hazards of `planning.hazards` and `planning.accesshazards`, an old commit, and
# starting what the quotas do not let finish.
HAZARDS = (
    *("deny-removed", "emptied", "emptied-group", "item-public", "item-unseen", "mass-delete", "mass-update"),
    *("mass-widening", "old-commit", "over-quota", "policy", "too-many-changes", "transient-exposure", "unread-body"),
    "widened-access",
)

PARALLELISM = 4


def project_options(function: F) -> F:
    """Add -C and -e, which may stand before or after the command's name."""
    function = click.option(
        "-e", "--environment", metavar="NAME", callback=_inherited("environment"), help="The environment."
    )(function)
    return click.option(
        "-C", "directory", metavar="DIR", callback=_inherited("directory"), help="The project's folder."
    )(function)


def _inherited(name: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def callback(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            return value
        found: str | None = (ctx.find_root().obj or {}).get(name)
        return found

    return callback


def format_option(*formats: str) -> Callable[[F], F]:
    """Add --format with these choices; the first is the default."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="The output's form.",
    )


def allow_option(function: F) -> F:
    """Add --allow, which takes the names of hazards and refuses all others."""
    return click.option(
        "--allow",
        "allowed",
        metavar="HAZARD",
        multiple=True,
        callback=_known_hazards,
        help="Allow a hazard by its name, or name:subject (repeatable).",
    )(function)


def _known_hazards(_ctx: click.Context, _param: click.Parameter, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no hazard: a name that is misspelt would allow nothing, and nobody would notice."""
    unknown = [name for name in allowed if name.partition(":")[0] not in HAZARDS]
    if unknown:
        from reconciler.problems import Problem, UsageError, did_you_mean

        raise UsageError(
            *(
                Problem(
                    "unknown-hazard",
                    f'--allow names the hazard "{name}", which does not exist',
                    why="nothing would be allowed by it.",
                    fix=did_you_mean(name.partition(":")[0], HAZARDS) or f"the hazards are {', '.join(HAZARDS)}.",
                )
                for name in unknown
            )
        )
    return allowed


def plan_options(function: F) -> F:
    """Add what narrows a plan and what it may do."""
    function = allow_option(function)
    function = click.option(
        "--resend",
        "resent",
        metavar="NAME",
        multiple=True,
        help="Send every item of this source, changed or not: after new fields, or to mend what was lost (repeatable).",
    )(function)
    function = click.option(
        "--source", "sources", metavar="NAME", multiple=True, help="Only items of this source, and what they need."
    )(function)
    return click.option(
        "--target",
        "targets",
        metavar="ADDRESS",
        multiple=True,
        help="Only this address, uri or pattern, and what it needs (repeatable).",
    )(function)


detail_option = click.option(
    "--detail",
    type=click.Choice(["none", "names", "fields", "full"]),
    default="fields",
    show_default=True,
    help="How much to tell of each change.",
)
no_batch_option = click.option(
    "--no-batch", is_flag=True, help="Plan one call per change, as the documentation shows them."
)
out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Save the plan."
)


def apply_options(function: F) -> F:
    """Add how a plan is shown, agreed to and carried out."""
    for option in (
        click.option(
            "--parallelism",
            type=click.IntRange(1, 16),
            default=PARALLELISM,
            show_default=True,
            metavar="N",
            help="How many calls may be under way at once, where order permits.",
        ),
        click.option(
            "--lock-timeout",
            type=click.FloatRange(min=0),
            default=0.0,
            metavar="SECONDS",
            help="How long to wait for the lock (default: not at all).",
        ),
        click.option("--no-batch", is_flag=True, help="Make one call per change, as the documentation shows them."),
        click.option("--auto-approve", is_flag=True, help="Do not ask."),
        detail_option,
    ):
        function = option(function)
    return function


refresh_option = click.option(
    "--refresh-identities",
    is_flag=True,
    help="Then have the security cache of each provider refreshed whose identities change, so that they take effect "
    "at once and not at its next refresh.",
)

refresh_recorded_option = click.option(
    "--refresh",
    is_flag=True,
    help="First read the remote, and plan again what is not as recorded there (see `drift`).",
)

same_manifests_option = click.option(
    "--same-manifests",
    is_flag=True,
    help="Refuse a saved PLAN that was made from other manifests than these.",
)

access_out_option = click.option(
    "--access-out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write everybody who gains or loses sight of something, and all of what, as JSON Lines.",
)


def as_of_option(function: F) -> F:
    """Add --as-of, an instant in seconds since 1970 (None: now)."""
    return click.option(
        "--as-of",
        metavar="INSTANT",
        callback=_instant,
        help="Read grants that end (`expires`) as of this date (00:00 UTC), or time with its zone; default: now.",
    )(function)


def _instant(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    from reconciler.model.instant import NotAnInstant, parse_instant

    if text is None:
        return None
    try:
        return parse_instant(text)
    except NotAnInstant as error:
        from reconciler.problems import Problem, UsageError

        raise UsageError(
            Problem(
                "bad-as-of",
                f'--as-of is "{text}", which {error}',
                why="what is granted and what is over must be plain.",
                fix="write a date, such as 2027-01-31, or a date and time with its zone: 2027-01-31T18:00:00+01:00.",
            )
        ) from None


def moment_option(function: F) -> F:
    """Add --at, a moment of the past in milliseconds since 1970 (None: now)."""
    return click.option(
        "--at",
        "moment",
        metavar="MOMENT",
        callback=lambda _ctx, _param, text: None if text is None else past_moment(text, "--at"),
        help="What the state had recorded at this date (00:00 UTC), or time with its zone; default: now.",
    )(function)


def past_moment(text: str, option: str) -> int:
    """Return the moment that a text names, in milliseconds since 1970. Raises UsageError, also for one to come."""
    import time

    from reconciler.model.instant import NotAnInstant, parse_moment
    from reconciler.problems import Problem, UsageError

    try:
        found = parse_moment(text)
    except NotAnInstant as error:
        raise UsageError(
            Problem(
                "bad-moment",
                f'{option} is "{text}", which {error}',
                why="what was recorded before it and what after must be plain.",
                fix="write a date, such as 2026-03-01 (its first instant, 00:00 UTC), or a date and time with its "
                "zone: 2026-03-01T18:00:00+01:00.",
            )
        ) from None
    if found > time.time() * 1000:
        raise UsageError(
            Problem(
                "moment-to-come",
                f'{option} is "{text}", which is yet to come',
                why="the state tells what was recorded, not what will be.",
                fix="name a moment of the past, or leave it out to ask of now.",
            )
        )
    return found


cache_option = click.option("--no-cache", is_flag=True, help="Read every manifest anew and keep nothing.")


def wants_color(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`.

    NO_COLOR forbids it; FORCE_COLOR and CLICOLOR_FORCE ask for it wherever it goes. Otherwise a terminal is coloured,
    unless it is a dumb one, CLICOLOR is 0, or this is a CI job. What programs read never is.
    """
    variables = os.environ
    if variables.get("NO_COLOR") or (stream is sys.stderr and is_json()):
        return False
    if any(variables.get(name, "") not in ("", "0", "false") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return variables.get("CLICOLOR") != "0" and _is_screen(stream)


def wants_bar() -> bool:
    """Whether stderr may show a bar in place of lines: somebody watches it, and asked for nothing else."""
    return is_plain() and _is_screen(sys.stderr)


def _is_screen(stream: TextIO) -> bool:
    """Whether a person looks at a stream, on a terminal that can do more than print."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def is_interactive() -> bool:
    """Whether somebody can be asked: both ends are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()
