"""The command group and the only place that turns errors into messages and exit codes.

A command's module is imported when the command runs, and no sooner: `--version` and `--help` need
nothing but click.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from reconciler import __version__
from reconciler.cli import loudness
from reconciler.problems import Problem, ReconcilerError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# name -> what `--help` says of it; the module of the same name in this package, or that of `_MODULES`, holds it.
COMMANDS = {
    "init": "Write a new project: commented, valid, ready for the embedded emulator.",
    "fmt": "Format manifests: indentation, quotes and spacing, and nothing that has a meaning.",
    "validate": "Report every problem of the manifests, with its place and how to fix it.",
    "plan": "Show what would change, without credentials or network.",
    "apply": "Make the changes: of a saved PLAN, or of a plan made and confirmed now.",
    "destroy": "Delete everything that the state records; an apply of nothing.",
    "rollback": "Plan to give back who saw what before a run.",
    "verify": "Ask the remote whether it took what was accepted.",
    "import": "Write manifests of what exists: documents that were pushed, or what a live remote shows.",
    "drift": "Say whether the remote still is as recorded, or as the manifests want it.",
    "run": "Reconcile a checked-out work tree with the remote, again and again.",
    "diff": "Say how two environments differ.",
    "show": "Show a saved plan.",
    "access": "Say who sees what, and why.",
    "test": "Run the access tests of the manifests.",
    "policy": "Run the tests of the policies, or show what they are asked about.",
    "state": "Look at the recorded state, or change it by hand.",
    "schema": "Print the JSON Schema of manifests, a plan, the state or a report.",
    "emulator": "Serve the embedded emulator of the Push API.",
    "completion": "Print what a shell reads to complete commands, options and names.",
}

_MODULES = {"import": "importing"}  # a word of Python's own
_COMPLETING = "_RECONCILER_COMPLETE"  # set by a shell that wants to know how a line could go on


class LazyGroup(click.Group):
    """A group whose commands are imported on demand."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if loudness.is_json():
                # click would begin a new line on stderr, which for people ends that of ^C, and is no object.
                raise click.exceptions.Abort from None
            raise

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"reconciler.cli.{_MODULES.get(name, name)}")
        command = loudness.add_options(module.command)
        if _COMPLETING in os.environ:
            from reconciler.cli.completing import prepare

            prepare(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if meant := did_you_mean(args[0], COMMANDS):
                raise click.UsageError(f"{error.format_message()} {meant.capitalize()}", ctx) from None
            raise

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-C", "directory", metavar="DIR", help="The project's folder (default: the current one, then manifests/)."
)
@click.option("-e", "--environment", metavar="NAME", help="The environment (default: local, or the only one).")
@click.version_option(__version__, "--version", prog_name="reconciler", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, directory: str | None, environment: str | None) -> None:
    """Config-as-code for the content, permissions and identities of a Coveo search organization.

    Examples:

    \b
        reconciler init handbook
        reconciler -C handbook plan
        reconciler -C handbook apply

    \b
    Exit codes:
        0    done, or nothing to do
        1    problems found
        2    wrong usage
        3    changes pending, or drift
        4    apply stopped part way; the same command goes on
        130  interrupted

    \b
    Environment:
        COVEO_API_KEY         the API key, unless the environment says otherwise
        RECONCILER_PLAN_KEY   signs saved plans, and lets none be applied that is not signed
        RECONCILER_STATE_KEY  encrypts the recorded state
        RECONCILER_DEBUG      shows where an unexpected error comes from
        NO_COLOR, CI          no colours
    """
    ctx.obj = {"directory": directory, "environment": environment}
    loudness.install()


loudness.add_options(cli)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code (0, 1, 2, 3, 4 or 130)."""
    # Whoever ends a job on a server sends SIGTERM: it is told what is done and gives locks back, as with Ctrl-C.
    # One that is ignored stays so.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    loudness.reset(sys.argv[1:] if args is None else args)
    try:
        return _run_and_report(args)
    except BrokenPipeError:
        # Whoever read our output has left; there is nobody to tell, and flushing would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        if os.environ.get("RECONCILER_DEBUG"):
            raise
        with suppress(OSError):  # it may be stderr itself that cannot be written
            _report(ReconcilerError(_refusal(error)))
        return 1


def _run_and_report(args: list[str] | None) -> int:
    """Run the command line, report what is wrong and return the exit code. Raises OSError."""
    if _COMPLETING in os.environ:
        from reconciler.cli.completing import prepare, register

        register()
        prepare(cli)
    try:
        result: Any = cli.main(args=args, prog_name="reconciler", standalone_mode=False)
    except ReconcilerError as error:
        if _wants_json(args, *COMMANDS):
            _report_json(error.problems, _folder_of(error))
        _report(error)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        _say("interrupted", "interrupted")
        return 130
    except click.ClickException as error:
        wrong = Problem("wrong-usage", error.format_message(), fix="look at --help.")
        if _wants_json(args, *COMMANDS):
            _report_json([wrong])
        if loudness.is_json():
            _report(ReconcilerError(wrong))
        else:
            error.show()
        return error.exit_code
    except OSError:
        raise
    except Exception as error:
        if os.environ.get("RECONCILER_DEBUG"):
            raise
        _say(
            "internal-error",
            f"error[internal]: {type(error).__name__}: {error}\n"
            "  why: this is a bug in reconciler; nothing more was done after it.\n"
            "  fix: run again with RECONCILER_DEBUG=1 and report what it prints.",
        )
        return 1
    return result if isinstance(result, int) else 0


def _refusal(error: OSError) -> Problem:
    """Return what an error of the system amounts to that nobody expected at its place."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return Problem(
            "cannot-write",
            f"the output cannot be written: {reason}",
            why="what was done before it is recorded; only the output is not whole.",
            fix="see where stdout and stderr go, and whether that disk is full.",
        )
    return Problem(
        "system-refuses",
        f'"{error.filename}" cannot be used: {reason}',
        why="what was done before it is recorded; nothing more was done after it.",
        fix="see whether its disk is full or damaged, and whether you may read and write there.",
    )


def _wants_json(args: list[str] | None, *commands: str) -> bool:
    """Whether one of these commands was asked for JSON, as far as that can be seen without understanding the rest."""
    given = sys.argv[1:] if args is None else args
    named = next((word for word in given if word in COMMANDS), "")
    return named in commands and ("--format=json" in given or ("--format", "json") in pairwise(given))


def _report_json(problems: Iterable[Problem], folder: Path | None = None) -> None:
    """Print problems as the document that was asked for; no command raises once it has printed one."""
    from reconciler.cli.output import from_here, write
    from reconciler.rendering.problems import render_problems_json

    write(render_problems_json(from_here(problems, folder)))


def _say(event: str, text: str) -> None:
    """Tell what ends the command, however quiet it is."""
    from reconciler.logs import ERROR, tell

    loudness.install()
    tell(event, text, ERROR)


def _report(error: ReconcilerError) -> None:
    from reconciler.cli.output import show_problems

    show_problems(error.problems, _folder_of(error))


def _folder_of(error: ReconcilerError) -> Path | None:
    from pathlib import Path

    folder = getattr(error, "folder", None)
    return Path(folder) if folder else None


if __name__ == "__main__":
    main()
