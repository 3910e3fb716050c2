"""Reads the policies of a project: `*.rego`, and beside them data as JSON or YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from reconciler.manifest.files import read_text
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.read import read_documents
from reconciler.policies.cases import SUFFIXES, Case, read_cases
from reconciler.policies.rego import VERDICTS, Module, read_module
from reconciler.problems import ManifestError, Position, Problem

MAX_BYTES = 4 << 20  # of all files together


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a folder, sorted by file, their data as JSON, and their tests."""

    modules: tuple[Module, ...]
    data: bytes
    cases: tuple[Case, ...] = ()


def read_policies(folder: ProjectFolder, below: str) -> Policies:
    """Return the policies in a folder of the project.

    A data file is known by its path: `hr/owners.yaml` is `data.hr.owners`; `*.test.yaml` are tests.

    Raises ManifestError with all problems, also where there is no policy, or none with a verdict: nothing found is
    never "all is allowed".
    """
    found = folder.glob([f"{below}/**/*.rego", *(f"{below}/**/*.{kind}" for kind in ("json", "yaml", "yml"))])
    if wrong := [*found.problems, *_linked(folder, below)]:
        raise ManifestError(*wrong)
    if sum(file.stat.size for file in found.files) > MAX_BYTES:
        raise ManifestError(_too_large(below))
    modules: list[Module] = []
    problems: list[Problem] = []
    data: dict[str, Any] = {}
    tests: dict[str, Any] = {}
    for file in (entry.path for entry in found.files):
        text = read_text(folder, file)
        if file.endswith(".rego"):
            problems += _read_module(file, text, modules)
        else:
            value, wrong = _read_value(file, text)
            problems += wrong
            if file.endswith(SUFFIXES):
                tests[file] = value
            elif not wrong:
                problems += _place(file.removeprefix(f"{below}/"), file, value, data)
    problems += _clashes(modules, data)
    cases: list[Case] = []
    for file, value in tests.items() if not problems else ():
        found_cases, wrong = read_cases(file, value, [module.package for module in modules])
        cases += found_cases
        problems += wrong
    if not any(rule in VERDICTS for module in modules for rule, _ in module.rules):
        problems += [] if problems else [_no_policies(below)]
    if problems:
        raise ManifestError(*problems)
    return Policies(tuple(modules), orjson.dumps(data), tuple(cases))


def _linked(folder: ProjectFolder, below: str) -> list[Problem]:
    """Return a problem for each folder that is a link: none is followed, and what it holds would not count."""
    return [
        Problem(
            "bad-policies",
            f'"{link}" is a link to a folder',
            why="links to folders are not followed: no policy in it would be asked.",
            fix="put the policies there themselves.",
            where=below,
        )
        for link in folder.linked_folders(below)
    ]


def _read_module(file: str, text: bytes, modules: list[Module]) -> list[Problem]:
    try:
        module, problems = read_module(file, text.decode())
    except UnicodeDecodeError:
        return [Problem("policy-syntax", "the policy is no UTF-8 text", position=Position(file, 1, 1))]
    modules.append(module)
    return problems


def _read_value(file: str, text: bytes) -> tuple[Any, list[Problem]]:
    """Return the one value that a file holds, and what is wrong with it."""
    documents, problems = read_documents(text, file)
    if problems:
        return None, problems
    if len(documents) != 1:
        return None, [_bad_data(file, f"holds {len(documents)} documents, where one is wanted")]
    try:
        return orjson.loads(orjson.dumps(documents[0])), []
    except (TypeError, ValueError) as error:
        return None, [_bad_data(file, f"is nothing that JSON can say: {error}")]


def _place(path: str, file: str, value: Any, data: dict[str, Any]) -> list[Problem]:
    """Put a value where its path says; return what is wrong with that."""
    *folders, name = path.rpartition(".")[0].split("/")
    inner = data
    for step in folders:
        inner = inner.setdefault(step, {})
        if not isinstance(inner, dict):
            return [_bad_data(file, f'would stand in "{step}", which another file fills')]
    if name in inner:
        return [_bad_data(file, f'would fill "{name}" of the data a second time')]
    inner[name] = value
    return []


def _clashes(modules: list[Module], data: dict[str, Any]) -> list[Problem]:
    """Return a problem for each policy whose package has the name of data, which the engine would mix."""
    return [
        Problem(
            "bad-policy-data",
            f'package "{module.package}" and a data file have the same name',
            why="both are known as data." + module.package.partition(".")[0] + ".",
            fix="rename one of the two.",
            position=Position(module.file, module.line(), 1),
        )
        for module in modules
        if module.package.partition(".")[0] in data
    ]


def _bad_data(file: str, what: str) -> Problem:
    return Problem(
        "bad-policy-data",
        f'"{file}" {what}',
        why="each data file is one value, known to policies by the file's name.",
        fix="correct the file, or move it out of the folder of policies.",
        position=Position(file, 1, 1),
    )


def _too_large(below: str) -> Problem:
    return Problem(
        "policy-too-large",
        f'the files in "{below}" have more than {MAX_BYTES:,} bytes',
        why="the engine would not read them in time.",
        fix="move out what is no policy and no data of one.",
        where=below,
    )


def _no_policies(below: str) -> Problem:
    return Problem(
        "no-policies",
        f'no policy in "{below}" has a rule named deny or warn',
        why='a folder may have vanished, or a rule\'s name may be misspelt: nothing found is never "all is allowed".',
        fix="add a rule, or take `policies` out of reconciler.yaml.",
        where=below,
    )
