"""Base URLs, row by row of push-api.md 1.1."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reconciler.problems import UsageError
from reconciler.pushapi.hosts import Hosts, hosts, hosts_at, platform_base_url, push_base_url


@pytest.mark.parametrize(
    ("region", "environment", "push", "platform"),
    [
        ("us", "prod", "https://api.cloud.coveo.com/push/v1", "https://platform.cloud.coveo.com"),
        ("ca", "prod", "https://api-ca.cloud.coveo.com/push/v1", "https://platform-ca.cloud.coveo.com"),
        ("eu", "prod", "https://api-eu.cloud.coveo.com/push/v1", "https://platform-eu.cloud.coveo.com"),
        ("au", "prod", "https://api-au.cloud.coveo.com/push/v1", "https://platform-au.cloud.coveo.com"),
        ("us", "hipaa", "https://apihipaa.cloud.coveo.com/push/v1", "https://platformhipaa.cloud.coveo.com"),
        ("eu", "hipaa", "https://apihipaa.cloud.coveo.com/push/v1", "https://platformhipaa.cloud.coveo.com"),
        ("us", "stg", "https://apistg.cloud.coveo.com/push/v1", "https://platformstg.cloud.coveo.com"),
        ("eu", "dev", "https://apidev-eu.cloud.coveo.com/push/v1", "https://platformdev-eu.cloud.coveo.com"),
    ],
)
def test_the_documented_hosts(region: str, environment: str, push: str, platform: str) -> None:
    assert push_base_url(region, environment) == push
    assert platform_base_url(region, environment) == platform
    assert hosts(region, environment) == Hosts(push, platform, push.replace("/push/", "/logs/"))


@pytest.mark.parametrize("base", ["http://127.0.0.1:8080", "http://127.0.0.1:8080/push/v1/"])
def test_everything_at_one_address(base: str) -> None:
    assert hosts_at(base) == Hosts(
        "http://127.0.0.1:8080/push/v1", "http://127.0.0.1:8080", "http://127.0.0.1:8080/logs/v1"
    )


def test_a_wrong_region_is_told_from_a_wrong_environment() -> None:
    with pytest.raises(UsageError) as caught:
        hosts("uss")
    [problem] = caught.value.problems
    assert (problem.code, problem.fix) == ("unknown-region", 'did you mean "us"?')
    with pytest.raises(UsageError, match='no environment "live"'):
        push_base_url("us", "live")


def test_the_way_to_a_plan_imports_no_http() -> None:
    code = (
        "import sys, reconciler.calls.compile, reconciler.pushapi.hosts, reconciler.pushapi.payload, "
        "reconciler.pushapi.retry; print('httpx' in sys.modules or 'tenacity' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
