"""Base URLs, row by row of push-api.md 1.1."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from reconciler.problems import UsageError
from reconciler.pushapi.hosts import Hosts, hosts, hosts_at, is_local, platform_base_url, push_base_url
from tests.builders import KEY, ORGANIZATION, Remote


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


def test_the_host_of_old() -> None:
    assert hosts("legacy") == Hosts(
        "https://push.cloud.coveo.com/v1", "https://platform.cloud.coveo.com", "https://api.cloud.coveo.com/logs/v1"
    )


@pytest.mark.parametrize(
    ("base", "push"),
    [
        ("http://127.0.0.1:8080", "/push/v1"),
        ("http://127.0.0.1:8080/", "/push/v1"),
        ("http://127.0.0.1:8080/push/v1/", "/push/v1"),
        ("http://127.0.0.1:8080/v1", "/v1"),
        ("http://127.0.0.1:8080/v1/", "/v1"),
    ],
)
def test_everything_at_one_address(base: str, push: str) -> None:
    root = "http://127.0.0.1:8080"
    assert hosts_at(base) == Hosts(f"{root}{push}", root, f"{root}/logs/v1")


@pytest.mark.parametrize(
    ("base", "region", "environment"),
    [
        ("https://push.cloud.coveo.com/v1/", "legacy", "prod"),
        ("https://api.cloud.coveo.com/push/v1", "us", "prod"),
        ("https://api-eu.cloud.coveo.com/push/v1", "eu", "prod"),
        ("https://apihipaa.cloud.coveo.com/push/v1", "us", "hipaa"),
    ],
)
def test_a_public_push_api_as_target_brings_its_platform(base: str, region: str, environment: str) -> None:
    assert hosts_at(base) == hosts(region, environment)


@pytest.mark.parametrize("path", ["/push/v1", "/v1"])
def test_the_emulator_serves_both_ways_of_addressing(remote: Remote, path: str) -> None:
    push = hosts_at(remote.url + path).push
    answer = httpx.post(f"{push}/organizations/{ORGANIZATION}/files", headers={"Authorization": f"Bearer {KEY}"})
    assert (answer.status_code, push) == (201, remote.url + path)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1/push/v1", True),
        ("http://localhost", True),
        ("http://[::1]:80/", True),
        ("https://127.3.2.1", True),
        ("https://api.cloud.coveo.com/push/v1", False),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
        ("http://[", False),
        ("nonsense", False),
    ],
)
def test_what_is_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local


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
        "reconciler.pushapi.retry, reconciler.calls.quotas, reconciler.pushapi.pace; "
        "print('httpx' in sys.modules or 'tenacity' in sys.modules or 'pyrate_limiter' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
