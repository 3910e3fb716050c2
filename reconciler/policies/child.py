"""The program that evaluates policies: a process of its own, without environment, with bounded time and memory.

Run by `engine` as a file, so it imports nothing of ours. It reads one request from stdin and writes one answer to
stdout, both JSON. Whatever the engine says of its own accord goes nowhere.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

OUT_OF_MEMORY = 77  # the exit code


def main() -> None:
    """Answer one request: `{modules, data, queries, ...}` -> `{results}` or `{error, module}`."""
    gc.disable()  # nothing here lives in circles, and an input is many values
    request = json.load(sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "wb")
    # Rego's `print` and the engine's complaints would stand amid the answer.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.path[:0] = request["path"]
    engine = importlib.import_module("regopy")
    shared = importlib.import_module("regopy.rego_shared")
    _confine(request["seconds"], request["memory"])
    answer = _answer(engine, shared, request)
    answers.write(json.dumps(answer).encode())
    answers.flush()
    # Nothing is left to tidy up, and freeing a large input takes as long as reading it.
    os._exit(0)


def _confine(seconds: int, memory: int) -> None:
    """Bound what the engine may use; the parent bounds the time as well, also where there are no such limits."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        # A little more than the parent waits, which can say what happened.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds + 5, seconds + 5))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # No limit of addresses: the engine reserves far more of them than it fills.
        threading.Thread(target=_watch, args=(resource, memory), daemon=True).start()


def _watch(resource: Any, memory: int) -> None:
    """End the process once it has filled so many bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit < memory:
        time.sleep(0.05)
    os._exit(OUT_OF_MEMORY)


def _answer(engine: Any, shared: Any, request: dict[str, Any]) -> dict[str, Any]:
    interpreter = engine.Interpreter()
    # Else a call that fails is undefined, and a rule that denies would say nothing.
    interpreter.strict_built_in_errors = True
    for name, text in request["modules"]:
        try:
            interpreter.add_module(name, text)
        except engine.RegoError as error:
            return {"error": str(error), "module": name}
    try:
        interpreter.add_data_json(request["data"])
    except engine.RegoError as error:
        return {"error": str(error), "module": None}
    results = []
    for document, query in request["queries"]:
        shared.rego_set_input(interpreter._impl, _built(shared, json.loads(document)))
        try:
            output = shared.rego_query(interpreter._impl, query)
        except engine.RegoError as error:
            results.append({"error": [str(error)]})
            continue
        root = shared.rego_output_node(output)
        try:
            results.append({"value": _value(shared, _expression(shared, root))})
        except ValueError:
            results.append({"error": _messages(shared, root)})
    return {"results": results}


def _built(shared: Any, document: Any) -> Any:
    """Return an input that the engine can use, built value by value: its own reader takes four times as long.

    Texts keep the escapes that JSON has, as the engine writes them unchanged into what it answers.
    """
    library = shared.rego
    text, number, fraction = library.regoInputString, library.regoInputInt, library.regoInputFloat
    boolean, null, item = library.regoInputBoolean, library.regoInputNull, library.regoInputObjectItem
    made, array = library.regoInputObject, library.regoInputArray
    target = shared.rego_new_input()
    known: dict[str, bytes] = {}

    def escaped(value: str) -> bytes:
        written = known.get(value)
        if written is None:
            written = known[value] = json.dumps(value, ensure_ascii=False)[1:-1].encode()
        return written

    def add(value: Any) -> None:
        if isinstance(value, str):
            text(target, escaped(value))
        elif value is None:
            null(target)
        elif isinstance(value, bool):
            boolean(target, value)
        elif isinstance(value, dict):
            for key, entry in value.items():
                text(target, escaped(key))
                add(entry)
                item(target)
            made(target, len(value))
        elif isinstance(value, list):
            for entry in value:
                add(entry)
            array(target, len(value))
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            number(target, value)
        else:
            fraction(target, float(value))

    add(document)
    return target


def _expression(shared: Any, node: Any) -> Any:
    """Return the node that a query of one expression comes to. Raises ValueError where it comes to none."""
    kinds = shared.NodeKind
    for kind in (kinds.Results, kinds.Result, kinds.Terms):
        if shared.rego_node_type(node) != kind or not shared.rego_node_size(node):
            raise ValueError
        node = shared.rego_node_get(node, 0)
    return node


def _value(shared: Any, node: Any) -> Any:
    """Return the value of a node. Raises ValueError for what is none.

    The engine's own JSON would be simpler, but a text that it made of others (`concat`, `substring`) may break it.
    """
    kinds = shared.NodeKind
    kind = shared.rego_node_type(node)
    inner = [shared.rego_node_get(node, index) for index in range(shared.rego_node_size(node))]
    if kind in (kinds.Term, kinds.Scalar):
        return _value(shared, inner[0])
    if kind in (kinds.Array, kinds.Set):
        return [_value(shared, entry) for entry in inner]
    if kind == kinds.Object:
        pairs = ([shared.rego_node_get(item, index) for index in (0, 1)] for item in inner)
        return {str(_value(shared, key)): _value(shared, value) for key, value in pairs}
    if kind == kinds.Null:
        return None
    if kind == kinds.String:
        return _text(shared.rego_node_value(node))
    if kind == kinds.Boolean:
        # The membership test answers in capitals.
        return shared.rego_node_value(node).lower() == "true"
    if kind in (kinds.Int, kinds.Float):
        return json.loads(shared.rego_node_value(node))
    raise ValueError


def _text(written: str) -> str:
    """Return a text of which the engine keeps the escapes; one that it cut or joined amid quotes as it is."""
    try:
        read = json.loads(written if written[:1] == '"' else f'"{written}"', strict=False)
    except ValueError:
        return written.removeprefix('"').removesuffix('"')
    return read if isinstance(read, str) else written


def _messages(shared: Any, node: Any) -> list[str]:
    """Return the messages in an error, which is a tree."""
    found: list[str] = []
    pending = [node]
    while pending:
        at = pending.pop()
        if shared.rego_node_type(at) == shared.NodeKind.ErrorMessage:
            found.append(shared.rego_node_value(at))
        elif shared.rego_node_type(at) != shared.NodeKind.ErrorAst:  # which holds the input
            pending += [shared.rego_node_get(at, index) for index in reversed(range(shared.rego_node_size(at)))]
    return found


if __name__ == "__main__":
    main()
