"""The pages of `docs/reference/` that are made from code: `make reference` writes them, and a test holds them true.

Commands come from click, keys of manifests and of the project from the published schemas, problem codes from where
problems are made.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from reconciler import schemas
from reconciler.cli.main import cli
from reconciler.cli.options import HAZARDS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
# Where more is said of a command, by the first words that call it.
_DEPTH = {
    "validate": ("lints", "Lints"),
    "plan": ("reports", "Reports"),
    "apply": ("saved-plans", "Saved plans"),
    "rollback": ("the-way-back", "The way back"),
    "verify": ("whether-it-arrived", "Whether it arrived"),
    "import": ("taking-over-what-exists", "Taking over what exists"),
    "drift": ("drift", "Drift"),
    "run": ("the-controller", "The controller"),
    "access diff": ("access-between-revisions", "Access between revisions"),
    "access": ("access-at-a-moment-of-the-past", "Access at a moment of the past"),
    "test": ("access-tests", "Access tests"),
    "state": ("the-recorded-state", "The recorded state"),
    "schema": ("documents", "Documents"),
    "emulator": ("the-emulator", "The emulator"),
}
_Found = dict[str, dict[tuple[str, str, str], None]]
_SINGLE = re.compile("[a-z][a-z0-9-]+")
_MAKERS = ("_problem", "_refusal", "_rest")  # what makes a problem of a code and words that come from elsewhere
_HYPHENED = re.compile("[a-z][a-z0-9]*(-[a-z0-9]+)+")
_HEAD = "<!-- Made from code by `make reference`; what is changed here is lost. -->\n\n"


def main() -> int:
    """Write all pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
    return 0


# -- commands ----------------------------------------------------------------------------------------


def commands_page() -> str:
    """Return the page of all commands, as `--help` tells of them."""
    out = [
        _HEAD,
        "# Commands\n\n",
        "What `reconciler COMMAND --help` says. `-C DIR` (the project's folder) and `-e NAME` (the environment) go "
        "with every command that works on a project, before or after its name.\n\n",
        "Exit codes: 0 done or nothing to do, 1 problems found, 2 wrong usage, 3 changes pending or drift, 4 apply "
        "stopped part way, 130 interrupted. Data goes to stdout, all else to stderr.\n",
    ]
    everywhere = _options(cli)
    out.append(_table(("option of every command", "does"), everywhere))
    common = {names for names, _ in everywhere}
    common |= {_code("-C DIR"), _code("-e, --environment NAME")}
    for words, command in _commands(cli, ()):
        out.append(_command(words, command, common))
    return "".join(out)


def _commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands(found, (*words, name))
        if not command.invoke_without_command:
            return
    if words:
        yield words, command


def _command(words: tuple[str, ...], command: click.Command, common: set[str]) -> str:
    context = click.Context(command, info_name=" ".join(words))
    arguments = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    usage = " ".join(["reconciler", *words, *(["[OPTIONS]"] if command.params else []), *arguments])
    text, example = _help(command)
    out = [f"\n## {' '.join(words)}\n\n```text\n{usage}\n```\n\n{text}\n"]
    out.append(_table(("option", "does"), [row for row in _options(command) if row[0] not in common]))
    if example:
        out.append(f"\n```console\n{example}```\n")
    for place, title in [_DEPTH[name] for name in (" ".join(words), words[0]) if name in _DEPTH][:1]:
        out.append(f"\nIn depth: [{title}](../reference.md#{place})\n")
    return "".join(out)


def _help(command: click.Command) -> tuple[str, str]:
    """Return the paragraphs of a command's help, and the lines of its examples."""
    text, _, after = re.sub(r"\n\s*\n", "\n\n", inspect.cleandoc(command.help or "")).partition("\n\nExample")
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b"):
            paragraphs.append("```text\n" + textwrap.dedent(paragraph.removeprefix("\b\n")) + "\n```")
        else:
            paragraphs.append(_escaped(" ".join(paragraph.split())))
    lines = [line.strip() for line in after.splitlines()[1:] if line.strip() and line.strip() != "\b"]
    return "\n\n".join(paragraphs), "".join(f"$ {line}\n" for line in lines)


