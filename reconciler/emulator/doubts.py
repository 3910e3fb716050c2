"""The open questions as a list, and answers to them as text: all of it read from the fields of `Doubts`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reconciler.emulator.options import Doubts

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class BadAnswer(ValueError):
    """An answer to no question, or none of its choices."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that the documents leave open."""

    name: str
    text: str
    """What is asked, after the section that leaves it open."""
    choices: tuple[str, ...]
    """What may be answered; in angle brackets where that is a form and no word."""
    default: str


def questions() -> list[Question]:
    """Return the questions in the order of the fields."""
    default = Doubts()
    return [
        Question(entry.name, text, _choices(kind), _shown(getattr(default, entry.name)))
        for entry in fields(Doubts)
        for kind, text in [_hint(entry.name)]
    ]


def _hint(name: str) -> tuple[Any, str]:
    kind, text = get_args(get_type_hints(Doubts, include_extras=True)[name])
    return kind, text


def _choices(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if kind is bool:
        return ("no", "yes")
    if _is_number(kind):
        return ("<number>", "none") if NoneType in get_args(kind) else ("<number>",)
    return ("<Header: value; Header: value>",)


def _is_number(kind: Any) -> bool:
    return kind is int or int in get_args(kind)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "; ".join(f"{name}: {text}" for name, text in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def answered(doubts: Doubts, text: str) -> Doubts:
    """Return `doubts` with one answer changed, `NAME=ANSWER`. Raises BadAnswer."""
    name, equals, answer = (part.strip() for part in text.partition("="))
    known = {question.name: question for question in questions()}
    question = known.get(name.replace("-", "_"))
    if question is None:
        near = difflib.get_close_matches(name, known, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(known)}"
        raise BadAnswer(f'"{name[:100]}" is no open question; {hint}')
    value = _read(_hint(question.name)[0], answer) if equals else None
    if value is None:
        choices = " or ".join(question.choices)
        raise BadAnswer(f'"{text[:200]}" answers nothing; write {question.name}={choices}')
    changes: dict[str, Any] = {question.name: value[0]}
    return replace(doubts, **changes)


def _read(kind: Any, answer: str) -> tuple[Any] | None:
    """Return the value that an answer means, None when it means nothing."""
    choices = {str(choice): choice for choice in get_args(kind)} if get_origin(kind) is Literal else {}
    if kind is bool:
        choices = {"no": False, "yes": True}
    if answer in choices:
        return (choices[answer],)
    if choices:
        return None
    if _is_number(kind):
        if answer == "none" and NoneType in get_args(kind):
            return (None,)
        return (int(answer),) if re.fullmatch(r"[1-9][0-9]{0,8}", answer) else None
    return _headers(answer)


def _headers(answer: str) -> tuple[Any] | None:
    pairs = []
    for part in answer.split(";"):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if not colon or not _HEADER.fullmatch(name) or not value.isascii() or not value.isprintable() or not value:
            return None
        pairs.append((name, value))
    return (tuple(pairs),)
