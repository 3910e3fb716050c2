"""What a shell is told while somebody types: environments, sources, providers, addresses, runs and hazards.

Nothing here asks the remote, nor a store on the network: a key that is pressed must cost nothing. What cannot be read
completes to nothing, without a word: a message in the midst of a line helps nobody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from reconciler.problems import ReconcilerError

VARIABLE = "_RECONCILER_COMPLETE"  # what click looks for when the program is called "reconciler"
PROGRAM = "reconciler"
_ELSEWHERE = ("init", "emulator")  # what these name is no part of the project yet, or are ids
_MOST = 200  # more than anybody reads
_RUNS = 20

_Find = Callable[[click.Context], Iterable[str]]

# bash cuts words at ":" and "=" and replaces only what is behind them, so it is sent only that (`format_completion`).
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$(printf '%%q' "$value")") ;;
        esac
    done
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


def script_of(shell: str, cli: click.Command) -> str:
    """Return what a shell has to read so that it completes our command line."""
    register()
    made = get_completion_class(shell)
    assert made is not None, shell
    return made(cli, {}, PROGRAM, VARIABLE).source()


def register() -> None:
    """Have click answer bash our way."""
    add_completion_class(_Bash)


def prepare(command: click.Command) -> None:
    """Give the parameters of a command, and of those below it, what they complete to."""
    names = _FOUND if command.name not in _ELSEWHERE else {}
    for parameter in command.params:
        if parameter.name in names and isinstance(parameter.type, click.types.StringParamType):
            parameter.type = _Named(names[parameter.name])
    if isinstance(command, click.Group):
        for below in command.commands.values():
            prepare(below)


class _Bash(BashComplete):
    """Completes in bash, also words that have a colon."""

    source_template = _BASH
    _cut = 0

    def source(self) -> str:
        """Return the script; which bash will read it, and where, is not known here."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is being typed, and that one."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        # A space ends a word, but within quotes it is part of one.
        begun = bool(words) and (not line[-1].isspace() or words[-1][-1:].isspace())
        incomplete = words.pop() if begun else ""
        breaks = set(os.environ.get("COMP_WORDBREAKS", "")) & set(":=")
        self._cut = max((incomplete.rfind(char) + 1 for char in breaks), default=0)
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return one line of the answer, without what bash keeps by itself."""
        return f"{item.type},{str(item.value)[self._cut :] if item.type == 'plain' else item.value}"


class _Named(click.types.StringParamType):
    """A text of which some values are known."""

    def __init__(self, find: _Find) -> None:
        self._find = find

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's own signature
        incomplete: str,
    ) -> list[CompletionItem[Any]]:
        """Return what begins as the incomplete word does."""
        try:
            known = list(self._find(ctx))
        except (ReconcilerError, OSError, ValueError):
            return []
        return [CompletionItem(name) for name in known if name.startswith(incomplete)][:_MOST]


def _given(ctx: click.Context, name: str) -> str | None:
    """Return -C or -e, which may stand before or after the command."""
    here: str | None = ctx.params.get(name)
    return here or ctx.find_root().params.get(name)


def _section(ctx: click.Context, name: str) -> list[str]:
    """Return the names of a section of the project's file, whichever environment is meant."""
    from reconciler.manifest.files import read_text
    from reconciler.manifest.opening import find_project
    from reconciler.manifest.read import read_documents

    folder, file = find_project(_given(ctx, "directory"))
    values, _ = read_documents(read_text(folder, file), file)
    found: set[str] = set()
    for value in values:
        entries = value.get(name) if isinstance(value, dict) else None
        if isinstance(entries, dict):
            found.update(map(str, entries))
    return sorted(found)


def _environments(ctx: click.Context) -> list[str]:
    return _section(ctx, "environments") or ["local"]


def _sources(ctx: click.Context) -> list[str]:
    return _section(ctx, "sources")


def _providers(ctx: click.Context) -> list[str]:
    return _section(ctx, "providers")


def _addresses(ctx: click.Context) -> list[str]:
    return _recorded(ctx, lambda store: sorted(store.fingerprints()))


def _uris(ctx: click.Context) -> list[str]:
    return [address.split("/", 2)[2] for address in _addresses(ctx) if address.startswith("item/")]


def _identities(ctx: click.Context) -> list[str]:
    """Return identities in short, those of `access what` and `access why`."""
    kinds = {"group": "group", "virtual-group": "virtualGroup", "user": "user"}
    parts = [address.split("/", 2) for address in _addresses(ctx)]
    named = {f"{kinds[kind]}:{name}" for kind, _, name in parts if kind in kinds}
    # The address of an alias names the identity that has it.
    named |= {name for kind, _, name in parts if kind == "alias" and ":" in name}
    return sorted(named)


def _runs(ctx: click.Context) -> list[str]:
    return _recorded(ctx, lambda store: ["last", *(record.run.id for record in store.runs(_RUNS))])


def _recorded(ctx: click.Context, ask: Callable[[Any], list[str]]) -> list[str]:
    """Return what the state of this machine says; a store on the network is not asked."""
    from reconciler.cli.session import open_session
    from reconciler.manifest.urls import is_store

    with open_session(_given(ctx, "directory"), _given(ctx, "environment")) as session:
        if is_store(session.project.environment.state):
            return []
        with session.store.reading():
            return ask(session.store)


def _hazards(_ctx: click.Context) -> Iterable[str]:
    from reconciler.cli.options import HAZARDS

    return HAZARDS


_FOUND: dict[str, _Find] = {
    "environment": _environments,
    "sources": _sources,
    "source": _sources,
    "resent": _sources,
    "provider": _providers,
    "targets": _addresses,
    "address": _addresses,
    "addresses": _addresses,
    "excluded": _addresses,
    "old": _addresses,
    "uri": _uris,
    "identity": _identities,
    "run": _runs,
    "since": _runs,
    "allowed": _hazards,
}