def _options(command: click.Command) -> list[tuple[str, str]]:
    rows = []
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        context = click.Context(command)
        record = parameter.get_help_record(context)
        assert record is not None, parameter.name
        names, does = record
        rows.append((_code(names), _escaped(does)))
    return rows


# -- keys --------------------------------------------------------------------------------------------


def keys_page(name: str, title: str, text: str, *, without: str = "") -> Callable[[], str]:
    """Return what makes the page of the keys of one schema, but for those that another one has as well."""

    def make() -> str:
        schema = schemas.SCHEMAS[name]()
        for key in schemas.SCHEMAS[without]()["properties"] if without else ():
            del schema["properties"][key]
        out = [_HEAD, f"# {title}\n\n{text}\n\n", _escaped(schema.get("description", "")), "\n"]
        out.append(_keys(schema))
        for definition in _reached(schema):
            if "properties" not in schema["$defs"][definition]:
                continue
            entry = schema["$defs"][definition]
            out.append(f"\n## {entry['title']}\n\n{_escaped(entry.get('description', ''))}\n")
            out.append(_keys(entry, schema))
        return "".join(out)

    return make


def _reached(schema: dict[str, Any]) -> list[str]:
    """Return the names of definitions in the order in which somebody who reads on meets them."""
    found: list[str] = []
    waiting = [schema]
    while waiting:
        node = waiting.pop(0)
        text = json.dumps({key: value for key, value in node.items() if key != "$defs"})
        for name in re.findall(r'"#/\$defs/(\w+)"', text):
            if name not in found:
                found.append(name)
                waiting.append(schema["$defs"][name])
    return found


def _keys(entry: dict[str, Any], whole: dict[str, Any] | None = None) -> str:
    root = whole or entry
    required = set(entry.get("required", ()))
    rows = []
    for key, value in entry.get("properties", {}).items():
        words = [_escaped(value.get("description", ""))]
        if "default" in value:
            words.append(f"Default: {_code(_shown(value['default']))}.")
        examples = value.get("examples") or _definition(root, value).get("examples", ())
        if examples and "enum" not in json.dumps(value) and value.get("type") != "boolean":
            words.append(f"Example: {_code(_shown(examples[0]))}")
        name = f"{_code(key)} (needed)" if key in required else _code(key)
        rows.append((name, _type(root, value), " ".join(filter(None, words))))
    return _table(("key", "is", "means"), rows)


def _definition(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema.get("$defs", {}).get(value.get("$ref", "").rpartition("/")[2], {})
    return found


def _type(schema: dict[str, Any], value: dict[str, Any]) -> str:
    """Return what a value may be, in words, with links to what it is made of."""
    if "$ref" in value:
        definition = _definition(schema, value)
        title = definition["title"]
        return f"[{title}](#{_anchor(title)})" if "properties" in definition else title.lower()
    if "enum" in value:
        return ", ".join(_code(str(choice)) for choice in value["enum"])
    if "const" in value:
        return _code(str(value["const"]))
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(schema, choice) for choice in value["anyOf"]))
    kind = value.get("type")
    if kind == "array":
        return f"list of: {_type(schema, value.get('items', {}))}"
    if kind == "object":
        inner = next(iter(value.get("patternProperties", {}).values()), value.get("additionalProperties"))
        return f"map of names to: {_type(schema, inner)}" if isinstance(inner, dict) else "map"
    if isinstance(kind, list):
        return " or ".join(map(str, kind))
    return {"string": "text", "boolean": "true or false"}.get(str(kind), str(kind or "anything"))


