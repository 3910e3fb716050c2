"""What happens after the 202: order, deletion, refusals that only the logs show (push-api.md 5, 9)."""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import json
import lzma
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pytest

from reconciler.emulator.options import Doubts
from tests.emulator.conftest import PROVIDER, READABLE, Bridge, Remote, Start


def group(remote: Remote, *members: str, name: str = "G", **query: Any) -> None:
    body = {
        "identity": {"name": name, "type": "GROUP"},
        "members": [{"name": member, "type": "USER"} for member in members],
    }
    assert remote.client.put(remote.identities, json=body, params=query).status_code == 202


def members(remote: Remote) -> list[str]:
    (found,) = remote.state()["identities"][PROVIDER]
    return [member["name"] for member in found["members"]]


class TestDelay:
    def test_nothing_is_indexed_before_the_delay_has_passed(self, start: Start) -> None:
        remote = start(delay=120.0)
        remote.put("http://a")
        remote.clock.advance(119)
        assert remote.uris() == []
        remote.clock.advance(1)
        assert remote.uris() == ["http://a"]

    def test_flush_does_not_wait(self, start: Start) -> None:
        remote = start(delay=120.0)
        remote.put("http://a")
        assert remote.client.get("/_emulator/state").json()["pending"] == 1
        assert remote.client.post("/_emulator/flush").json() == {"pending": 0}
        assert remote.uris() == ["http://a"]

    def test_the_clock_is_moved_from_outside(self, start: Start) -> None:
        remote = start(delay=120.0)
        remote.put("http://a")
        remote.client.post("/_emulator/clock", json={"advance": 120})
        assert remote.uris() == ["http://a"]
        for bad in ("", "[]", '{"advance": -1}', '{"advance": "nan"}'):
            assert remote.client.post("/_emulator/clock", content=bad).status_code == 400

    @pytest.mark.parametrize("order", ["writes first", "deletes first"])
    @pytest.mark.parametrize("steps", range(1, 6))
    def test_a_batch_goes_on_after_a_restart(self, start: Start, tmp_path: Path, steps: int, order: str) -> None:
        """An operation does not compete with itself, whichever of its parts came before the restart."""
        changes: dict[str, Any] = {"delay": 60.0, "data_dir": tmp_path, "doubts": Doubts(batch_order=order)}
        first = start(**changes)
        entries = [{"documentId": f"http://x/{number}"} for number in range(2500)]
        file = first.upload(json.dumps({"addOrUpdate": entries, "delete": entries[:2400]}).encode())
        first.client.put(f"{first.shared}/batch", params={"fileId": file, "orderingId": 5})
        first.clock.advance(60)
        bridge = first.client._transport
        assert isinstance(bridge, Bridge)
        list(itertools.islice(bridge.app.state.engine.steps(), steps))
        first.client.close()
        second = start(**changes, clock=first.clock)
        assert len(second.items("shared")) == (100 if order == "writes first" else 2500)

    def test_a_database_from_before_fields_and_compression_is_read(self, start: Start, tmp_path: Path) -> None:
        first = start(data_dir=tmp_path)
        first.put("http://a", {"color": "red", "permissions": READABLE})
        assert first.uris() == ["http://a"]
        first.client.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "emulator.db")) as database:
            database.execute("ALTER TABLE items DROP COLUMN fields")
            database.execute("ALTER TABLE items DROP COLUMN compression")
        second = start(data_dir=tmp_path, clock=first.clock)
        assert second.uris("@color==red") == ["http://a"]

    def test_what_waits_survives_a_restart(self, start: Start, tmp_path: Path) -> None:
        first = start(delay=60.0, data_dir=tmp_path)
        first.put("http://a")
        file = first.upload(b'{"addOrUpdate": [{"documentId": "http://b", "data": "x"}]}')
        first.client.put(f"{first.shared}/batch", params={"fileId": file})
        first.client.close()
        second = start(delay=60.0, data_dir=tmp_path, clock=first.clock)
        assert second.uris() == []
        second.clock.advance(60)
        assert second.uris() == ["http://a", "http://b"]


