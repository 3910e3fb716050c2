"""Where the APIs live: base URLs by region and environment, or under one address of the user's.

Pure; the table of push-api.md 1.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.problems import Problem, UsageError, did_you_mean

REGIONS = ("us", "ca", "eu", "au")
ENVIRONMENTS = ("prod", "hipaa", "stg", "dev")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Base URLs, without a slash at the end: of the Push API, of the platform's, of the log API's."""

    push: str
    platform: str
    logs: str


def hosts(region: str = "us", environment: str = "prod") -> Hosts:
    """Return the public hosts. Raises UsageError for a region or environment that does not exist."""
    return Hosts(
        push_base_url(region, environment),
        platform_base_url(region, environment),
        logs_base_url(region, environment),
    )


def hosts_at(base_url: str) -> Hosts:
    """Return the hosts of something that serves all APIs at one address, such as the emulator.

    `base_url` may end in `/push/v1`, as the documents write it, or be what stands before that.
    """
    root = base_url.rstrip("/").removesuffix("/push/v1")
    return Hosts(f"{root}/push/v1", root, f"{root}/logs/v1")


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
