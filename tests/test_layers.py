"""The layers, as data, held against the real imports.

A package imports only what its row names, wherever in a function the import stands. Modules are pure
(no clock, chance, environment, file, process, network or print) unless `SHELL` lists them with what
they are for. Whatever is in no row fails.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "reconciler"

# unit -> the units that it may import besides itself; "version" is `reconciler.__version__`.
LAYERS: dict[str, frozenset[str]] = {
    name: frozenset(allowed.split())
    for name, allowed in {
        "problems": "",
        "logs": "",
        "model": "problems",
        # What overlays do to who sees what is part of whether they may be read.
        "manifest": "model permissions problems version",
        "settings": "manifest problems",
        "permissions": "model problems",
        "importing": "manifest model problems",
        "lints": "model permissions problems",
        "planning": "model permissions problems",
        "calls": "model permissions planning problems",
        "state": "model problems",
        "bodies": "manifest problems",
        "pushapi": "calls logs model problems version",
        "applying": "calls model planning problems state",
        "verifying": "calls model planning problems pushapi state",
        "rendering": "applying calls logs model permissions planning problems verifying version",
        "planfile": "calls model planning problems rendering version",
        "policies": "manifest model planning problems",
        "schemas": "manifest policies rendering state",
        # Shares no code with what it is tested against.
        "emulator": "",
        "cli": "applying bodies calls emulator importing lints logs manifest model permissions planfile planning "
        "problems policies pushapi rendering schemas settings state verifying version",
    }.items()
}

# The shell: modules that touch the world, and what for. Everything else takes values and returns values.
SHELL = {
    "applying/apply.py": "sends from several threads",
    "applying/patience.py": "asks in threads of its own",
    "bodies.py": "keeps small bodies in a SQLite file",
    "logs.py": "tells what happens, and looks at the clock for how long it took",
    "settings.py": "reads keys from environment, file or command",
    "manifest/cache.py": "keeps what was read, in a SQLite file",
    "manifest/content.py": "hashes content files",
    "manifest/extract.py": "reads the head of content files",
    "manifest/files.py": "reads manifest files",
    "manifest/load.py": "looks at the clock, for edits within the same second as a reading",
    "manifest/manyfiles.py": "reads many files by several processes",
    "manifest/opening.py": "finds the project's file",
    "manifest/paths.py": "looks at files, and keeps to the project's folder",
    "manifest/rows.py": "reads rows from files",
    "manifest/survey.py": "looks at files",
    "policies/child.py": "the process that policies are evaluated in",
    "policies/engine.py": "evaluates policies in a process of its own",
    "pushapi/client.py": "sends calls",
    "pushapi/containers.py": "uploads to storage",
    "pushapi/delivery.py": "sends one call, step by step",
    "pushapi/fields.py": "creates fields",
    "pushapi/http.py": "speaks HTTP",
    "pushapi/network.py": "opens connections, by proxies and with certificates",
    "pushapi/pace.py": "locks the counting of calls between threads",
    "pushapi/payload.py": "spools bodies that are too large for memory",
    "pushapi/reader.py": "reads from the remote",
    "pushapi/session.py": "sends, and waits between attempts",
    "rendering/html.py": "reads its templates, which are part of the package",
    "rendering/progress.py": "draws on a terminal; what it draws is made of values",
    "state/holder.py": "says who holds a lock",
    "state/objects/store.py": "the state in an object store",
    "state/objects/bucket.py": "speaks to object stores",
    "state/objects/checkpoint.py": "files that become objects, and back",
    "state/objects/lease.py": "the lock in an object store, by the store's clock",
    "state/objects/log.py": "brings the local copy up to date",
    "state/objects/replica.py": "the local copy of a state in an object store",
    "state/objects/writer.py": "writes to the copy and to the log, from several threads",
    "state/lease.py": "gives signs of life from a thread",
    "state/opening.py": "finds the store that the settings name",
    "state/postgres/store.py": "the state in PostgreSQL",
    "state/postgres/lease.py": "names each version of the lease at random",
    "state/postgres/link.py": "sessions of PostgreSQL, and for how long they are silent",
    "state/objects/cipher.py": "draws a number for each object that it encrypts",
    "state/sqlite/store.py": "the local state file",
    "state/sqlite/cipher.py": "encrypted state files",
    "state/sqlite/convert.py": "encrypts and decrypts the local state file",
    "state/sqlite/faults.py": "tells errors of the disk apart",
    "state/sqlite/lock.py": "the lock beside the state file",
    "state/sqlite/schema.py": "makes the local state file",
    "verifying/look.py": "asks the remote from several threads",
}
WORLDLY = frozenset(
    {
        *(
            "asyncio",
            "click",
            "concurrent",
            "errno",
            "fcntl",
            "filelock",
            "getpass",
            "glob",
            "httpx",
            "multiprocessing",
        ),
        *("os", "pathlib", "platform", "random", "rich", "secrets", "select", "shutil", "signal", "socket", "sqlite3"),
        *("ssl", "stat", "subprocess", "tempfile", "threading", "time", "urllib.request", "uuid", "uvicorn", "uvloop"),
    }
)
PRINTING = frozenset({"print", "open", "input", "exec", "eval", "breakpoint"})
CLOCKS = frozenset({"now", "utcnow", "today"})
FREE = ("cli/", "emulator/")  # the command line is all shell; the emulator is a program of its own


def modules() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), module)


def unit_of(module: str) -> str:
    return module.partition("/")[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say where from"
            if node.module == "reconciler":
                yield from ((node.lineno, f"reconciler.{name.name}") for name in node.names)
            else:
                yield node.lineno, node.module or ""


@pytest.mark.parametrize("module", [name for name in modules() if name != "__init__.py"])
def test_a_module_imports_what_its_layer_may(module: str) -> None:
    unit = unit_of(module)
    assert unit in LAYERS, f"{unit} is in no layer; draw it into the table first"
    wrong = []
    for line, name in imports(parsed(module)):
        if name == "reconciler" or name.startswith("reconciler."):
            target = name.split(".")[1].replace("__version__", "version")
            if target not in (LAYERS[unit] | {unit}):
                wrong.append(f"{module}:{line} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("module", [name for name in modules() if not name.startswith(FREE)])
def test_a_pure_module_stays_pure(module: str) -> None:
    tree = parsed(module)
    worldly = [f"{module}:{line} imports {name}" for line, name in imports(tree) if _is_worldly(name)]
    worldly += [
        f"{module}:{node.lineno} calls {name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (name := _touches(node.func))
    ]
    if module in SHELL:
        return
    assert worldly == []


def _is_worldly(name: str) -> bool:
    return name in WORLDLY or name.partition(".")[0] in WORLDLY


def _touches(function: ast.expr) -> str:
    """Return the name of a called function that touches the world, or nothing."""
    if isinstance(function, ast.Name):
        return function.id if function.id in PRINTING else ""
    if isinstance(function, ast.Attribute) and function.attr in CLOCKS:
        owner = function.value
        if isinstance(owner, ast.Name) and owner.id in ("datetime", "date"):
            return f"{owner.id}.{function.attr}"
    return ""


def test_the_shell_lists_what_exists() -> None:
    assert SHELL.keys() <= set(modules())


def test_the_emulator_imports_nothing_of_ours() -> None:
    assert LAYERS["emulator"] == frozenset()


def test_layers_have_no_cycle() -> None:
    done: set[str] = {"version"}
    rest = dict(LAYERS)
    while rest:
        ready = [name for name, allowed in rest.items() if allowed <= done]
        assert ready, f"a cycle among {sorted(rest)}"
        done.update(ready)
        for name in ready:
            del rest[name]


@pytest.mark.parametrize("module", modules())
def test_a_module_says_what_it_is_for_and_fits_a_reader(module: str) -> None:
    tree = parsed(module)
    assert ast.get_docstring(tree)
    assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) <= 600