class TestOrderingIds:
    def test_lower_and_equal_ones_are_skipped(self, remote: Remote) -> None:
        for number, title in ((10, "first"), (9, "older"), (10, "equal"), (11, "newer")):
            remote.put("http://a", {"title": title, "permissions": READABLE}, orderingId=number)
        assert remote.items()["http://a"]["metadata"]["title"] == "newer"
        assert [entry[:2] for entry in remote.logs()] == [
            ("ADD", "COMPLETED"),
            ("UPDATE", "SKIPPED"),
            ("UPDATE", "SKIPPED"),
            ("UPDATE", "COMPLETED"),
        ]

    def test_equal_ones_are_a_setting(self, start: Start) -> None:
        remote = start(doubts=Doubts(equal_ordering_id="accept"))
        for title in ("first", "second"):
            remote.put("http://a", {"title": title, "permissions": READABLE}, orderingId=5)
        assert remote.items()["http://a"]["metadata"]["title"] == "second"

    def test_chosen_by_the_remote_they_keep_the_order_of_arrival(self, remote: Remote) -> None:
        """Also within one millisecond, as the clock stands still here."""
        remote.put("http://a")
        remote.delete("http://a")
        remote.put("http://a", {"title": "last", "permissions": READABLE})
        assert remote.items()["http://a"]["metadata"]["title"] == "last"

    def test_larger_than_a_signed_integer(self, remote: Remote) -> None:
        remote.put("http://a", orderingId=2**64 - 1)
        remote.put("http://a", {"title": "x", "permissions": READABLE}, orderingId=2**63)
        assert remote.items()["http://a"]["orderingId"] == 2**64 - 1
        assert "title" not in remote.items()["http://a"]["metadata"]

    def test_the_old_name(self, remote: Remote) -> None:
        remote.put("http://a", operationId=7)
        assert remote.items()["http://a"]["orderingId"] == 7

    def test_a_tombstone_refuses_older_pushes(self, remote: Remote) -> None:
        remote.put("http://a", orderingId=1)
        remote.delete("http://a", orderingId=3)
        remote.put("http://a", orderingId=2)
        assert remote.items() == {}
        remote.put("http://a", orderingId=4)
        assert list(remote.items()) == ["http://a"]

    def test_a_late_older_delete_does_nothing(self, remote: Remote) -> None:
        remote.put("http://a", orderingId=5)
        remote.delete("http://a", orderingId=4)
        assert list(remote.items()) == ["http://a"]

    def test_of_identities(self, remote: Remote) -> None:
        group(remote, "a", orderingId=5)
        group(remote, "b", orderingId=4)
        assert members(remote) == ["a"]
        group(remote, "c", orderingId=6)
        assert members(remote) == ["c"]


class TestDeleting:
    def test_children_are_found_by_prefix(self, remote: Remote) -> None:
        for uri in ("file://f", "file://f/a", "file://f/sub/b", "file://f0", "file://f-x", "file://fa"):
            remote.put(uri)
        remote.put("file://elsewhere", {"parentId": "file://f", "permissions": READABLE})
        remote.delete("file://f", deleteChildren="true")
        assert list(remote.items()) == ["file://elsewhere", "file://f-x", "file://f0", "file://fa"]

    def test_an_unknown_item_is_a_log_entry(self, remote: Remote) -> None:
        remote.delete("http://nobody")
        assert remote.logs()[0][:3] == ("DELETE", "SKIPPED", "http://nobody")

    def test_older_than_waits_a_quarter_of_an_hour(self, remote: Remote) -> None:
        remote.put("http://a", orderingId=10)
        remote.put("http://b", orderingId=20)
        remote.client.delete(f"{remote.documents}/olderthan", params={"orderingId": 20})
        assert list(remote.items()) == ["http://a", "http://b"]
        remote.clock.advance(15 * 60)
        assert list(remote.items()) == ["http://b"]

    def test_older_than_without_delay(self, remote: Remote) -> None:
        remote.put("http://a", orderingId=10)
        remote.client.delete(f"{remote.documents}/olderthan", params={"orderingId": 11, "queueDelay": 0})
        assert remote.items() == {}

    def test_the_watermark_refuses_older_pushes_at_once(self, remote: Remote) -> None:
        """A value from the future poisons the source (push-api.md 5.4)."""
        remote.client.delete(f"{remote.documents}/olderthan", params={"orderingId": 2**60})
        remote.put("http://a")
        assert remote.items() == {}
        assert "watermark" in remote.logs()[0][3]

    def test_the_watermark_may_come_with_the_delay(self, start: Start) -> None:
        remote = start(doubts=Doubts(watermark="after delay"))
        remote.client.delete(f"{remote.documents}/olderthan", params={"orderingId": 2**60})
        remote.put("http://a")
        assert list(remote.items()) == ["http://a"]

    def test_a_deleted_identity_is_disabled_until_pushed_again(self, remote: Remote) -> None:
        group(remote, "a")
        body = {"identity": {"name": "g", "type": "group"}}
        assert remote.client.request("DELETE", remote.identities, json=body).status_code == 202
        assert remote.state()["identities"][PROVIDER][0]["disabled"]
        group(remote, "b")
        assert not remote.state()["identities"][PROVIDER][0]["disabled"]
        assert members(remote) == ["b"]

    def test_old_identities_are_disabled(self, remote: Remote) -> None:
        group(remote, "a", name="Old", orderingId=5)
        group(remote, "a", name="New", orderingId=6)
        path = f"{remote.identities}/olderthan"
        assert remote.client.delete(path, params={"orderingId": 6, "queueDelay": 0}).status_code == 202
        found = {entry["name"]: entry["disabled"] for entry in remote.state()["identities"][PROVIDER]}
        assert found == {"Old": True, "New": False}


