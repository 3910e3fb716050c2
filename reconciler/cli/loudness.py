"""How much a command says beside its data, and in what form: --quiet, --verbose and --log-format.

The options are those of the group and of every command. What is said goes to stderr, as text or as one JSON object a
line; a handler of the standard library's `logging` writes it. Nothing here is imported before it is needed: what is
asked for its version or its help says nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import logging

    from reconciler.problems import Problem

FORMATS = ("text", "json")
_LEVELS = {40: "error", 30: "warning", 20: "info", 10: "debug", 5: "trace"}


@dataclass(slots=True)
class Loudness:
    """How loud a command is: `verbose` counts, `quiet` leaves errors alone; and the run that lines belong to.

    A run's id is that of the command, or of each of its rounds; `taken` says that the journal has one under it.
    """

    verbose: int = 0
    quiet: bool = False
    output: str = "text"
    run: str = ""
    taken: bool = False


_now = Loudness()


def reset(args: Iterable[str]) -> None:
    """Begin a command of its own: as loud as by default, in the form that its words ask for.

    What a command line means is known once it is parsed, but one that cannot be is told in that form, too.
    """
    global _now
    words = list(args)
    wants_json = "--log-format=json" in words or ("--log-format", "json") in pairwise(words)
    _now = Loudness(output="json" if wants_json else "text")


def install() -> None:
    """Have what is logged shown on stderr, from now on and as loud as asked for until now."""
    from reconciler.logs import LOGGER

    if not any(getattr(handler, "shows_events", False) for handler in LOGGER.handlers):
        LOGGER.addHandler(_handler())
        LOGGER.propagate = False
    LOGGER.setLevel(40 if _now.quiet else {0: 20, 1: 10}.get(_now.verbose, 5))


def run_id() -> str:
    """Return the id of the run that is under way, which every line of it carries."""
    if not _now.run:
        new_run()
    return _now.run


def new_run() -> str:
    """Begin another run under an id of its own, and return it."""
    _now.run = os.urandom(6).hex()
    _now.taken = False
    return _now.run


def take_run() -> str:
    """Return the id for a run that the journal is to hold: that of the lines, and another one when it has that."""
    if _now.taken:
        new_run()
    found = run_id()
    _now.taken = True
    return found


def is_json() -> bool:
    """Whether stderr is for programs: one JSON object a line."""
    return _now.output == "json"


def is_quiet() -> bool:
    """Whether only errors are told."""
    return _now.quiet


def is_plain() -> bool:
    """Whether stderr is as by default, and so may show a bar in place of lines."""
    return _now.output == "text" and not _now.verbose and not _now.quiet


def tell_problem(problem: Problem) -> None:
    """Log a problem as an event, for programs."""
    from reconciler.logs import ERROR, INFO, WARNING, tell
    from reconciler.rendering.jsondoc import problem_document

    level = {"error": ERROR, "warning": WARNING}.get(problem.severity.value, INFO)
    document = {key: value for key, value in problem_document(problem).items() if value not in (None, "", [])}
    tell("problem", problem.what, level, **document)


# -- the options -----------------------------------------------------------------------------------


def add_options(command: click.Command) -> click.Command:
    """Add the options to a command and to all below it, once."""
    if not any(parameter.name == "log_format" for parameter in command.params):
        command.params.extend(_options())
        if isinstance(command, click.Group):
            for entry in command.commands.values():
                add_options(entry)
    return command


def _options() -> list[click.Option]:
    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_quiet,
            help="Say nothing but errors; data goes to stdout as always.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            is_eager=True,
            callback=_verbose,
            help="Say more on stderr: each request, what is cached, how long it takes; twice: still more.",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(FORMATS),
            expose_value=False,
            is_eager=True,
            callback=_log_format,
            help="The form of what is said on stderr (default: text).",
        ),
    ]


def _quiet(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        _now.quiet = True
        _agree(ctx)


def _verbose(ctx: click.Context, _param: click.Parameter, times: int) -> None:
    if times and not ctx.resilient_parsing:
        _now.verbose += times
        _agree(ctx)


def _log_format(ctx: click.Context, _param: click.Parameter, chosen: str | None) -> None:
    if chosen is not None and not ctx.resilient_parsing:
        _now.output = chosen


def _agree(ctx: click.Context) -> None:
    if _now.quiet and _now.verbose:
        _now.quiet = False
        raise click.UsageError("--quiet and --verbose exclude each other.", ctx)
    if ctx.parent is not None:
        install()


# -- the lines -------------------------------------------------------------------------------------


def _handler() -> logging.Handler:
    import logging
    import threading

    from reconciler.logs import INFO

    class Lines(logging.Handler):
        """Writes a line for each event, or as many as its text has."""

        shows_events = True

        def emit(self, record: logging.LogRecord) -> None:
            try:
                # Looked up each time: whoever redirects stderr means this, too.
                sys.stderr.write(as_json(record) if is_json() else as_text(record))
                sys.stderr.flush()
            except OSError:
                # A line that nobody can read ends the command, but never a call that is under way.
                if record.levelno >= INFO and threading.current_thread() is threading.main_thread():
                    raise

    return Lines()


def as_text(record: logging.LogRecord) -> str:
    """Return the lines of an event; who wants to see more sees on each of them when it was, and in which run."""
    text = record.getMessage()
    if not _now.verbose:
        return text + "\n"
    start = f"{_moment(record)} {run_id()} "
    return "".join(f"{start}{line}\n" for line in text.split("\n"))


def as_json(record: logging.LogRecord) -> str:
    """Return an event as a line of JSON."""
    import json

    import orjson

    fields: dict[str, Any] = getattr(record, "fields", {})
    document = {
        "time": _moment(record),
        "level": _LEVELS.get(record.levelno, "info"),
        "run": run_id(),
        "event": getattr(record, "event", record.name),
        "message": record.getMessage(),
    }
    document |= {key: value for key, value in fields.items() if key not in document}
    try:
        return orjson.dumps(document, default=str, option=orjson.OPT_APPEND_NEWLINE).decode()
    except orjson.JSONEncodeError:
        # Half a character, as names of files may have it, is no text.
        return json.dumps(document, default=str) + "\n"


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
