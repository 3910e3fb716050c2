"""The short forms that a person would write: identities as `type:name`, models of one set, models with a name.

Entries come and go as plain values of the manifest language; nothing here knows where they came from.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

_KINDS = ("user", "group", "virtualGroup", "unknown")
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 40

Entry = dict[str, Any]


def short_identity(entry: Any, own: str | None, name: Callable[[str], str]) -> Any:
    """Return an identity in short where nothing but its type and name is to be said.

    `own` is the provider that goes without saying, `name` turns a provider's id into what the project calls it.
    """
    if not isinstance(entry, dict):
        return entry
    kind = next((kind for kind in _KINDS if isinstance(entry.get(kind), str) and entry[kind]), None)
    if kind is None:
        return entry
    out = dict(entry)
    provider = out.pop("provider", None)
    if isinstance(provider, str):
        if name(provider) != own:
            out["provider"] = name(provider)
    elif provider is not None:
        out["provider"] = provider
    return f"{kind}:{entry[kind]}" if out.keys() == {kind} else out


def short_model(model: Any, own: str | None, name: Callable[[str], str]) -> Any:
    """Return a permission model in its shortest form: one set, or sets of one level, or levels."""
    if not isinstance(model, dict):
        return model
    levels = model.get("levels")
    if isinstance(levels, list) and all(isinstance(level, dict) for level in levels):
        levels = [
            {key: level[key] for key in ("name", *level) if level.get(key)}
            | {"sets": _sets(level.get("sets"), own, name)}
            for level in levels
        ]
        if len(levels) == 1 and levels[0].keys() == {"sets"}:
            return _one_level(levels[0]["sets"])
        return {"levels": levels}
    return _one_level(_sets(model.get("sets"), own, name))


def _one_level(sets: Any) -> Any:
    if isinstance(sets, list) and len(sets) == 1 and isinstance(sets[0], dict) and "name" not in sets[0]:
        return sets[0]
    return {"sets": sets}


def _sets(sets: Any, own: str | None, name: Callable[[str], str]) -> Any:
    if not isinstance(sets, list):
        return sets
    return [_set(entry, own, name) if isinstance(entry, dict) else entry for entry in sets]


def _set(entry: Entry, own: str | None, name: Callable[[str], str]) -> Entry:
    out = {key: value for key, value in entry.items() if value not in (None, [], False, "")}
    for side in ("allowed", "denied"):
        if isinstance(out.get(side), list):
            out[side] = [short_identity(who, own, name) for who in out[side]]
    # A set must say something: this one lets in nobody.
    return out if out.keys() - {"name"} else {**out, "allowed": []}


def name_models(items: Sequence[Entry], prefix: str) -> dict[str, Any]:
    """Name the models that several of the items have, and return them by name; the items are changed to name them.

    A name begins with `prefix` and says whom the model is about first.
    """
    texts = [_key(item["permissions"]) if isinstance(item.get("permissions"), dict) else None for item in items]
    counts = Counter(text for text in texts if text is not None)
    names: dict[bytes, str] = {}
    models: dict[str, Any] = {}
    for item, text in zip(items, texts, strict=True):
        if text is None or counts[text] < 2:
            continue
        if text not in names:
            names[text] = _free(f"{prefix}-{_about(item['permissions'])}", models)
            models[names[text]] = item["permissions"]
        item["permissions"] = names[text]
    return models


def _key(model: Mapping[str, Any]) -> bytes:
    return orjson.dumps(model, option=orjson.OPT_SORT_KEYS)


def _about(model: Mapping[str, Any]) -> str:
    for identity in _people(model):
        text = identity if isinstance(identity, str) else next(identity[kind] for kind in _KINDS if kind in identity)
        word = _UNFIT.sub("-", text.partition(":")[2] or text).strip("-.")[:_LONGEST]
        if word:
            return word
    return "everyone" if _has_anonymous(model) else "model"


def _people(model: Mapping[str, Any]) -> Iterable[Any]:
    for side in ("allowed", "denied"):
        for entry in _all_sets(model):
            yield from entry.get(side) or ()


def _has_anonymous(model: Mapping[str, Any]) -> bool:
    return any(entry.get("anonymous") for entry in _all_sets(model))


def _all_sets(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "levels" in model:
        return [entry for level in model["levels"] for entry in level["sets"]]
    return list(model["sets"]) if "sets" in model else [model]


def _free(wanted: str, taken: Iterable[str]) -> str:
    known, name, number = set(taken), wanted, 1
    while name in known:
        number += 1
        name = f"{wanted}-{number}"
    return name