class TestRejections:
    @pytest.mark.parametrize(
        ("uri", "body", "why"),
        [
            ("mytext.txt", {"permissions": READABLE}, "scheme"),
            ("http:", {"permissions": READABLE}, "scheme"),
            ("http://a#b", {"permissions": READABLE}, "fragment"),
            ("http://a", {"data": "x"}, "needs permissions"),
            ("http://a", {"permissions": []}, "needs permissions"),
            ("http://a", {"permissions": [{"allowedPermissions": [{"identityType": "User"}]}]}, "no identity"),
            (
                "http://a",
                {"permissions": [{"allowedPermissions": [{"identity": "a", "identityType": "Robot"}]}]},
                "no identity type",
            ),
            (
                "http://a",
                {"permissions": [{"allowedPermissions": [{"identity": "a", "identityType": "User"}] * 5001}]},
                "5001 permissions",
            ),
            ("http://a", {"compressedBinaryData": "%%%", "permissions": READABLE}, "base64"),
            ("http://a", {"compressedBinaryData": "aGVsbG8=", "permissions": READABLE}, "decompress"),
            ("http://a", {"compressedBinaryDataFileId": "../x", "permissions": READABLE}, "does not exist"),
        ],
    )  # fmt: skip
    def test_accepted_and_never_indexed(self, remote: Remote, uri: str, body: Any, why: str) -> None:
        remote.put(uri, body)
        assert remote.items() == {}
        ((operation, result, logged, error),) = remote.logs()
        assert (operation, result in ("REJECTED", "ERROR"), logged) == ("ADD", True, uri)
        assert why in error

    def test_5000_permissions_are_fine(self, remote: Remote) -> None:
        allowed = [{"identity": f"user {n}", "identityType": "USER"} for n in range(5000)]
        remote.put("http://a", {"permissions": [{"allowedPermissions": allowed}]})
        assert list(remote.items()) == ["http://a"]

    def test_identities_first_is_a_setting(self, start: Start) -> None:
        remote = start(doubts=Doubts(identities_must_exist=True))
        body = {"permissions": [{"allowedPermissions": [{"identity": "G", "identityType": "Group"}]}]}
        remote.put("http://early", body)
        group(remote, "a@x.org")
        remote.put("http://late", body)
        assert list(remote.items()) == ["http://late"]
        assert "no identity 'g'" in remote.logs()[0][3]

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b'{"addOrUpdate": {}}', b"[" * 100_000, b"\xff"])
    def test_an_unreadable_batch(self, remote: Remote, content: bytes) -> None:
        file = remote.upload(content)
        assert remote.client.put(f"{remote.documents}/batch", params={"fileId": file}).status_code == 202
        assert [entry[:3] for entry in remote.logs()] == [("BATCH_FILE", "ERROR", file)]

    def test_a_container_serves_once_and_for_an_hour(self, remote: Remote) -> None:
        content = b'{"addOrUpdate": [{"documentId": "http://a", "data": "x"}]}'
        batch = f"{remote.shared}/batch"
        used = remote.upload(content)
        for _ in range(2):
            remote.client.put(batch, params={"fileId": used})
        late = remote.upload(content)
        remote.clock.advance(3600)
        for file in (late, "never-issued", "../../etc/passwd"):
            assert remote.client.put(batch, params={"fileId": file}).status_code == 202
        assert [entry[:3] for entry in remote.logs(operations=["BATCH_FILE"])] == [
            ("BATCH_FILE", "COMPLETED", used),
            ("BATCH_FILE", "ERROR", used),
            ("BATCH_FILE", "ERROR", late),
            ("BATCH_FILE", "ERROR", "never-issued"),
            ("BATCH_FILE", "ERROR", "../../etc/passwd"),
        ]

    def test_an_unknown_file_is_a_setting(self, start: Start) -> None:
        remote = start(doubts=Doubts(unknown_file="refuse"))
        assert remote.client.put(f"{remote.documents}/batch", params={"fileId": "nope"}).status_code == 412

    def test_bad_entries_of_a_batch_leave_the_others(self, remote: Remote) -> None:
        file = remote.upload(
            b'{"addOrUpdate": [{"documentId": "http://a", "data": "x"}, {"data": "y"}, 5,'
            b' {"documentId": "http://b", "x": {"y": 1}}, {"documentId": "http://c", "data": "z"}],'
            b' "delete": [{}, {"documentId": "http://nobody"}]}'
        )
        remote.client.put(f"{remote.shared}/batch", params={"fileId": file})
        assert list(remote.items("shared")) == ["http://a", "http://c"]
        rejected = sorted(entry[2] for entry in remote.logs(results=["REJECTED"]))
        assert rejected == sorted([file, "addOrUpdate[1]", "addOrUpdate[2]", "http://b"])

    def test_a_large_batch_is_processed_in_steps(self, remote: Remote) -> None:
        entries = ",".join(f'{{"documentId": "http://x/{n}", "data": "{n}"}}' for n in range(2500))
        file = remote.upload(b'{"addOrUpdate": [%s], "delete": [{"documentId": "http://x/7"}]}' % entries.encode())
        remote.client.put(f"{remote.shared}/batch", params={"fileId": file, "orderingId": 5})
        found = remote.items("shared")
        assert len(found) == 2499
        assert {item["orderingId"] for item in found.values()} == {5}


