"""The program that evaluates policies: a process of its own, without environment, with bounded time and memory.

Run by `engine` as a file, so it imports nothing of ours. It reads one request from stdin and writes one answer to
stdout, both JSON. Whatever the engine says of its own accord goes nowhere.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import suppress
from typing import Any


def main() -> None:
    """Answer one request: `{modules, data, input, queries}` -> `{results}` or `{error, module}`."""
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

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


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
        interpreter.set_input_term(request["input"])
    except engine.RegoError as error:
        return {"error": str(error), "module": None}
    results = []
    for query in request["queries"]:
        try:
            output = shared.rego_query(interpreter._impl, query)
        except engine.RegoError as error:
            results.append({"error": [str(error)]})
            continue
        text = shared.rego_output_string(output)
        if shared.rego_output_ok(output) and (text == "undefined" or text.startswith("{")):
            results.append({"text": text})
        else:
            results.append({"error": _leaves(shared, shared.rego_output_node(output))})
    return {"results": results}


def _leaves(shared: Any, node: Any) -> list[str]:
    """Return the first texts of an error, which is a tree."""
    found: list[str] = []
    pending = [node]
    while pending and len(found) < 3:
        at = pending.pop()
        size = shared.rego_node_size(at)
        if size:
            pending += [shared.rego_node_get(at, index) for index in reversed(range(size))]
            continue
        with suppress(Exception):
            found.append(shared.rego_node_value(at))
    return found


if __name__ == "__main__":
    main()
