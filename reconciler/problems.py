"""What can be wrong, said so that a person can act on it.

A `Problem` is data: a stable code, where, what, why and how to fix it. Layers gather problems and
hand them up; only the command line prints them. It knows nothing of YAML, HTTP or terminals.

The exceptions carry problems to the command line, which maps them to exit codes:

    ReconcilerError                exit 1
      UsageError                   exit 2   the command was asked for something it does not offer
      ManifestError                exit 1   manifests, data or content files
      StateError                   exit 1   the state file, its lock, a stale or foreign plan
      RemoteError                  exit 4   the remote refused or could not be reached
      Interrupted                  exit 130
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Severity(StrEnum):
    """How much a problem weighs: an error stops the command, a warning and a note do not."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text file: path relative to the project's folder, line and column from 1.

    `length` is how many characters the caret marks, at least 1.
    """

    file: str
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Related:
    """A second place that a problem speaks of, such as the other one of two duplicates."""

    position: Position
    what: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `where` names the place when it is no text file: a state file and its serial, a call. `excerpt`
    is the whole source line at `position`, without its line break.
    """

    code: str
    what: str
    why: str = ""
    fix: str = ""
    position: Position | None = None
    where: str = ""
    severity: Severity = Severity.ERROR
    excerpt: str = ""
    related: tuple[Related, ...] = ()

    def at(self, position: Position, excerpt: str = "") -> Problem:
        """Return the same problem, placed."""
        return replace(self, position=position, excerpt=excerpt)

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        """Order for display: by file, line and column, then by code and text."""
        if self.position is None:
            return (self.where, 0, 0, self.code, self.what)
        return (self.position.file, self.position.line, self.position.column, self.code, self.what)


def errors_in(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems that stop a command."""
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean "x"?` for the nearest known word, or an empty string when none is near."""
    candidates = sorted(known)
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if not near:
        folded = {candidate.casefold(): candidate for candidate in candidates}
        near = [folded[word.casefold()]] if word.casefold() in folded else []
    return f'did you mean "{near[0]}"?' if near else ""


class ReconcilerError(Exception):
    """A command cannot go on; carries what to tell the user.

    `outcome` says of a call under way whether the remote may have taken it: `unknown` when it may, else `refused`.
    """

    exit_code = 1
    outcome: str = "refused"

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.what for problem in problems))
        self.problems = problems


class UsageError(ReconcilerError):
    """The command line or the environment asks for something that does not exist."""

    exit_code = 2


class ManifestError(ReconcilerError):
    """Manifests, data files or content files cannot be used.

    `folder` is the project's folder, which positions are relative to, once somebody knows it.
    """

    folder: str | None = None


class StateError(ReconcilerError):
    """The state file, its lock, or a saved plan that does not fit it."""


class RemoteError(ReconcilerError):
    """The remote refused a call or could not be reached."""

    exit_code = 4


class Interrupted(ReconcilerError):
    """The user or the system asked to stop; as long as nobody knows better, the call under way may have been taken."""

    exit_code = 130
    outcome = "unknown"