TEXT = b"content that shrinks " * 50


class TestContent:
    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            (None, zlib.compress(TEXT)),
            ("ZLIB", zlib.compress(TEXT)),
            ("ZLib", zlib.compress(TEXT)),
            ("GZIP", gzip.compress(TEXT, mtime=0)),
            ("DEFLATE", zlib.compress(TEXT)),
            ("DEFLATE", zlib.compress(TEXT)[2:-4]),
            ("LZMA", lzma.compress(TEXT, format=lzma.FORMAT_ALONE)),
            ("LZMA", lzma.compress(TEXT)),
            ("UNCOMPRESSED", TEXT),
        ],
    )
    def test_compressions(self, remote: Remote, kind: str | None, data: bytes) -> None:
        query = {"compressionType": kind} if kind else {}
        inline = {"compressedBinaryData": base64.b64encode(data).decode()}
        remote.put("http://inline", inline, path=remote.shared, **query)
        remote.put("http://file", {"compressedBinaryDataFileId": remote.upload(data)}, path=remote.shared, **query)
        for item in remote.items("shared").values():
            assert (item["body"]["size"], item["body"]["preview"]) == (len(TEXT), TEXT[:200].decode())
        assert len(remote.items("shared")) == 2

    def test_a_cut_off_body(self, remote: Remote) -> None:
        data = base64.b64encode(zlib.compress(TEXT)[:-5]).decode()
        remote.put("http://a", {"compressedBinaryData": data}, path=remote.shared)
        assert "cut off" in remote.logs()[0][3]

    @pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, lzma.compress])
    def test_a_bomb(self, start: Start, compress: Any) -> None:
        remote = start(decompressed_bytes=1_000_000)
        data = base64.b64encode(compress(bytes(20_000_000))).decode()
        kind = {zlib.compress: "ZLIB", gzip.compress: "GZIP", lzma.compress: "LZMA"}[compress]
        remote.put("http://a", {"compressedBinaryData": data}, path=remote.shared, compressionType=kind)
        assert "more than 1000000 bytes" in remote.logs()[0][3]

    def test_only_the_query_names_the_compression(self, start: Start) -> None:
        """As the documents have it; some clients write it into the body (push-api.md 7, 3)."""
        body = {"compressedBinaryData": base64.b64encode(TEXT).decode(), "compressionType": "UNCOMPRESSED"}
        strict, lenient = start(), start(doubts=Doubts(body_compression_type="honour"))
        for remote in (strict, lenient):
            remote.put("http://a", body, path=remote.shared)
        assert strict.items("shared") == {}
        assert list(lenient.items("shared")) == ["http://a"]

    def test_a_put_replaces_the_whole_item(self, remote: Remote) -> None:
        remote.put("http://a", {"author": "x", "data": "y"}, path=remote.shared)
        remote.put("http://a", {"title": "z"}, path=remote.shared)
        item = remote.items("shared")["http://a"]
        assert (item["metadata"], item["body"]) == ({"title": "z"}, None)
