"""Options that make the embedded emulator strict, limited or faulty, and what they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from reconciler.problems import Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from reconciler.emulator.options import Doubts, EmulatorOptions
    from reconciler.emulator.quotas import Limits

F = TypeVar("F", bound=Callable[..., Any])
_COUNT = click.IntRange(min=0)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Conduct:
    """What the options ask of the emulator's manners; texts as they were given."""

    faults: tuple[str, ...] = ()
    fault_seed: int = 0
    rate: str | None = None
    items_per_day: int | None = None
    identities_per_day: int | None = None
    item_quota: int | None = None
    keys: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    fields: Literal["permissive", "strict"] = "permissive"
    refresh_every: float | None = None


def conduct_options(function: F) -> F:
    """Add the options; the command gets them as one argument, `conduct`."""

    @wraps(function)
    def gathered(**given: Any) -> Any:
        own = {name: given.pop(name) for name in Conduct.__dataclass_fields__}
        return function(conduct=Conduct(**own), **given)

    command: Any = gathered
    for option in reversed(_OPTIONS):
        command = option(command)
    result: F = command
    return result


def _list_doubts(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from reconciler.emulator.doubts import questions

    for question in questions():
        click.echo(f"{question.name}={'|'.join(question.choices)} (default: {question.default})")
        click.echo(f"    {question.text}")
    ctx.exit()


_OPTIONS = (
    click.option(
        "--fault",
        "faults",
        metavar="RULE",
        multiple=True,
        help="Let something go wrong (repeatable; the first rule that fits a request counts): 'METHOD PATH: WHAT [xN] "
        "[after=N] [P%]', PATH being what follows the organization. WHAT is a status (429 retry-after=3), drop-before, "
        "drop-after, truncate, slow=SECONDS, reject[=URI-PATTERN], expired (storage) or delay=SECONDS. "
        "'random: 10% of [503, drop-after]' is for every request.",
    ),
    click.option(
        "--fault-seed",
        type=int,
        default=0,
        show_default=True,
        metavar="N",
        help="Decides faults that are left to chance: the same seed and requests, the same faults.",
    ),
    click.option(
        "--rate",
        metavar="RATE",
        help="How many calls it takes: published, trial, or CALLS/day,CALLS/SECONDS (default: any number).",
    ),
    click.option("--items-per-day", type=_COUNT, metavar="N", help="How many items a day it takes (default: any)."),
    click.option(
        "--identities-per-day", type=_COUNT, metavar="N", help="How many identities a day it takes (default: any)."
    ),
    click.option("--item-quota", type=_COUNT, metavar="N", help="How many items its index holds (default: any)."),
    click.option(
        "--key",
        "keys",
        metavar="VARIABLE=PRIVILEGE[:SOURCE],...",
        multiple=True,
        help="A further key with these privileges only, read from an environment variable (repeatable). The key of a "
        "Push source is source-edit:SOURCE.",
    ),
    click.option(
        "--fields",
        type=click.Choice(["permissive", "strict"]),
        default="permissive",
        show_default=True,
        help="Which metadata its index keeps: all whose key could name a field, or what existing fields and mappings "
        "take.",
    ),
    click.option(
        "--refresh-every",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Let its security cache follow what was pushed only when it is refreshed: so often by itself, and when "
        "it is asked to (default: it follows at once).",
    ),
    click.option("--paused", metavar="ORG", multiple=True, help="An organization that is paused (repeatable)."),
    click.option(
        "--doubt",
        "doubts",
        metavar="NAME=ANSWER",
        multiple=True,
        help="Answer a question that the documents leave open (repeatable; --doubts lists them).",
    ),
    click.option(
        "--doubts",
        "list_doubts",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_list_doubts,
        help="List the open questions, their answers and sections, and end.",
    ),
)


def applied(conduct: Conduct, options: EmulatorOptions) -> EmulatorOptions:
    """Return `options` with what `conduct` says. Raises UsageError."""
    for name in conduct.paused:
        if name not in options.organizations:
            fix = did_you_mean(name, options.organizations) or f"there are {', '.join(options.organizations)}."
            raise _bad("id", f'no organization "{name}" is served', fix, f"--paused {name}")
    return replace(
        options,
        faults=_faults(conduct.faults),
        fault_seed=conduct.fault_seed,
        limits=_limits(conduct),
        keys={**options.keys, **_keys(conduct.keys, options, os.environ)},
        paused=options.paused | frozenset(conduct.paused),
        doubts=_doubts(conduct.doubts, _of_cache(conduct, options.doubts)),
        refresh_every=conduct.refresh_every or 0.0,
        fields=conduct.fields,
    )


def bad_fault(reason: str) -> UsageError:
    """Return the error of a rule that cannot be read or can never be met."""
    return _bad("fault", reason, "write --fault 'PUT documents/batch: 503 x2'; --help has the rest.")


def _bad(kind: str, what: str, fix: str, where: str = "") -> UsageError:
    return UsageError(Problem(f"bad-{kind}", what, fix=fix, where=where))


def _faults(texts: tuple[str, ...]) -> tuple[str, ...]:
    from reconciler.emulator.faults import BadRule, parse_rule

    try:
        for text in texts:
            parse_rule(text)
    except BadRule as error:
        raise bad_fault(str(error)) from None
    return texts


def _limits(conduct: Conduct) -> Limits:
    from reconciler.emulator.quotas import Limits, parse_rate

    try:
        rate = Limits() if conduct.rate is None else parse_rate(conduct.rate)
    except ValueError as error:
        raise _bad("rate", str(error), "write --rate 15000/day,250/300 or --rate published.") from None
    return replace(
        rate,
        items_per_day=conduct.items_per_day,
        identities_per_day=conduct.identities_per_day,
        items=conduct.item_quota,
    )


def _of_cache(conduct: Conduct, doubts: Doubts) -> Doubts:
    """Return the doubts for a cache that is refreshed now and then; an answer that was given in words stays."""
    return doubts if conduct.refresh_every is None else replace(doubts, cache_view="on refresh")


def _doubts(texts: Sequence[str], doubts: Doubts) -> Doubts:
    if not texts:
        return doubts
    from reconciler.emulator.doubts import BadAnswer, answered

    for text in texts:
        try:
            doubts = answered(doubts, text)
        except BadAnswer as error:
            raise _bad("doubt", str(error), "run reconciler emulator --doubts for the list.") from None
    return doubts


# -- keys ------------------------------------------------------------------------------------------


def _keys(texts: Sequence[str], options: EmulatorOptions, environment: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Return the privileges of each further key; neither a key nor a part of it is ever told."""
    found: dict[str, frozenset[str]] = {}
    for text in texts:
        variable, equals, privileges = text.partition("=")
        if not equals or not variable or not privileges:
            raise _bad_key("it is not of the form VARIABLE=PRIVILEGE,PRIVILEGE")
        key = environment.get(variable, "")
        if not is_key(key):
            wrong = "holds characters that no key has" if key else "is not set"
            named = variable if _VARIABLE.fullmatch(variable) else "before the ="  # it may be the key itself
            raise _bad_key(f"the environment variable {named} {wrong}")
        if key in found:
            raise _bad_key(f"the key of {variable} is given twice")
        found[key] = frozenset(_privilege(name, options) for name in privileges.split(","))
    return found


def is_key(text: str) -> bool:
    """Return whether `text` can be sent in a header as a key."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _privilege(text: str, options: EmulatorOptions) -> str:
    from reconciler.emulator.options import ALL_PRIVILEGES

    name, colon, source = text.strip().partition(":")
    privilege = name.upper().replace("-", "_")
    if privilege not in ALL_PRIVILEGES:
        known = sorted(entry.lower().replace("_", "-") for entry in ALL_PRIVILEGES)
        fix = did_you_mean(name.lower().replace("_", "-"), known) or f"there are {', '.join(known)}."
        raise _bad_key(f'"{name[:100]}" is no privilege', fix)
    if not colon:
        return privilege
    if source not in options.source_table:
        fix = did_you_mean(source, options.source_table) or "name a source that is served."
        raise _bad_key(f'no source "{source[:100]}" is served', fix)
    return f"{privilege}:{source}"


def _bad_key(what: str, fix: str = "put the key into a variable: --key PUSH_KEY=source-edit:docs") -> UsageError:
    return _bad("key", what, fix)
