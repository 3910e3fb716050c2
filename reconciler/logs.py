"""What happens, as events with a name, a text and fields: records of the standard library's `logging`.

A record of the logger `reconciler`, or of one below it, carries `event` and `fields`. Who shows them, and in what
form, is decided elsewhere; where nobody does, nothing is shown. Neither texts nor fields hold a secret: no key, no
address of an upload, no password.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("reconciler")
LOGGER.addHandler(logging.NullHandler())

ERROR, WARNING, INFO, DEBUG = logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG
TRACE = 5
"""What only somebody wants to see who looks for the cause of something, below `logging.DEBUG`."""


def tell(event: str, text: str, level: int = INFO, /, **fields: object) -> None:
    """Log what happened: a stable name such as `call.accepted`, lines for people, and what programs read.

    `text` has no line break at its end. The values of fields are what JSON can hold, or are shown as text.
    """
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, text, extra={"event": event, "fields": fields})


def heard(level: int) -> bool:
    """Whether events of this level are shown to anybody: what costs something to say need not be said otherwise."""
    return LOGGER.isEnabledFor(level)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Log at the end of a `with` block how long it took, as the event `phase`; nothing when it is left by an error."""
    began = time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    tell("phase", f"{name}: {seconds * 1000:,.0f} ms", DEBUG, phase=name, seconds=round(seconds, 6))
