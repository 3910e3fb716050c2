"""How the documents are read where they leave doubt, and how identities are spelled. Values only.

Names are those of the emulator's open questions where they ask the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from reconciler.model.identity import folded_name, parse_identity

EMAIL_PROVIDER = "Email Security Provider"

PERSON_TYPES = ("user", "unknown")
"""The types that a person may have; what is left are groups, which have people in them."""

STRANGER = "somebody-whom-nobody-declared"
"""The name, before the domain, of who stands for everybody of a domain of whom nothing is known."""


@dataclass(frozen=True, slots=True)
class Readings:
    """One reading of the rules; the default is what push-api.md proposes, on the closed side."""

    partial_level: Literal["inconclusive", "denied"] = "inconclusive"
    """push-api.md 3.6: allowed in one set of a level and unspecified in another, with more levels after it."""
    unresolved_deny_hides_item: bool = True
    """push-api.md 3.6: is an item invisible while a denied identity of its first level is unresolved?"""
    unresolved_allow: Literal["nobody", "named"] = "nobody"
    """push-api.md 3.6: whom an allowed identity lets in that is unresolved: nobody, or whoever logs in as it."""
    members_resolve: bool = True
    """push-api.md 3.6: is a user resolved that a group names as its member, and nothing else declares?"""
    deny_beats_anonymous: bool = True
    """push-api.md 3.6, 11: does the deny list of a set with `allowAnonymous` apply to those who logged in?"""
    email_provider: str = EMAIL_PROVIDER
    """push-api.md 3.5: the provider whose identities need not be pushed, and where `*@*` and `*@domain` mean more
    than their letters; as the project calls it."""
    case_sensitive: frozenset[str] = field(default_factory=frozenset)
    """push-api.md 2.4: the providers that tell upper from lower case."""
    unresolved: frozenset[str] = field(default_factory=frozenset)
    """push-api.md 3.6: keys of identities that the remote itself calls unresolved, whoever else names them."""

    def widest(self) -> Readings:
        """Return the reading under which nobody sees less than under any other of the same providers.

        Who must not see something must not see it under this one: no guess then hides an exposure.
        """
        return replace(
            self,
            partial_level="inconclusive",
            unresolved_deny_hides_item=False,
            unresolved_allow="named",
            deny_beats_anonymous=False,
        )

    def key(self, identity: str) -> str:
        """Return the one spelling of a canonical identity, so that equal keys are the same identity."""
        kind, provider, name = identity.split("/", 2)
        if provider in self.case_sensitive:
            return identity
        return f"{kind}/{provider}/{folded_name(name)}"

    @property
    def everybody(self) -> str:
        """The key of the pattern that covers everybody, also those who did not log in (push-api.md 3.6)."""
        return f"group/{self.email_provider}/*@*"

    def domain_pattern(self, key: str) -> str | None:
        """Return the key of the pattern that covers everyone of the domain of an email user, None for others."""
        if not key.startswith(f"user/{self.email_provider}/"):
            return None
        identity = parse_identity(key)
        _, at, domain = identity.name.rpartition("@")
        return f"group/{self.email_provider}/*@{domain}" if at else None

    def is_domain_pattern(self, key: str) -> bool:
        """Return whether a key is of a pattern that covers everyone of a domain."""
        return key.startswith(f"group/{self.email_provider}/*@") and key != self.everybody

    def stranger(self, key: str) -> str | None:
        """Return somebody of whom nothing is known, of the domain that a pattern covers; None for other keys."""
        start = f"group/{self.email_provider}/*@"
        if not key.startswith(start) or key == self.everybody:
            return None
        return f"user/{self.email_provider}/{STRANGER}@{key.removeprefix(start)}"

    def needs_no_push(self, key: str) -> bool:
        """Return whether an identity is resolved without anybody having declared it."""
        return key.split("/", 2)[1] == self.email_provider


def is_person(identity: str) -> bool:
    """Return whether an identity is somebody rather than a group."""
    return identity.partition("/")[0] in PERSON_TYPES
