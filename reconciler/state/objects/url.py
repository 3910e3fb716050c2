"""Addresses of object stores: what stands in them, and what never does.

    s3://bucket/prefix?region=eu-west-1&endpoint=https://s3.example.com
    gs://bucket/prefix
    az://container/prefix?account=name&endpoint=https://name.blob.example.com

Credentials come from the environment or the machine's identity, as the store's own tools take them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote, urlsplit

from reconciler.state.objects.faults import bad_url

SCHEMES = ("s3", "gs", "az")
OPTIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "s3": frozenset({"endpoint", "region"}),
        "gs": frozenset({"endpoint"}),
        "az": frozenset({"account", "endpoint"}),
    }
)

_EXAMPLE = "write it as `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`."
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a state is kept: `scheme` of `SCHEMES`, bucket or container, and the prefix of all its objects."""

    scheme: str
    bucket: str
    prefix: str
    options: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The address without anything that could be a secret."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}"


def parse(url: str) -> Place:
    """Return what an address says. Raises StateError `state-url`."""
    try:
        parts = urlsplit(url)
        has_secret = parts.username is not None or parts.password is not None
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise bad_url(_scheme_of(url), "cannot be read", _EXAMPLE) from None
    if parts.scheme not in SCHEMES:
        raise bad_url(_scheme_of(url), "names no kind of object store", _EXAMPLE)
    if has_secret:
        raise bad_url(
            _scheme_of(url),
            "holds a user name or a password",
            "leave it out, and give credentials in the environment: an address is shown and written down.",
        )
    place = Place(parts.scheme, parts.netloc, unquote(parts.path).strip("/"), MappingProxyType(options))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", place.bucket):
        raise bad_url(_scheme_of(url), "names no bucket", _EXAMPLE)
    if not place.prefix or {"", ".", ".."} & set(place.prefix.split("/")) or not place.prefix.isprintable():
        raise bad_url(place.shown, "has no clean prefix", "name the folder of this state within the bucket.")
    _check_options(place)
    return place


def _check_options(place: Place) -> None:
    strange = sorted(set(place.options) - OPTIONS[place.scheme])
    if strange:
        raise bad_url(
            place.shown,
            f'has an option "{strange[0]}", which is not known',
            f"known are: {', '.join(sorted(OPTIONS[place.scheme]))}. Secrets belong in the environment.",
        )
    endpoint = place.options.get("endpoint")
    if endpoint is None:
        return
    try:
        parts = urlsplit(endpoint)
        host, secret = parts.hostname, parts.username or parts.password
    except ValueError:
        host, secret = None, None
    if not host or secret or parts.query or parts.scheme not in ("http", "https"):
        raise bad_url(place.shown, "has an endpoint that is no plain URL", "write `endpoint=https://host:port`.")
    if parts.scheme == "http" and host not in _LOCAL:
        raise bad_url(
            place.shown,
            "has an endpoint without TLS on another host",
            "use https: the state says who may see what, and would be sent readable to anyone on the way.",
        )


def _scheme_of(url: str) -> str:
    """Return as much of an unreadable address as cannot be a secret."""
    return url.partition("://")[0][:20] + "://" if "://" in url else "state"
