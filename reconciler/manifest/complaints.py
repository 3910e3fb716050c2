"""What pydantic says of an entry, said in our words: one problem per mistake, with its path.

Of a union pydantic reports every branch; a person meant one, so only the branch that came furthest
is reported. It knows nothing of text: a path leads to the value, or to the key when `on_key` is set.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reconciler.manifest import messages
from reconciler.manifest.normalize import Finding, Path
from reconciler.problems import Problem, did_you_mean

# What a branch of a union says when the value is not even of its type.
_OTHER_BRANCH = frozenset(
    {"string_type", "list_type", "dict_type", "model_type", "int_type", "float_type", "bool_type"}
)

_EXPECTED = {
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}


_BOUNDS = {"greater_than_equal": "ge", "less_than_equal": "le"}


def findings_of(error: ValidationError, value: Any, model: type[BaseModel]) -> list[Finding]:
    """Return the findings that a failed validation of `value` against `model` comes to, in path order."""
    located = [(_path(entry["loc"], value, entry["type"]), entry) for entry in error.errors(include_url=False)]
    located = [pair for pair in located if not _is_other_branch(pair, located)]
    seen: set[tuple[Path, str]] = set()
    found = []
    for path, entry in located:
        key = (path, "type" if entry["type"] in _OTHER_BRANCH else entry["type"])
        if key in seen:
            continue
        seen.add(key)
        alternatives = [other["type"] for where, other in located if where == path and other["type"] in _OTHER_BRANCH]
        found.append(_finding(path, entry, model, alternatives))
    return found


def _path(loc: tuple[int | str, ...], value: Any, kind: str) -> Path:
    """Return the part of `loc` that exists in the value; pydantic mixes in the names of union branches."""
    path: list[int | str] = []
    for step in loc:
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_list or (isinstance(value, dict) and step in value):
            value = value[step]
            path.append(step)
    if kind == "missing" and isinstance(loc[-1], str):
        path.append(loc[-1])
    return tuple(path)


def _is_other_branch(pair: tuple[Path, ErrorDetails], located: list[tuple[Path, ErrorDetails]]) -> bool:
    path, entry = pair
    if entry["type"] not in _OTHER_BRANCH:
        return False
    return any(
        where[: len(path)] == path and (len(where) > len(path) or other["type"] not in _OTHER_BRANCH)
        for where, other in located
    )


def _finding(path: Path, entry: ErrorDetails, model: type[BaseModel], alternatives: list[str]) -> Finding:
    kind = entry["type"]
    if entry["loc"] and entry["loc"][-1] == "[key]":
        return Finding(path, _bad_key(str(path[-1])), on_key=True)
    if kind == "extra_forbidden":
        return Finding(path, _unknown_key(str(path[-1]), _keys_at(model, path[:-1])), on_key=True)
    if kind == "missing":
        return Finding(path[:-1], _missing_key(str(path[-1])))
    if kind in _EXPECTED:
        if len(path) == 2 and path[0] == "metadata":
            return Finding(path, messages.bad_value(str(path[1]), entry["input"]))
        words = dict.fromkeys(_EXPECTED[name] for name in alternatives or [kind])
        if "a number" in words:
            words.pop("a whole number", None)
        expected = " or ".join(words)
        return Finding(path, _wrong_type(path, expected, entry["input"]))
    if kind == "string_pattern_mismatch" and isinstance(entry["input"], str):
        return Finding(path, _bad_text(path, entry["input"]))
    if kind == "value_error":
        return Finding(path, _not_one(path, entry["msg"].removeprefix("Value error, ")))
    if kind in ("too_short", "string_too_short"):
        return Finding(path, _empty(path))
    if kind == "literal_error":
        return Finding(path, _none_of(path, entry["input"], str(entry["ctx"]["expected"])))
    if kind in _BOUNDS:
        return Finding(path, _out_of_bounds(path, entry["input"], _BOUNDS[kind], entry["ctx"]))
    message = entry["msg"]
    return Finding(path, Problem("bad-value", f"{_named(path)}: {message[:1].lower()}{message[1:]}", fix="correct it."))


def _not_one(path: Path, demand: str) -> Problem:
    return Problem(
        "bad-value",
        f"{_named(path)} does not say exactly one thing",
        why="with none of them nothing is said, and of several only one could count.",
        fix=f"{demand}.",
    )


def _empty(path: Path) -> Problem:
    return Problem(
        "bad-value", f"{_named(path)} is empty", why='empty is never taken for "none".', fix="fill it in, or remove it."
    )


def _none_of(path: Path, value: Any, expected: str) -> Problem:
    allowed = re.findall("'([^']*)'", expected)
    shown = f'"{value}"' if isinstance(value, str) else _shown(value)
    near = did_you_mean(value, allowed) if isinstance(value, str) else ""
    return Problem("bad-value", f"{_named(path)} is {shown}", fix=near or f"write one of {', '.join(allowed)}.")


def _unknown_key(key: str, known: Iterable[str]) -> Problem:
    if key == "expires":
        return messages.misplaced_expires("")
    known = sorted(known)
    return Problem(
        "unknown-key",
        f'unknown key "{key}"',
        why="a key that is not read would silently not be applied.",
        fix=did_you_mean(key, known) or (f"known here: {', '.join(known)}." if known else "remove it."),
    )


def _bad_key(key: str) -> Problem:
    return Problem(
        "bad-value",
        f'"{key}" cannot be a name here',
        why="names stand in addresses and file names.",
        fix=f"{_NAME}, at most 64; the first is no `-` or `.`." if key else "give it a name.",
    )


def _missing_key(key: str) -> Problem:
    return Problem("missing-key", f'"{key}" is missing', why="it has no default.", fix=f"add `{key}:`.")


def _out_of_bounds(path: Path, value: Any, bound: str, limits: dict[str, Any]) -> Problem:
    words = f"at {'least' if bound == 'ge' else 'most'} {limits[bound]:,.10g}"
    return Problem("bad-value", f"{_named(path)} is {_shown(value)}; it should be {words}", fix=f"write {words}.")


def _wrong_type(path: Path, expected: str, value: Any) -> Problem:
    shown = _shown(value)
    quoted = "a text" in expected and isinstance(value, (int, float)) and not isinstance(value, bool)
    fix = f'quote it: "{value}".' if quoted else f"write {expected}."
    if path[-1:] == ("expires",):
        fix = messages.EXPIRES_FORM
    if path[-1:] == ("apiKey",):
        return Problem(
            "wrong-type", f"{_named(path)} is {shown}; it should be {expected}", why=_NO_KEYS, fix=_KEY_FORMS
        )
    return Problem("wrong-type", f"{_named(path)} is {shown}; it should be {expected}", fix=fix)


def _bad_text(path: Path, text: str) -> Problem:
    return Problem(
        "bad-value",
        f'{_named(path)} is "{text}", which does not have the form that is needed',
        why="it is matched against a fixed form, shown in the schema.",
        fix=_FORMS.get(_key(path), "write type:name, for example user:alice@example.com."),
    )


_NO_KEYS = "manifests are shared and kept for ever; they say where the key is found, and never hold it."
_KEY_FORMS = "write {env: NAME}, {file: PATH} or {command: [NAME, ARGUMENT]}."
_NAME = "use letters, digits, `_`, `-` and `.`"
_FORMS = {
    "fileExtension": "start it with a dot, for example .html.",
    "deletes": "write a share such as 10%.",
    "updates": "write a share such as 10%.",
    "refreshEvery": "write minutes, hours or days: 30m, 24h or 7d.",
    "uploadHosts": "write the name of a host alone, such as storage.example.com.",
    "source": f"{_NAME}.",
    "provider": f"{_NAME}.",
}


def _key(path: Path) -> str:
    """Return the last key on the way, which is that of a list for what stands in it."""
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def _named(path: Path) -> str:
    key = _key(path)
    return f'"{key}"' if key else "the entry"


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "a mapping"


def _keys_at(model: type[BaseModel], path: Path) -> set[str]:
    """Return the keys that may stand where `path` leads to from an entry of type `model`."""
    models: list[type[BaseModel]] = [model]
    steps = iter([step for step in path if isinstance(step, str)])
    for step in steps:
        annotations = [
            info.annotation
            for parent in models
            for name, info in parent.model_fields.items()
            if step in (info.alias or name, name)
        ]
        models = [found for annotation in annotations for found in _models_in(annotation)]
        if any(_is_map(annotation) for annotation in annotations):
            next(steps, None)  # a name of the user's own
    return {info.alias or name for found in models for name, info in found.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, list, dict) or get_args(annotation):
        for argument in get_args(annotation):
            yield from _models_in(argument)


def _is_map(annotation: Any) -> bool:
    """Whether models stand there under names of the user's own."""
    if get_origin(annotation) is dict:
        return any(_models_in(annotation))
    return any(_is_map(argument) for argument in get_args(annotation))
