"""[io] Evaluates policies over an input, in a process of their own: what they may use is bounded.

The process has no environment and inherits no file; the engine (rego-cpp) has no way to files or to the network. A
policy that fails, loops, or fills the memory is an error and never an allowance.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.policies.child import OUT_OF_MEMORY
from reconciler.policies.rego import VERDICTS, Module, line_with, position_of_range
from reconciler.problems import ManifestError, Position, Problem, UsageError

SECONDS = 30
SECONDS_FOR_MEGABYTE = 5  # more, for each of the input
MEMORY = 4 << 30  # bytes; an input takes about a hundred times its size

_PARSE_ERROR = re.compile(r"\(error \d+:[^|\n]*\|(\d+)\|(\d+)\s*\(errormsg \d+:([^\n]*?)\)\s*\(", re.DOTALL)
_QUOTED = re.compile(r"not found: ([A-Za-z_][\w.]*)")
_CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True, slots=True)
class Asked:
    """The values that a rule has, of a package's module that has it first: none where it is undefined."""

    module: Module
    rule: str
    values: tuple[Any, ...]


def evaluate(modules: Sequence[Module], data: bytes, document: bytes, *, seconds: int = SECONDS) -> list[Asked]:
    """Return what each verdict of each package says of an input document, both JSON.

    `seconds` are those that the policies may take, beside what reading a large input takes.

    Raises ManifestError for policies that cannot be evaluated, UsageError where the engine is not installed.
    """
    [asked] = evaluate_each(modules, data, [(document, None)], seconds=seconds)
    return asked


def evaluate_each(
    modules: Sequence[Module], data: bytes, inputs: Sequence[tuple[bytes, str | None]], *, seconds: int = SECONDS
) -> list[list[Asked]]:
    """Return what the verdicts of a package, or (None) of each, say of an input document; raises as `evaluate`."""
    wanted = [_verdicts(modules, package) for _, package in inputs]
    # In one query, since the engine compiles everything anew for each. In lists, since what is undefined would make
    # the whole query so.
    queries = [
        (document, f"[{', '.join(map(_query, rules))}]") for (document, _), rules in zip(inputs, wanted, strict=True)
    ]
    results = _ask(modules, data, queries, seconds)
    for (document, _), rules, result in zip(inputs, wanted, results, strict=True):
        if "error" in result:
            # To tell whose fault it is, each rule is asked alone.
            alone = _ask(modules, data, [(document, _query(rule)) for rule in rules], seconds)
            raise ManifestError(*_faults(rules, modules, result, alone))
    return [_asked(rules, result["value"], modules) for rules, result in zip(wanted, results, strict=True)]


def _query(rule: tuple[Module, str]) -> str:
    return f"[x | x := data.{rule[0].package}.{rule[1]}]"


def _verdicts(modules: Sequence[Module], package: str | None) -> list[tuple[Module, str]]:
    """Return each verdict of each package, or of this one, once, with the first module that shows it.

    A package is asked for every verdict, also for one that no line begins with: how a rule is laid out must not
    decide whether it counts.
    """
    found: dict[tuple[str, str], Module] = {}
    for module in sorted(modules, key=lambda module: (module.package, module.file)):
        for rule in VERDICTS if package in (None, module.package) else ():
            first = found.setdefault((module.package, rule), module)
            if not first.has(rule) and module.has(rule):
                found[module.package, rule] = module
    return [(module, rule) for (_, rule), module in found.items()]


def _asked(wanted: Sequence[tuple[Module, str]], found: Any, modules: Sequence[Module]) -> list[Asked]:
    if not isinstance(found, list) or len(found) != len(wanted) or not all(isinstance(each, list) for each in found):
        raise ManifestError(_unreadable(modules))
    return [Asked(module, rule, tuple(values)) for (module, rule), values in zip(wanted, found, strict=True)]


def _faults(
    wanted: Sequence[tuple[Module, str]],
    modules: Sequence[Module],
    together: dict[str, Any],
    alone: Sequence[dict[str, Any]],
) -> list[Problem]:
    """Return what is wrong with each rule."""
    faults = [
        _fault(module, rule, modules, each["error"])
        for (module, rule), each in zip(wanted, alone, strict=True)
        if "error" in each
    ]
    return faults or [_fault(*wanted[0], modules, together["error"])]


