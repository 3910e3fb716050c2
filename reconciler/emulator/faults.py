"""Faults on demand: a small language of rules, and the choice of the fault that a request meets.

A rule reads `[METHOD] PATH: WHAT [xN] [after=N] [P%]`, for example

    PUT documents/batch: 503 x2                 the next two such requests
    POST files: 429 retry-after=3 after=5 x1    the sixth one
    * *: 10% of [503, drop-before, drop-after, delay=0.05]
    random: 10% of [503, 429]                   the same: any method, any path

PATH is what follows the organization, with or without its `sources/ID` or `providers/ID`; a `*` is any
segment, and alone any path. The storage is `storage`, search is `search`, the pipeline's logs are `logs`.
The first rule that matches, is not used up and whose chance comes true wins. Chance is drawn per rule from
the seed, so the same requests in the same order meet the same faults. Nothing here knows HTTP or the clock.
"""

from __future__ import annotations

import difflib
import math
import random
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

Kind = Literal["status", "drop-before", "drop-after", "truncate", "slow", "reject", "expired", "delay"]

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
LONGEST_WAIT = 24 * 3600.0
_WORDS = ("drop-before", "drop-after", "truncate", "reject", "expired")
_VALUED = ("delay", "slow", "retry-after", "code", "reason", "reject", "after")
_ROOTS = (("push", "v1", "organizations"), ("v1", "organizations"), ("rest", "organizations"))
NO_CODE = "none"
_DEFAULT_REASON = "rejected by a fault of the emulator"


class BadRule(ValueError):
    """A rule that says nothing that could be done; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to one request; `text` is how the rule says it."""

    text: str
    kind: Kind
    delay: float = 0.0
    """Seconds that pass before anything is looked at."""
    status: int = 0
    retry_after: str | None = None
    code: str | None = None
    """The `errorCode`, where it is not the status's usual one; NO_CODE is a gateway's, which has a message alone."""
    reason: str | None = None
    """The message of a status, or what the pipeline's logs say of a rejection."""
    seconds: float = 0.0
    """The time that a slow reply takes."""
    names: str = "*"
    """The items (by uri) or identities (by name) that are rejected, as a pattern."""

    @property
    def rejection(self) -> dict[str, str] | None:
        """Return what processing needs to know, None when the fault rejects nothing."""
        return {"names": self.names, "reason": self.reason or _DEFAULT_REASON} if self.kind == "reject" else None


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests meet which faults, and how often."""

    text: str
    method: str
    path: tuple[str, ...]
    faults: tuple[Fault, ...]
    count: int | None
    """How many requests meet it; None is all of them."""
    after: int
    """How many matching requests go through first."""
    chance: float

    def covers(self, names: Iterable[tuple[str, ...]]) -> bool:
        """Return whether one of the names of a path is meant."""
        return self.path == ("*",) or any(_alike(self.path, name) for name in names)


def _alike(pattern: tuple[str, ...], name: tuple[str, ...]) -> bool:
    return len(pattern) == len(name) and all(part in ("*", given) for part, given in zip(pattern, name, strict=True))


def rejected(detail: Mapping[str, Any], name: str) -> str | None:
    """Return why an accepted operation's item or identity is rejected, None when it is not."""
    rejection = detail.get("reject")
    if rejection is None or not fnmatchcase(name, rejection["names"]):
        return None
    reason: str = rejection["reason"]
    return reason


def names_of(path: str) -> tuple[tuple[str, ...], ...]:
    """Return the names by which rules may call the path of a request, in segments."""
    parts = tuple(path.strip("/").split("/"))
    if parts[0] == "_storage":
        return (("storage",),)
    if parts[:2] == ("logs", "v1"):
        return (("logs",),)
    if parts[:3] == ("rest", "search", "v2"):
        return (("search", *parts[3:]),)
    for root in _ROOTS:
        if parts[: len(root)] == root:
            tail = parts[len(root) + 1 :]
            short = tail[2:] if tail[:1] in (("sources",), ("providers",)) else ()
            return (tail, short) if short else (tail,)
    return (parts,)


# -- reading a rule --------------------------------------------------------------------------------


def parse_rule(text: str) -> Rule:
    """Read a rule. Raises BadRule."""
    head, colon, tail = text.partition(": ") if ": " in text else text.partition(":")
    if not colon or not head.strip() or not tail.strip():
        raise _bad(text, 'it is not of the form "METHOD PATH: WHAT"')
    method, path = _target(text, head.split())
    choices, rest = _choices(text, tail)
    words = _split(text, rest)
    count, after, chance, left = _quantities(text, words)
    if choices is None:
        choices = [left]
    elif left:
        raise _bad(text, f'"{left[0]}" stands outside of the list; what is done stands inside')
    faults = tuple(_fault(text, words) for words in choices)
    if any(fault.kind == "expired" for fault in faults) and path not in (("storage",), ("*",)):
        raise _bad(text, "only the address of an upload expires; write it for storage")
    return Rule(text.strip(), method, path, faults, count, after, chance)


