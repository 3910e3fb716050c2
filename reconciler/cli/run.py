"""`reconciler run`: reconcile a checked-out work tree with the remote, again and again."""

from __future__ import annotations

import errno
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import PARALLELISM, allow_option, project_options, refresh_option
from reconciler.logs import tell
from reconciler.problems import Problem, UsageError

if TYPE_CHECKING:
    from reconciler.cli.watching import Watcher

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_OFF = "off"


def _seconds(_ctx: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return the seconds that `60`, `60s`, `5m`, `1h` or `1d` mean. Raises BadParameter for less than one."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if seconds < 1:
        raise click.BadParameter(f'"{text}" is no time of a second or more, such as 60s, 5m or 1h.', param=parameter)
    return seconds


def _address(_ctx: click.Context, parameter: click.Parameter, text: str) -> tuple[str, int] | None:
    """Return host and port, None for `off`."""
    if text == _OFF:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise click.BadParameter(f'"{text}" is no HOST:PORT, and not {_OFF}.', param=parameter)
    return host.removeprefix("[").removesuffix("]"), int(port)


@click.command("run")
@project_options
@allow_option
@click.option("--once", is_flag=True, help="Run one round and exit, as for a CronJob; nothing is served.")
@click.option(
    "--interval", metavar="TIME", default="60s", show_default=True, callback=_seconds, help="Between two rounds."
)
@click.option("--pull/--no-pull", default=True, show_default=True, help="Whether to fetch, and go forward, first.")
@click.option(
    "--require-signature", is_flag=True, help="Apply only a commit whose signature is good (`git verify-commit`)."
)
@click.option(
    "--drift-every", metavar="TIME", callback=_seconds, help="Compare with the remote this often (default: never)."
)
@click.option("--repair-drift", is_flag=True, help="Send again what drifted.")
@click.option(
    "--verify-timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait, after an apply, for what has not arrived.",
)
@refresh_option
@click.option(
    "--parallelism",
    type=click.IntRange(1, 16),
    default=PARALLELISM,
    show_default=True,
    metavar="N",
    help="How many calls may be under way at once, where order permits.",
)
@click.option(
    "--suspend-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="While this file exists nothing is done, and others may have the lock.",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:9090",
    show_default=True,
    callback=_address,
    help="Where /healthz, /readyz and /metrics are served, or `off`.",
)
def command(
    directory: str | None,
    environment: str | None,
    allowed: tuple[str, ...],
    once: bool,
    interval: float,
    pull: bool,
    require_signature: bool,
    drift_every: float | None,
    repair_drift: bool,
    verify_timeout: float,
    refresh_identities: bool,
    parallelism: int,
    suspend_file: Path | None,
    listen: tuple[str, int] | None,
) -> int:
    """Reconcile a checked-out work tree with the remote, again and again.

    Each round pulls, plans, applies what no hazard and no policy blocks, and verifies. Of several for one state only
    the holder of its lock works. SIGHUP begins a round at once; SIGTERM ends it after the calls in flight are
    recorded.

    Examples:

    \b
        reconciler run --once
        reconciler run --interval 60s --listen 127.0.0.1:0
        reconciler run -e prod --drift-every 1h --repair-drift --listen 127.0.0.1:0 --log-format json
    """
    from reconciler.cli.controller import Asked, Controller, Task

    if repair_drift and drift_every is None:
        raise UsageError(
            Problem(
                "no-drift-check",
                "--repair-drift has no meaning without --drift-every",
                why="nobody would look for what drifted.",
                fix="say how often to look, such as --drift-every 1h.",
            )
        )
    task = Task(
        directory=directory,
        environment=environment,
        pull=pull,
        signed=require_signature,
        allowed=allowed,
        parallelism=parallelism,
        refresh_identities=refresh_identities,
        verify_timeout=verify_timeout,
        drift_every=drift_every,
        repair=repair_drift,
        suspend_file=suspend_file,
    )
    with ExitStack() as stack:
        asked = Asked()
        if not once:
            stack.enter_context(asked.on_signals())
        controller = Controller(task, _watchers(stack, None if once else listen), asked)
        return controller.once() if once else controller.serve(interval)


def _watchers(stack: ExitStack, listen: tuple[str, int] | None) -> Watcher:
    """Return who watches: metrics, where somebody can ask for them, and traces, where the environment wants them."""
    from reconciler.cli.tracing import Tracing, wants_traces
    from reconciler.cli.watching import Watchers

    found: list[Watcher] = []
    try:
        if listen is not None:
            from reconciler.cli.metrics import CONTENT_TYPE, Metrics
            from reconciler.cli.serving import Standing, application, served

            metrics, standing = Metrics(), Standing()
            url = stack.enter_context(served(application(standing, metrics.text, CONTENT_TYPE), *listen))
            tell("listening", f"listening on {url} (/healthz, /readyz, /metrics)", url=url)
            found += [metrics, standing]
        if wants_traces():
            found.append(Tracing())
    except ImportError as error:
        raise UsageError(
            Problem(
                "controller-packages",
                f"the controller needs {error.name}, which is not installed",
                why="metrics and traces are for controllers alone, so their packages come only when asked for.",
                fix="install them: pip install 'reconciler[controller]'; or give --listen off, and no OTEL_* endpoint.",
            )
        ) from None
    except OSError as error:
        raise _cannot_listen(error, listen) from None
    watchers = Watchers(found)
    stack.callback(watchers.close)
    return watchers


def _cannot_listen(error: OSError, listen: tuple[str, int] | None) -> UsageError:
    host, port = listen or ("", 0)
    if error.errno == errno.EADDRINUSE:
        what = f"something else listens on port {port} of {host}"
    else:
        what = f"port {port} of {host} cannot be listened on: {error.strerror or error}"
    fix = "give another address with --listen, or `--listen off`."
    return UsageError(Problem("cannot-listen", what, fix=fix))