def _ask(
    modules: Sequence[Module], data: bytes, queries: Sequence[tuple[bytes, str]], seconds: int
) -> list[dict[str, Any]]:
    """Return the answer to each query over an input: its value, or the error."""
    seconds += SECONDS_FOR_MEGABYTE * (sum(len(document) for document, _ in queries) >> 20)
    request = {
        "path": [_engine_folder()],
        "modules": [(module.file, module.text) for module in modules],
        "data": data.decode(),
        "queries": [(document.decode(), query) for document, query in queries],
        "seconds": seconds,
        "memory": MEMORY,
    }
    try:
        ran = subprocess.run(  # noqa: S603 - our own program, by an argument list
            [sys.executable, "-I", "-X", "utf8", str(_CHILD)],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd=_CHILD.parent,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ManifestError(_too_slow(modules, seconds)) from None
    try:
        answer = json.loads(ran.stdout)
    except ValueError:
        raise ManifestError(_died(modules, ran.returncode)) from None
    if "error" in answer:
        raise ManifestError(*_parse_problems(modules, answer))
    results: list[dict[str, Any]] = answer["results"]
    return results


def _environment() -> dict[str, str]:
    """Return the environment of the process: nothing, but for what Windows starts no process without."""
    return {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}


def _engine_folder() -> str:
    """Return the folder that the engine is imported from, without importing it here."""
    found = importlib.util.find_spec("regopy")
    if found is None or found.origin is None:
        raise UsageError(
            Problem(
                "policy-engine-missing",
                "the project has policies, and the engine that evaluates them is not installed",
                why="nothing is planned or applied past policies that nobody evaluated.",
                fix="install it: pip install 'reconciler[policy]'",
            )
        )
    return str(Path(found.origin).parents[1])


def _parse_problems(modules: Sequence[Module], answer: dict[str, Any]) -> list[Problem]:
    module = next((entry for entry in modules if entry.file == answer["module"]), None)
    if module is None:
        first = answer["error"].splitlines()[0] if answer["error"] else "the data was refused"
        return [Problem("policy-error", f"the policies' data cannot be used: {first}", where=modules[0].file)]
    found = [
        Problem(
            "policy-syntax",
            f"this is no Rego: {match[3].strip()}",
            why="a policy that cannot be read allows nothing.",
            fix="correct it; `reconciler policy test` reads all policies.",
            position=position_of_range(module.text, module.file, int(match[1]), int(match[2])),
        )
        for match in _PARSE_ERROR.finditer(answer["error"])
    ]
    return found or [_fault(module, "", modules, [answer["error"].splitlines()[0]])]


def _fault(module: Module, rule: str, modules: Sequence[Module], texts: Sequence[str]) -> Problem:
    """Return the problem of a rule that cannot be evaluated, at the line that it names, else at the rule's own."""
    said = texts[0] if texts else "the engine does not say why"
    file, line = module.file, module.line(rule)
    if (named := _QUOTED.search(said)) is not None:
        for entry in (module, *modules):
            if (found := line_with(entry.text, named[1])) is not None:
                file, line = entry.file, found
                break
    return Problem(
        "policy-error",
        f"{module.package}.{rule} cannot be evaluated: {said}",
        why="a policy that fails says nothing of the plan, and so allows nothing.",
        fix="correct the rule: let it hold for every input, such as a change without `before` or `after`.",
        position=Position(file, line, 1),
    )


def _unreadable(modules: Sequence[Module]) -> Problem:
    return Problem(
        "policy-result",
        "what the policies say cannot be read",
        why="a verdict that nobody can read allows nothing.",
        fix="write it in another way; `reconciler policy test` tries it.",
        where=modules[0].file,
    )


def _too_slow(modules: Sequence[Module], seconds: int) -> Problem:
    return Problem(
        "policy-timeout",
        f"the policies did not come to an end within {seconds} s",
        why="a policy that does not answer allows nothing.",
        fix="where thousands of changes are denied one by one, settle the first, or collect them in a list: deny := "
        "[... | ...]; else look for loops over loops and for regular expressions that repeat what repeats.",
        where=modules[0].file,
    )


def _died(modules: Sequence[Module], code: int) -> Problem:
    if code == OUT_OF_MEMORY:
        return Problem(
            "policy-memory",
            f"the policies took more than {MEMORY / (1 << 30):.0f} GiB of memory",
            why="a policy that does not answer allows nothing.",
            fix="look for what multiplies its input; split a very large plan (--source, --target).",
            where=modules[0].file,
        )
    return Problem(
        "policy-crashed",
        f"the engine of the policies ended before its time (exit code {code})",
        why="a policy that does not answer allows nothing.",
        fix="leave out what was last changed in the policies, and write it in another way; `reconciler policy test` "
        "tries them.",
        where=modules[0].file,
    )