def _bad(text: str, why: str) -> BadRule:
    return BadRule(f'the fault "{text.strip()[:200]}" cannot be read: {why}')


def _target(text: str, words: list[str]) -> tuple[str, tuple[str, ...]]:
    if words == ["random"]:
        return "*", ("*",)
    if len(words) == 1:
        words = ["*", *words]
    if len(words) != 2:
        raise _bad(text, "before the colon stand a method and a path")
    method = words[0].upper()
    if method != "*" and method not in METHODS:
        raise _bad(text, f'"{words[0]}" is no method{_near(method, METHODS)}')
    path = tuple(words[1].strip("/").split("/"))
    if "" in path:
        raise _bad(text, "the path has an empty segment")
    return method, path


def _near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, tuple(known), 1, 0.6)
    return f', did you mean "{found[0]}"?' if found else ""


def _choices(text: str, tail: str) -> tuple[list[list[str]] | None, str]:
    """Return the faults of a list `of [a, b]`, None when there is no list, and what stands around it."""
    found = re.search(r"(?:^|\s)of\s*\[(.*)\](?=\s|$)", tail)
    if found is None:
        if re.search(r"(?:^|\s)of(?=\s|\[|$)", tail):
            raise _bad(text, 'a choice is written "of [a, b]"')
        return None, tail
    pieces = re.findall(r'(?:[^,"]|"[^"]*")+', found.group(1))
    choices = [_split(text, piece) for piece in pieces]
    if not choices or not all(choices):
        raise _bad(text, "the list has an empty place")
    return choices, f"{tail[: found.start()]} {tail[found.end() :]}"


def _split(text: str, part: str) -> list[str]:
    try:
        return shlex.split(part)
    except ValueError:
        raise _bad(text, "a quotation mark is not closed") from None


def _quantities(text: str, words: list[str]) -> tuple[int | None, int, float, list[str]]:
    """Return how often, after how many, with which chance, and the other words."""
    found: dict[str, float | None] = {}
    left = []
    for word in words:
        name, value = _quantity(text, word)
        if not name:
            left.append(word)
        elif name in found:
            raise _bad(text, f'"{word}": that is said twice')
        else:
            found[name] = value
    count, after, chance = found.get("count"), found.get("after"), found.get("chance")
    return None if count is None else int(count), int(after or 0), 1.0 if chance is None else chance, left


def _quantity(text: str, word: str) -> tuple[str, float | None]:
    if word == "x*":
        return "count", None
    if re.fullmatch(r"x\d+", word, re.ASCII):
        count = _whole(text, word[1:], word)
        if count < 1:
            raise _bad(text, f'"{word}" is never')
        return "count", count
    if word.startswith("after="):
        return "after", _whole(text, word[6:], word)
    if word.endswith("%"):
        chance = _number(text, word[:-1], word, 100.0)
        if not chance:
            raise _bad(text, f'"{word}" is never')
        return "chance", chance / 100
    return "", None


def _whole(text: str, digits: str, word: str) -> int:
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise _bad(text, f'"{word}" needs a whole number, 999999999 at most')
    return int(digits)


