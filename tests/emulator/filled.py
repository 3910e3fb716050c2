"""A filled emulated organization for the content browser: what the documents push, and what nobody should."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from tests.emulator.conftest import EMAIL, KEY, Remote
from tests.emulator.test_seeds import play_usage_example

MARK = "<script>window.broken=1</script><img src=x onerror=broken()>\"'"
RTL = "abc\u202egpj.exe\u200f"
LONG = "https://example.com/" + "very-long-segment-without-a-break" * 60
PDF = b"%PDF-1.7\n\x00\x01\x02\xff\xfe" + bytes(range(256)) * 4
HTML = "<!doctype html><title>Handbook</title><script>window.broken=1</script><p>Holiday, travel &amp; expenses.</p>"
PATH = "https://hr.example.com/handbook"
HOSTILE = (
    *(f"https://example.com/{MARK}", "https://example.com/100%", f"https://example.com/{RTL}", LONG),
    "https://example.com/nul\x00byte",
)


def group(remote: Remote, name: str, *members: str, kind: str = "GROUP", **more: Any) -> None:
    listed = [{"name": member.partition(":")[2], "type": member.partition(":")[0]} for member in members]
    body = {"identity": {"name": name, "type": kind}, "members": listed, **more}
    assert remote.client.put(remote.identities, json=body).status_code == 202


def alias(remote: Remote, name: str, mapped: str) -> None:
    body = {
        "identity": {"name": name, "type": "USER"},
        "mappings": [{"name": mapped, "type": "USER", "provider": EMAIL}],
    }
    assert remote.client.put(remote.mappings, json=body).status_code == 202


def allowed(*names: str, denied: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Return a permission set of `group:name` and `user:name`."""
    return {
        "allowedPermissions": [_permission(name) for name in names],
        "deniedPermissions": [_permission(name) for name in denied],
        **more,
    }


def _permission(name: str) -> dict[str, str]:
    kind, _, name = name.partition(":")
    return {"identityType": kind, "identity": name}


def fill(remote: Remote, *, pages: int = 60) -> None:
    """Push the documents' usage example, a small intranet, values that want to break out, and a batch."""
    play_usage_example(remote)
    group(remote, "All Staff", "GROUP:Managers", "USER:alice", "USER:bob", "USER:carol", "USER:dave")
    group(remote, "Managers", "USER:carol", "USER:erin")
    group(remote, "Contractors", "USER:bob", wellKnowns=[{"name": "Guests", "type": "GROUP"}])
    group(remote, "Retired", "USER:zoe")
    for name in ("alice", "bob", "carol", "dave"):
        alias(remote, name, f"{name}@example.com")
    retired = {"identity": {"name": "Retired", "type": "GROUP"}}
    assert remote.client.request("DELETE", remote.identities, json=retired).status_code == 202

    staff = [allowed("group:All Staff", denied=("group:Contractors",))]
    remote.put(
        PATH,
        {"title": "Employee handbook", "data": HTML, "fileExtension": ".html", "author": "Human Resources",
         "tags": ["policy", "people"], "pages": 214, "permissions": staff, "bad key!": "no field takes this"},
    )  # fmt: skip
    levels = [
        {
            "name": "Board",
            "permissionSets": [allowed("group:Managers", name="Line"), allowed("user:carol", name="Named")],
        },
        {
            "name": "Everyone else",
            "permissionSets": [allowed("group:All Staff", "group:Ghosts", denied=("user:dave",))],
        },
    ]
    compressed = base64.b64encode(zlib.compress(PDF)).decode()
    remote.put(
        f"{PATH}/pay-scale.pdf",
        {"title": "Pay scale 2026", "parentId": PATH, "fileExtension": ".pdf", "permissions": levels,
         "compressedBinaryData": compressed},
        compressionType="ZLIB",
    )  # fmt: skip
    remote.put(f"{PATH}/welcome", {"title": "Welcome", "parentId": PATH, "data": "Hello.\nLunch is at twelve.",
                                   "permissions": [allowed(allowAnonymous=True)]})  # fmt: skip
    for rank, uri in enumerate(HOSTILE):
        remote.put(uri, {"title": (MARK, "100%", RTL, "", "\x00")[rank], "data": MARK + "\x00" + RTL, "author": MARK,
                         "permissions": [allowed(f"group:{MARK}", f"user:{RTL}", f"user:{LONG}")]})  # fmt: skip
    group(remote, MARK, f"USER:{RTL}", f"USER:{LONG}", "USER:100%")
    remote.put("no-scheme", {"title": "Refused", "permissions": staff})
    remote.put("https://example.com/" + MARK + "#fragment", {"permissions": staff})
    batch = {
        "addOrUpdate": [
            {"documentId": f"https://wiki.example.com/page/{rank:04}", "title": f"Wiki page {rank}",
             "data": f"Page {rank} of the wiki.", "permissions": staff}
            for rank in range(pages)
        ],
        "delete": [{"documentId": "https://wiki.example.com/gone"}],
    }  # fmt: skip
    file = remote.upload(json.dumps(batch).encode())
    assert remote.client.put(f"{remote.documents}/batch", params={"fileId": file}).status_code == 202
    remote.put("https://blog.example.com/hello", {"title": "Hello, world", "data": "A first post."}, remote.shared)
    remote.client.get(f"{remote.base}/{MARK}", params={"access_token": KEY, "say": KEY, "x": MARK})
    remote.client.put(
        remote.documents, params={"documentId": "https://example.com/%"}, content=b'{"broken": ' + KEY.encode()
    )
