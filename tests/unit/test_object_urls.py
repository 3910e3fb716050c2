"""Addresses of object stores: what they say, and what is refused before anything is sent."""

from __future__ import annotations

import pytest

from reconciler.problems import StateError
from reconciler.state.objects.url import parse


def test_an_address_names_bucket_prefix_and_options() -> None:
    place = parse("s3://bucket/teams/search/state?region=eu-west-1&endpoint=https://s3.example.com")
    assert (place.scheme, place.bucket, place.prefix) == ("s3", "bucket", "teams/search/state")
    assert dict(place.options) == {"region": "eu-west-1", "endpoint": "https://s3.example.com"}
    assert place.shown == "s3://bucket/teams/search/state"
    assert parse("az://box/state/?account=name").options["account"] == "name"
    assert parse("gs://bucket/a%20b").prefix == "a b"
    assert parse("s3://bucket/x?endpoint=http://127.0.0.1:9000").options["endpoint"] == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///tmp/canary", "no kind of object store"),
        ("canary", "no kind of object store"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket", "no clean prefix"),
        ("s3://bucket/a//b", "no clean prefix"),
        ("s3://bucket/../b", "no clean prefix"),
        ("s3://bucket/a%0ab", "no clean prefix"),
        ("s3://key:canary@bucket/state", "a user name or a password"),
        ("s3://canary@bucket/state", "a user name or a password"),
        ("s3://bucket/state?secret_access_key=canary", '"secret_access_key", which is not known'),
        ("s3://bucket/state?account=canary", '"account", which is not known'),
        ("az://box/state?region=canary", '"region", which is not known'),
        ("s3://bucket/state?canary", "cannot be read"),
        ("s3://bucket/state?endpoint=http://example.com", "without TLS on another host"),
        ("s3://bucket/state?endpoint=https://u:canary@example.com", "no plain URL"),
        ("s3://bucket/state?endpoint=canary", "no plain URL"),
        ("s3://[canary/state", "cannot be read"),
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(url: str, said: str) -> None:
    with pytest.raises(StateError) as error:
        parse(url)
    (problem,) = error.value.problems
    assert (problem.code, said in problem.what) == ("state-url", True), problem.what
    assert problem.fix
    assert "canary" not in repr(problem).replace("canary@bucket", "")
    assert error.value.__cause__ is None or "canary" not in str(error.value.__cause__)