def _number(text: str, value: str, word: str, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise _bad(text, f'"{word}" needs a number between 0 and {most:g}')
    return number


def _fault(text: str, words: list[str]) -> Fault:
    found: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if re.fullmatch(r"\d+", word, re.ASCII):
            name, value = "status", word
        elif word not in _WORDS and (name not in _VALUED or not value or name == "after"):
            raise _bad(text, f'"{word}" is no fault{_near(name, (*_WORDS, *_VALUED))}')
        if name in found:
            raise _bad(text, f'"{word}": that is said twice')
        found[name] = value
    kinds = [name for name in found if name in ("status", "slow", *_WORDS)]
    if len(kinds) > 1:
        raise _bad(text, f'"{kinds[0]}" and "{kinds[1]}" are two faults; one request meets one')
    if not kinds and "delay" not in found:
        raise _bad(text, "it does not say what is done")
    kind: Any = kinds[0] if kinds else "delay"
    _check_additions(text, kind, found)
    return Fault(
        " ".join(words),
        kind,
        delay=_seconds(text, found, "delay"),
        status=_status(text, found),
        retry_after=found.get("retry-after"),
        code=found.get("code"),
        reason=found.get("reason"),
        seconds=_seconds(text, found, "slow"),
        names=found.get("reject") or "*",
    )


def _check_additions(text: str, kind: str, found: Mapping[str, str]) -> None:
    """Refuse what says nothing of this kind of fault."""
    allowed = {"status": ("retry-after", "code", "reason"), "reject": ("reason",)}.get(kind, ())
    for name in ("retry-after", "code", "reason"):
        if name in found and name not in allowed:
            raise _bad(text, f'"{name}" says nothing of "{kind}"')
    retry_after = found.get("retry-after", "0")
    if not retry_after.isascii() or not retry_after.isprintable():
        raise _bad(text, '"retry-after" is no value of a header')


def _seconds(text: str, found: Mapping[str, str], name: str) -> float:
    return _number(text, found[name], f"{name}={found[name]}", LONGEST_WAIT) if name in found else 0.0


def _status(text: str, found: Mapping[str, str]) -> int:
    if "status" not in found:
        return 0
    status = int(found["status"][:9])
    if not 400 <= status <= 599:
        raise _bad(text, f'"{found["status"]}" is no status of an error (400 to 599)')
    return status


# -- choosing --------------------------------------------------------------------------------------


class _Armed:
    """A rule with its own chance and its counts."""

    __slots__ = ("chance", "fired", "matched", "rule")

    def __init__(self, rule: Rule, seed: int, rank: int) -> None:
        self.rule = rule
        self.chance = random.Random(f"{seed} {rank} {rule.text}")  # noqa: S311
        self.matched = 0
        self.fired = 0

    def meet(self) -> Fault | None:
        """Return the fault of one more matching request."""
        rule = self.rule
        if rule.count is not None and self.fired >= rule.count:
            return None
        self.matched += 1
        if self.matched <= rule.after or (rule.chance < 1 and self.chance.random() >= rule.chance):
            return None
        self.fired += 1
        return rule.faults[0] if len(rule.faults) == 1 else self.chance.choice(rule.faults)


class Faults:
    """The rules of one emulator, in their order."""

    def __init__(self, texts: Iterable[str] = (), seed: int = 0) -> None:
        self.seed = seed
        self._known: tuple[tuple[tuple[str, ...], ...], ...] = ()
        self._armed: list[_Armed] = []
        self.set(texts)

    def know(self, templates: Iterable[str]) -> None:
        """Take the paths that exist, with `{name}` for what varies: a rule for any other is refused.

        Raises BadRule when there is one already.
        """
        known = []
        for template in templates:
            names = names_of(template)
            known.append(tuple(tuple("*" if part[:1] == "{" else part for part in name) for name in names))
        self._known = tuple(known)
        for armed in self._armed:
            self._check(armed.rule)

    def _check(self, rule: Rule) -> None:
        if not self._known or rule.path == ("*",):
            return
        names = [name for names in self._known for name in names]
        for name in names:
            if len(name) == len(rule.path) and all(
                "*" in (one, other) or one == other for one, other in zip(rule.path, name, strict=True)
            ):
                return
        path = "/".join(rule.path)
        plain = ["/".join(name) for name in names if "*" not in name]
        raise _bad(rule.text, f'no path is called "{path}"{_near(path, plain)}')

    def set(self, texts: Iterable[str], seed: int | None = None) -> None:
        """Replace all rules, and the seed when one is given. Raises BadRule and then changes nothing."""
        rules = self._read(texts)
        self.seed = self.seed if seed is None else seed
        self._armed = [_Armed(rule, self.seed, rank) for rank, rule in enumerate(rules)]

    def add(self, texts: Iterable[str]) -> None:
        """Append rules. Raises BadRule and then changes nothing."""
        rules = self._read(texts)
        self._armed += [_Armed(rule, self.seed, rank) for rank, rule in enumerate(rules, len(self._armed))]

    def clear(self) -> None:
        """Forget all rules; what comes then is answered as ever."""
        self._armed = []

    def _read(self, texts: Iterable[str]) -> list[Rule]:
        rules = [parse_rule(text) for text in texts]
        for rule in rules:
            self._check(rule)
        return rules

    def pick(self, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, and count it."""
        if not self._armed:
            return None
        names = names_of(path)
        for armed in self._armed:
            if armed.rule.method in ("*", method) and armed.rule.covers(names) and (fault := armed.meet()):
                return fault
        return None

    def listed(self) -> list[dict[str, Any]]:
        """Return each rule with how many requests it matched while it was not used up, and how often it fired."""
        return [
            {
                "rule": armed.rule.text,
                "matched": armed.matched,
                "fired": armed.fired,
                "left": None if armed.rule.count is None else armed.rule.count - armed.fired,
            }
            for armed in self._armed
        ]
