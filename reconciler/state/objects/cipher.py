"""[io] How the objects of an encrypted state are written and opened: sealed as others, then AES-256-GCM over that.

A state in an object store is encrypted as a whole from its first record on, or not at all. The name of an object is
authenticated with it. The cipher's key is derived, since the key itself encrypts the copies on the machines.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.state.key import Key
from reconciler.state.objects import faults
from reconciler.state.objects.seal import seal, unseal
from reconciler.state.sqlite import faults as sqlite_faults

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"RCNLOBX1"
PURPOSE = b"reconciler: objects of a state, 1"
NONCE = 12  # bytes

_HEAD = len(MAGIC) + NONCE


def is_encrypted(sealed: bytes) -> bool:
    """Return whether an object is one that needs the key."""
    return sealed.startswith(MAGIC)


class Sealer:
    """Writes and opens the objects of one state, with its key if there is one."""

    def __init__(self, key: Key | None, where: Callable[[], str]) -> None:
        self.key = key
        self._where = where
        self._made: AESGCM | None = None

    def seal(self, name: str, content: bytes, *, encrypt: bool) -> bytes:
        """Return the bytes to store under `name`. Raises StateError when there is no key to encrypt with."""
        sealed = seal(name, content)
        if not encrypt:
            return sealed
        nonce = os.urandom(NONCE)
        return MAGIC + nonce + self._cipher().encrypt(nonce, sealed, _bound_to(name))

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """Return what `seal` was given.

        Raises ValueError for anything that it never returned for this name, StateError when the key does not open it.
        """
        if not is_encrypted(sealed):
            return unseal(name, sealed)
        cipher = self._cipher()
        from cryptography.exceptions import InvalidTag

        try:
            inner = cipher.decrypt(sealed[len(MAGIC) : _HEAD], sealed[_HEAD:], _bound_to(name))
        except (InvalidTag, ValueError):
            raise faults.key_wrong(self._where(), name) from None
        return unseal(name, inner)

    def _cipher(self) -> AESGCM:
        if self.key is None:
            raise faults.encrypted(self._where())
        if self._made is None:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
                from cryptography.hazmat.primitives.hashes import SHA256
                from cryptography.hazmat.primitives.kdf.hkdf import HKDF
            except ImportError:
                raise sqlite_faults.no_cipher(self._where(), "cryptography") from None
            derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE)
            self._made = AESGCM(derive.derive(bytes.fromhex(self.key.reveal())))
        return self._made


def _bound_to(name: str) -> bytes:
    return MAGIC + name.encode()
