"""Where the APIs live: base URLs by region and environment, or under one address of the user's.

Pure; the table of push-api.md 1.1.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.problems import Problem, UsageError, did_you_mean

REGIONS = ("us", "ca", "eu", "au")
LEGACY = "legacy"
"""The region whose Push API is the host of old, below `/v1`; the other APIs have no such host."""
# RFC 6761, 6762, 8375 and ICANN's choice: names that no public DNS resolves.
_PRIVATE = frozenset({"localhost", "local", "internal", "arpa", "test", "invalid", "onion"})
ENVIRONMENTS = ("prod", "hipaa", "stg", "dev")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Base URLs, without a slash at the end: of the Push API, of the platform's, of the log API's."""

    push: str
    platform: str
    logs: str


def hosts(region: str = "us", environment: str = "prod") -> Hosts:
    """Return the public hosts. Raises UsageError for a region or environment that does not exist."""
    if region == LEGACY:
        return Hosts("https://push.cloud.coveo.com/v1", platform_base_url(), logs_base_url())
    return Hosts(
        push_base_url(region, environment),
        platform_base_url(region, environment),
        logs_base_url(region, environment),
    )


def hosts_at(base_url: str) -> Hosts:
    """Return the hosts of something that serves all APIs at one address, such as the emulator.

    A base URL that ends in `/push/v1`, or in the `/v1` of old, is the Push API's own and taken as it
    is; any other is what stands before `/push/v1`. One of the public Push APIs brings its own hosts.
    """
    base = base_url.rstrip("/")
    for known in (hosts(LEGACY), *(hosts(region, name) for name in ENVIRONMENTS for region in REGIONS)):
        if base == known.push:
            return known
    for ending in ("/push/v1", "/v1"):
        if base.endswith(ending):
            root = base.removesuffix(ending)
            return Hosts(base, root, f"{root}/logs/v1")
    return Hosts(f"{base}/push/v1", base, f"{base}/logs/v1")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of(url: str) -> str:
    """Return the host of a URL in lower case, or an empty string."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_local(url: str) -> bool:
    """Whether a URL leads to this machine."""
    return is_loopback(host_of(url))


def is_below(host: str, above: str) -> bool:
    """Whether a host is this one or below it."""
    host = host.lower().removesuffix(".")
    return host == above or host.endswith(f".{above}")


def is_public_name(host: str) -> bool:
    """Whether a host is a name that public DNS may know, which no address is, nor a name of one network.

    What ends in a number is an address in one of the older spellings, such as 127.1 or 0x7f.0.0.1.
    """
    labels = host.lower().removesuffix(".").split(".")
    last = labels[-1]
    return len(labels) > 1 and last.isascii() and not last[:1].isdigit() and ":" not in host and last not in _PRIVATE


def push_base_url(region: str = "us", environment: str = "prod") -> str:
    """Return the Push API's base URL, which paths are relative to (push-api.md 1.1)."""
    return f"https://{_host('api', region, environment)}/push/v1"


def platform_base_url(region: str = "us", environment: str = "prod") -> str:
    """Return the platform's base URL, for reading (push-api.md 1.1 and 2.6)."""
    return f"https://{_host('platform', region, environment)}"


def logs_base_url(region: str = "us", environment: str = "prod") -> str:
    """Return the log API's base URL (push-api.md 2.6)."""
    return f"https://{_host('api', region, environment)}/logs/v1"


def _host(service: str, region: str, environment: str) -> str:
    for kind, word, known in (("region", region, REGIONS), ("environment", environment, ENVIRONMENTS)):
        if word not in known:
            raise UsageError(
                Problem(
                    code=f"unknown-{kind}",
                    what=f'there is no {kind} "{word}"',
                    fix=did_you_mean(word, known) or f"use one of {', '.join(known)}",
                )
            )
    suffix = "" if environment == "prod" else environment
    # There is one HIPAA host, whatever the region (the official TypeScript client, push-api.md 1.1).
    place = "" if region == "us" or environment == "hipaa" else f"-{region}"
    return f"{service}{suffix}{place}.cloud.coveo.com"