def _shown(value: Any) -> str:
    """Return a value as it is written in YAML, in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z_.@/+:\-]*[A-Za-z_@/]", value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


# -- problems ----------------------------------------------------------------------------------------


def problems_page() -> str:
    """Return the page of all problem codes: what each says, why it matters, and what mends it."""
    found: _Found = defaultdict(dict)
    for path in sorted((ROOT / "reconciler").rglob("*.py")):
        if "emulator" in path.relative_to(ROOT / "reconciler").parts:
            continue  # what the emulator answers is the Push API's
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            _note(node, found)
    found["internal"]["…", "this is a bug in reconciler", "run again with RECONCILER_DEBUG=1 and report it"] = None
    for hazard in HAZARDS:
        found[f"hazard-{hazard}"]["a hazard of the plan that was not allowed by its name", "", "see `--allow`"] = None
    out = [
        _HEAD,
        "# Problems\n\nEvery message has a code that stays. `…` stands for what the case at hand brings.\n",
    ]
    for code in sorted(found):
        out.append(f"\n## {code}\n")
        said = [entry for entry in found[code] if re.search("[a-z]", "".join(entry))]
        out += [] if said else ["\nWhat it says depends on the case at hand.\n"]
        for what, why, fix in said:
            out.append(f"\n{_escaped(what)}\n" if re.search("[a-z]", what) else "")
            told = [f"{word}: {_escaped(text)}" for word, text in (("why", why), ("fix", fix)) if text.strip("…")]
            out.append("".join(f"\n- {line}" for line in told) + "\n" if told else "")
    return "".join(out)


def _note(node: ast.AST, found: _Found) -> None:
    """Note the codes that a piece of code names, with what it says of them.

    A code stands first in a call, with its words behind it; first in a pair, with its remedy; or in a table, with its
    words as a tuple of two (why, fix) or three (what, why, fix).
    """
    if isinstance(node, ast.Call):
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        is_problem = isinstance(node.func, ast.Name) and node.func.id == "Problem"
        code = _code_of(node.args[0] if node.args else named.get("code"), single=is_problem)
        what = _text(node.args[1] if len(node.args) > 1 else named.get("what"))
        if code and (is_problem or " " in what or "why" in named):
            found[code][what, _text(named.get("why")), _text(named.get("fix"))] = None
        elif isinstance(node.func, ast.Name) and node.func.id in _MAKERS:
            for argument in node.args:
                if code := _code_of(argument):
                    found[code].setdefault(("", "", ""), None)
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
        code, fix = _code_of(node.elts[0]), _text(node.elts[1])
        if code and " " in fix:
            found[code]["", "", fix] = None
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            code = _code_of(key)
            if code and isinstance(value, ast.Tuple) and len(value.elts) in (2, 3):
                words = ["", *map(_text, value.elts)][-3:]
                if any(" " in word for word in words):
                    found[code][words[0], words[1], words[2]] = None


def _code_of(node: ast.expr | None, *, single: bool = False) -> str:
    """Return the code that an expression is, or nothing; elsewhere than in a Problem it must have a hyphen."""
    text = node.value if isinstance(node, ast.Constant) else None
    return text if isinstance(text, str) and re.fullmatch(_SINGLE if single else _HYPHENED, text) else ""


def _text(node: ast.expr | None) -> str:
    """Return the words of an expression, with `…` for what only a run knows."""
    if node is None:
        return ""
    if isinstance(node, ast.Constant):
        return " ".join(str(node.value).replace('"{}"', '"…"').split())
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
        return " ".join("".join(parts).split())
    if isinstance(node, ast.BoolOp):
        return _text(node.values[-1])
    if isinstance(node, ast.BinOp):
        return f"{_text(node.left)}{_text(node.right)}"
    return "…"


# -- Markdown ----------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _code(text: str) -> str:
    """Return text as code in a cell of a table, where renderers differ about an escaped bar."""
    return "`" + text.replace("`", "'").replace("|", "/") + "`"


def _escaped(text: str) -> str:
    """Return text as it reads, with what stands in backquotes as code."""
    pieces = text.split("`")
    for place in range(0, len(pieces), 2):
        pieces[place] = re.sub(r"([\\*_\[\]<>|{}$#])", r"\\\1", pieces[place])
    for place in range(1, len(pieces), 2):
        pieces[place] = pieces[place].replace("|", "/")
    return "`".join(pieces)


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "manifest-keys.md": keys_page(
        "manifest",
        "Manifest keys",
        "What any manifest file may say. The same stands in `schemas/manifest.json`, by which editors complete keys.",
    ),
    "project-keys.md": keys_page(
        "project",
        "Project keys",
        "What `reconciler.yaml` may say, beside all that a [manifest](manifest-keys.md) may. The same stands in "
        "`schemas/project.json`.",
        without="manifest",
    ),
    "problems.md": problems_page,
}

if __name__ == "__main__":
    sys.exit(main())
