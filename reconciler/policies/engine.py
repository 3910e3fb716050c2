"""[io] Evaluates policies over an input, in a process of their own: what they may use is bounded.

The process has no environment and inherits no file; the engine (rego-cpp) has no way to files or to the network. A
policy that fails, loops, or fills the memory is an error and never an allowance.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.policies.rego import TEST, VERDICTS, Module, line_with, position_of_range
from reconciler.problems import ManifestError, Position, Problem, UsageError

SECONDS = 30
MEMORY = 3 << 30  # bytes; an input takes about a hundred times its size

_PARSE_ERROR = re.compile(r"\(error 1:[^|\n]*\|(\d+)\|(\d+)\s*\(errormsg \d+:([^\n]*?)\)\s*\(", re.DOTALL)
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

    Raises ManifestError for policies that cannot be evaluated, UsageError where the engine is not installed.
    """
    return _evaluated(modules, _wanted(modules, lambda rule: rule in VERDICTS), data, document, seconds)


def run_tests(modules: Sequence[Module], data: bytes, *, seconds: int = SECONDS) -> list[Asked]:
    """Return what each rule `test_...` says, without an input but what it brings itself; raises as `evaluate`."""
    return _evaluated(modules, _wanted(modules, lambda rule: rule.startswith(TEST)), data, b"{}", seconds)


def _wanted(modules: Sequence[Module], wanted: Any) -> list[tuple[Module, str]]:
    """Return each rule of each package that is wanted, once."""
    found: dict[tuple[str, str], Module] = {}
    for module in modules:
        for rule, _ in module.rules:
            if wanted(rule):
                found.setdefault((module.package, rule), module)
    return [(module, rule) for (_, rule), module in found.items()]


def _evaluated(
    modules: Sequence[Module], wanted: Sequence[tuple[Module, str]], data: bytes, document: bytes, seconds: int
) -> list[Asked]:
    if not wanted:
        return []
    # All in one query: the engine compiles everything anew for each. In a list, since what is undefined would
    # make the whole query so.
    queries = [f"[x | x := data.{module.package}.{rule}]" for module, rule in wanted]
    together = "[" + ", ".join(queries) + "]"
    answer = _asked(modules, [together], data, document, seconds)
    [result] = answer
    if "text" in result:
        found = _expression(result["text"])
        if isinstance(found, list) and len(found) == len(wanted) and all(isinstance(entry, list) for entry in found):
            return [Asked(module, rule, tuple(values)) for (module, rule), values in zip(wanted, found, strict=True)]
        raise ManifestError(_unreadable(modules))
    # To tell whose fault it is, each is asked alone.
    alone = _asked(modules, queries, data, document, seconds)
    faults = [
        _fault(module, rule, modules, each["error"])
        for (module, rule), each in zip(wanted, alone, strict=True)
        if "error" in each
    ]
    raise ManifestError(*(faults or [_fault(*wanted[0], modules, result["error"])]))


def _expression(text: str) -> Any:
    try:
        return json.loads(text)["expressions"][0]
    except (ValueError, KeyError, IndexError, RecursionError):
        return None


def _asked(
    modules: Sequence[Module], queries: Sequence[str], data: bytes, document: bytes, seconds: int
) -> list[dict[str, Any]]:
    request = {
        "path": [_engine_folder()],
        "modules": [(module.file, module.text) for module in modules],
        "data": data.decode(),
        "input": document.decode(),
        "queries": queries,
        "seconds": seconds,
        "memory": MEMORY,
    }
    try:
        ran = subprocess.run(  # noqa: S603 - our own program, by an argument list
            [sys.executable, "-I", "-X", "utf8", str(_CHILD)],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
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
        why="a message that was cut inside of a quote or a line break is no text any more.",
        fix="give names and titles as they are, without `substring`.",
        where=modules[0].file,
    )


def _too_slow(modules: Sequence[Module], seconds: int) -> Problem:
    return Problem(
        "policy-timeout",
        f"the policies did not come to an end within {seconds} s",
        why="a policy that does not answer allows nothing.",
        fix="look for loops over loops and for regular expressions that repeat what repeats; split a very large plan "
        "(--source, --target).",
        where=modules[0].file,
    )


def _died(modules: Sequence[Module], code: int) -> Problem:
    return Problem(
        "policy-crashed",
        f"the engine of the policies ended before its time (exit code {code})",
        why="it took more memory or time than a policy gets, or recurses without end; what does not answer allows "
        "nothing.",
        fix="make the policies simpler, or split a very large plan (--source, --target).",
        where=modules[0].file,
    )
