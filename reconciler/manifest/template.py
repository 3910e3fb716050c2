"""Texts with placeholders: `${name}` for a variable of the project, `{field}` for the file or row at hand.

`$${` stands for `${`, `{{` and `}}` for braces. Values are put in once and never looked at again, so
a value that contains braces stays what it is. A field may pass through filters: `{path|stem|lower}`,
`{html.title|default:'Untitled'}`. It knows nothing of files and rows.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from reconciler.problems import ManifestError, Problem, did_you_mean

Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_TOKEN = re.compile(
    r"""
    (?P<raw>\$\$\{[^{}]*\}?)             # $${name}: as it stands, without the first dollar
  | \$\{(?P<variable>[^{}]*)(?P<end>\}?)
  | (?P<brace>\{\{|\}\})
  | \{(?P<field>[^{}|]+)(?P<filters>(?:\|[^{}'|]*(?:'[^']*'\s*)?)*)\}
  | (?P<stray>[{}])
    """,
    re.VERBOSE,
)
_FILTER = re.compile(r"\|\s*(?P<name>[a-z]*)\s*(?P<fallback>:\s*'(?P<text>[^']*)')?\s*")
_FILTERS: dict[str, Callable[[str], str]] = {
    "basename": posixpath.basename,
    "dirname": posixpath.dirname,
    "lower": str.lower,
    "stem": lambda text: posixpath.splitext(posixpath.basename(text))[0],
    "urlencode": lambda text: quote(text, safe="/"),
}
_MAX_FIELDS = 12
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A field, what is done to its text, and what stands for it where it is absent."""

    field: str
    filters: tuple[str, ...] = ()
    fallback: str | None = None

    def value(self, fields: Mapping[str, Any]) -> Any:
        """Return the field's value after the filters, or None when it is absent."""
        value = lookup(fields, self.field)
        if value is None:
            value = self.fallback
        if value is None or not self.filters:
            return value
        text = to_text(value, self.field)
        for name in self.filters:
            text = _FILTERS[name](text)
        return text


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled text: literal pieces and placeholders in turn."""

    parts: tuple[str | Placeholder, ...]

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The placeholders, in the order they are written."""
        return tuple(part for part in self.parts if isinstance(part, Placeholder))

    def render(self, fields: Mapping[str, Any]) -> Any:
        """Return the text for these fields, or None when it needs one that is absent.

        A template that is one placeholder and nothing else keeps the type of the value. Raises
        ManifestError for a list or mapping inside a longer text.
        """
        parts = self.parts
        if len(parts) == 1:
            part = parts[0]
            return part if isinstance(part, str) else part.value(fields)
        texts = []
        for part in parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            value = part.value(fields)
            if value is None:
                return None
            texts.append(value if isinstance(value, str) else to_text(value, part.field))
        return "".join(texts)


def compile_template(text: str, variables: Mapping[str, str]) -> Template:
    """Return the template that `text` is, its variables filled in; raises ManifestError."""
    parts: list[str | Placeholder] = []
    end = 0
    for match in _TOKEN.finditer(text):
        parts += (text[end : match.start()], _part(match, text, variables))
        end = match.end()
    parts.append(text[end:])
    return Template(_merged(parts) or ("",))


@dataclass(frozen=True, slots=True)
class Tree:
    """A compiled entry: `node` has a `Template` for each text with placeholders, else what was written.

    `placeholders` and `problems` come with their path inside the entry. Keys are taken as written.
    """

    node: Any
    placeholders: tuple[tuple[Path, Placeholder], ...]
    problems: tuple[tuple[Path, Problem], ...]


def compile_tree(entry: Any, variables: Mapping[str, str]) -> Tree:
    """Return an entry with all its texts compiled, and all that is wrong with them."""
    placeholders: list[tuple[Path, Placeholder]] = []
    problems: list[tuple[Path, Problem]] = []

    def compiled(node: Any, path: Path) -> Any:
        if isinstance(node, dict):
            return {key: compiled(value, (*path, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [compiled(value, (*path, index)) for index, value in enumerate(node)]
        if not isinstance(node, str):
            return node
        try:
            template = compile_template(node, variables)
        except ManifestError as error:
            problems.extend((path, problem) for problem in error.problems)
            return node
        placeholders.extend((path, part) for part in template.placeholders)
        return template if template.placeholders else template.render({})

    return Tree(compiled(entry, ()), tuple(placeholders), tuple(problems))


def render_tree(node: Any, fields: Mapping[str, Any]) -> Any:
    """Return a compiled node for these fields, None where nothing of it is left."""
    if isinstance(node, Template):
        value = node.render(fields)
        return value if value is None or isinstance(value, str | bool) else _exact(value, node)
    if isinstance(node, dict):
        rendered = {key: value for key, inner in node.items() if (value := render_tree(inner, fields)) is not None}
        return rendered if rendered or not node else None
    if isinstance(node, list):
        return [value for inner in node if (value := render_tree(inner, fields)) is not None]
    return node


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with every `${name}` replaced and `$${` as `${`; raises ManifestError."""
    if "$" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        return _variable(match[1], match[2], text, variables)

    return _VARIABLE.sub(value, text)


def lookup(fields: Mapping[str, Any], name: str) -> Any:
    """Return the value of a dotted name, or None: `html.meta.og:title`, also where keys hold dots."""
    value = fields.get(name)
    if value is not None or "." not in name:
        return value
    dot = name.find(".")
    while dot > 0:
        inner = fields.get(name[:dot])
        if isinstance(inner, Mapping):
            value = lookup(inner, name[dot + 1 :])
            if value is not None:
                return value
        dot = name.find(".", dot + 1)
    return None


def to_text(value: Any, field: str) -> str:
    """Return the one text of a value: `true`, `7`, `7` for 7.0; raises ManifestError for a list."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 2**64:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    kind = "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "no exact number"
    raise ManifestError(
        Problem(
            "not-text",
            f'the field "{field}" is {kind}, which has no place inside a text',
            "only a template that is one placeholder and nothing else keeps lists as they are.",
            f'write "{{{field}}}" alone, or name one value of it.',
        )
    )


def unknown_field(name: str, known: Iterable[str], *, optional: bool = False) -> Problem:
    """Return the problem of a placeholder that names no field; `optional` where rows may lack fields."""
    names = sorted(known)
    listed = ", ".join(names[:_MAX_FIELDS]) + (", ..." if len(names) > _MAX_FIELDS else "")
    other = (
        f"name one of them, or write `{{{name}|default:''}}` if it may be absent." if optional else "name one of them."
    )
    return Problem(
        "unknown-field",
        f'there is no field "{name}"',
        f"the fields here are: {listed}.",
        did_you_mean(name, names) or other,
    )


def _exact(value: Any, node: Template, depth: int = 0) -> Any:
    """Return the value without absent parts; raises ManifestError for what no item can hold."""
    if isinstance(value, dict | list) and depth == _MAX_DEPTH:
        raise _unusable(node, "is nested too deeply", "items hold flat values.", "flatten it.")
    if isinstance(value, dict):
        return {key: _exact(inner, node, depth + 1) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_exact(inner, node, depth + 1) for inner in value if inner is not None]
    whole = isinstance(value, int) and not -(2**63) <= value < 2**64
    if whole or (isinstance(value, float) and not math.isfinite(value)):
        why = "numbers travel as JSON: whole ones within 64 bits, no infinity, no NaN."
        raise _unusable(node, "is a number that cannot be pushed exactly", why, "write it as a string.")
    return value


def _unusable(node: Template, what: str, why: str, fix: str) -> ManifestError:
    return ManifestError(Problem("bad-value", f'the field "{node.placeholders[0].field}" {what}', why, fix))


def _part(match: re.Match[str], text: str, variables: Mapping[str, str]) -> str | Placeholder:
    if match["raw"]:
        return match["raw"][1:]
    if match["variable"] is not None:
        return _variable(match["variable"], match["end"], text, variables)
    if match["brace"]:
        return match["brace"][0]
    if match["stray"]:
        raise _bad(text, f"a single `{match[0]}`", "write `{{` and `}}` for braces that are meant as they stand.")
    return _placeholder(match["field"].strip(), match["filters"] or "", text)


def _placeholder(name: str, filters: str, text: str) -> Placeholder:
    if not name:
        raise _bad(text, "a placeholder without a name", "name a field, for example `{path}`.")
    names: list[str] = []
    fallback: str | None = None
    end = 0
    for match in _FILTER.finditer(filters):
        if match.start() != end:
            break
        end = match.end()
        if match["name"] == "default" and match["fallback"]:
            fallback = match["text"]
        elif match["name"] in _FILTERS and not match["fallback"]:
            names.append(match["name"])
        else:
            end = -1
            break
    if end != len(filters):
        known = [*sorted(_FILTERS), "default:'text'"]
        near = did_you_mean(filters.strip("| "), known) or f"the filters are {', '.join(known)}."
        raise _bad(text, f"the filter `{filters}`, which does not exist", near)
    return Placeholder(name, tuple(names), fallback)


def _variable(name: str, end: str, text: str, variables: Mapping[str, str]) -> str:
    if not end:
        raise _bad(text, "`${` without its `}`", "close it, or write `$${` for the characters themselves.")
    if name not in variables:
        raise ManifestError(
            Problem(
                "undefined-variable",
                f'the variable "{name}" is not defined',
                "variables come from `vars` of reconciler.yaml and of the chosen environment.",
                did_you_mean(name, variables)
                or "define it under `vars`, or write `$${` for the characters themselves.",
            )
        )
    return variables[name]


def _bad(text: str, what: str, fix: str) -> ManifestError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return ManifestError(
        Problem("bad-template", f'the template "{shown}" holds {what}', "it would not mean what it seems to.", fix)
    )


def _merged(parts: list[str | Placeholder]) -> tuple[str | Placeholder, ...]:
    merged: list[str | Placeholder] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "":
            merged.append(part)
    return tuple(merged)
