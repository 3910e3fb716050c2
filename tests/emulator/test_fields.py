"""Fields and mappings, and what they let through (push-api.md 2.6, 4.4)."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.emulator.options import Doubts, FieldOptions
from tests.emulator.conftest import SOURCE, Remote, Start


class Fields:
    """The fields API of an emulator."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.base = f"{remote.platform}/indexes/fields"
        self.mappings = f"{remote.platform}/sources/shared/mappings"

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        return self.remote.client.request(method, f"{self.base}{path}", json=body, params=query)

    def create(self, *models: tuple[str, str] | dict[str, Any]) -> None:
        listed = [model if isinstance(model, dict) else {"name": model[0], "type": model[1]} for model in models]
        answer = self.call("POST", "/batch/create", listed)
        assert answer.status_code == 204, answer.text

    def found(self, **body: Any) -> list[str]:
        answer = self.call("POST", "/search", body)
        assert answer.status_code == 200, answer.text
        return [model["name"] for model in answer.json()["items"]]

    def rule(self, path: str, field: str, *content: str) -> Any:
        return self.remote.client.post(f"{self.mappings}/{path}/rules", json={"field": field, "content": content})

    def raw(self, **metadata: Any) -> Any:
        """Push an item to a shared source and return its fields."""
        self.remote.put("http://x/1", metadata, path=self.remote.shared)
        (found,) = self.remote.search('@uri=="http://x/1"')["results"]
        return found["raw"]


@pytest.fixture
def fields(remote: Remote) -> Fields:
    return Fields(remote)


@pytest.fixture
def strict(start: Start) -> Fields:
    return Fields(start(fields="strict"))


class TestFields:
    def test_system_fields_are_there(self, fields: Fields) -> None:
        found = fields.found(filters={"origin": "SYSTEM"})
        assert {"title", "author", "uri", "date", "permanentid", "clickableuri", "source", "filetype"} <= set(found)
        types = {model["name"]: model["type"] for model in fields.call("POST", "/search", {}).json()["items"]}
        assert (types["date"], types["size"], types["language"]) == ("DATE", "LONG_64", "STRING")

    def test_which_are_the_systems_is_an_option(self, start: Start) -> None:
        fields = Fields(start(system_fields=(FieldOptions("only", "DOUBLE"),)))
        assert fields.found() == ["only"]

    def test_create_one(self, fields: Fields) -> None:
        assert fields.call("POST", "", {"name": "price", "type": "DOUBLE"}).status_code == 204
        model = fields.call("GET", "/price").json()
        assert (model["type"], model["system"], model["multiValueFacet"]) == ("DOUBLE", False, False)
        assert fields.call("GET", "/nope").status_code == 404

    def test_filters(self, fields: Fields) -> None:
        fields.create(("price", "DOUBLE"), ("pricerange", "STRING"), ("stock", "LONG"))
        assert fields.found(filters={"origin": "USER"}) == ["price", "pricerange", "stock"]
        assert fields.found(filters={"name": "price"}) == ["price", "pricerange"]
        assert fields.found(filters={"type": "DOUBLE"}) == ["price"]
        assert fields.found(filters={"fieldNames": ["stock", "title", "none"]}) == ["stock", "title"]
        assert fields.found(filters={"origin": "USER"}, order="DESC")[0] == "stock"

    def test_pages(self, fields: Fields) -> None:
        fields.create(*((f"f{number}", "LONG") for number in range(5)))
        page = fields.call("POST", "/search", {"page": 1, "perPage": 2, "filters": {"origin": "USER"}}).json()
        assert [model["name"] for model in page["items"]] == ["f2", "f3"]
        assert (page["totalEntries"], page["totalPages"]) == (5, 3)

    @pytest.mark.parametrize(
        "body",
        [{"perPage": 0}, {"perPage": 1001}, {"page": -1}, {"filters": {"type": "BOOLEAN"}}, {"filters": []},
         {"filters": {"origin": "MINE"}}, {"filters": {"fieldNames": "a"}}, {"perPage": True}],
    )  # fmt: skip
    def test_bad_searches(self, fields: Fields, body: Any) -> None:
        assert fields.call("POST", "/search", body).status_code == 400

    @pytest.mark.parametrize("name", ["", "Price", "1st", "_x", "a b", "a-b", "a.b", "x" * 256, 5, None])
    def test_names(self, fields: Fields, name: Any) -> None:
        assert fields.call("POST", "", {"name": name, "type": "LONG"}).status_code == 400
        assert fields.call("POST", "", {"name": "x" * 255, "type": "LONG"}).status_code == 204

    @pytest.mark.parametrize(
        "model", [{"name": "a", "type": "BOOLEAN"}, {"name": "a"}, {"name": "a", "type": "LONG", "facet": "yes"}, []]
    )
    def test_bad_models(self, fields: Fields, model: Any) -> None:
        assert fields.call("POST", "", model).status_code == 400

    @pytest.mark.parametrize("kind", ["LONG", "LONG_64", "DOUBLE", "DATE", "STRING", "VECTOR"])
    def test_types(self, fields: Fields, kind: str) -> None:
        fields.create(("a", kind))
        assert fields.call("GET", "/a").json()["type"] == kind

    @pytest.mark.parametrize("status", [412, 409, 400])
    def test_one_that_exists_is_not_created(self, start: Start, status: Any) -> None:
        fields = Fields(start(doubts=Doubts(existing_field=status)))
        assert (
            fields.call(
                "POST", "/batch/create", [{"name": "a", "type": "LONG"}, {"name": "title", "type": "LONG"}]
            ).status_code
            == status
        )
        assert fields.found(filters={"origin": "USER"}) == [], "none of a batch that is refused"

    def test_update(self, fields: Fields) -> None:
        fields.create(("a", "LONG"))
        assert fields.call("PUT", "/batch/update", [{"name": "a", "type": "STRING", "facet": True}]).status_code == 204
        assert fields.call("GET", "/a").json()["facet"] is True
        assert fields.call("PUT", "/a", {"name": "a", "type": "DATE"}).status_code == 204
        assert fields.call("GET", "/a").json()["type"] == "DATE"
        assert fields.call("PUT", "/batch/update", [{"name": "b", "type": "STRING"}]).status_code == 404
        assert fields.call("PUT", "/batch/update", [{"name": "title", "type": "LONG"}]).status_code == 400
        assert fields.call("PUT", "/a", {"name": "b", "type": "DATE"}).status_code == 400

    def test_delete(self, fields: Fields) -> None:
        fields.create(("a", "LONG"), ("b", "LONG"), ("c", "LONG"))
        assert fields.call("DELETE", "/batch/delete", fields="a,b").status_code == 204
        assert fields.call("DELETE", "/c").status_code == 204
        assert fields.found(filters={"origin": "USER"}) == []
        assert fields.call("DELETE", "/batch/delete").status_code == 412
        assert fields.call("DELETE", "/batch/delete", fields="a").status_code == 404
        assert fields.call("DELETE", "/title").status_code == 400

    def test_they_outlive_a_restart_and_not_a_reset(self, start: Start, tmp_path: Any) -> None:
        first = Fields(start(data_dir=tmp_path))
        first.create(("a", "LONG"))
        first.remote.client.close()
        second = Fields(start(data_dir=tmp_path))
        assert second.found(filters={"origin": "USER"}) == ["a"]
        second.remote.client.post("/_emulator/reset")
        assert second.found(filters={"origin": "USER"}) == []

    def test_privileges(self, start: Start) -> None:
        remote = start(keys={"reader": frozenset({"FIELD_VIEW"})})
        headers = {"Authorization": "Bearer reader"}
        base = f"{remote.platform}/indexes/fields"
        assert remote.client.post(f"{base}/search", json={}, headers=headers).status_code == 200
        assert remote.client.post(base, json={"name": "a", "type": "LONG"}, headers=headers).status_code == 403


class TestMetadata:
    def test_a_permissive_index_shows_every_key(self, fields: Fields) -> None:
        raw = fields.raw(color="red", Price="cheap")
        assert (raw["color"], raw["price"]) == ("red", "cheap")

    def test_a_strict_one_shows_what_fields_take(self, strict: Fields) -> None:
        strict.create(("color", "STRING"))
        raw = strict.raw(Color="red", price=5, title="Shirt", Author="Ann")
        assert (raw["color"], raw["title"], raw["author"]) == ("red", "Shirt", "Ann")
        assert "price" not in raw
        assert strict.remote.items("shared")["http://x/1"]["metadata"]["price"] == 5, "it was pushed nevertheless"
        assert strict.remote.uris("@price==5") == []
        assert strict.remote.uris("@color==red") == ["http://x/1"]

    def test_a_new_field_counts_from_the_next_push(self, strict: Fields) -> None:
        strict.raw(color="red")
        strict.create(("color", "STRING"))
        (found,) = strict.remote.search('@uri=="http://x/1"')["results"]
        assert "color" not in found["raw"]
        assert strict.raw(color="red")["color"] == "red"

    def test_a_deleted_field_takes_its_values_along(self, strict: Fields) -> None:
        strict.create(("color", "STRING"))
        strict.raw(color="red")
        strict.call("DELETE", "/color")
        (found,) = strict.remote.search('@uri=="http://x/1"')["results"]
        assert "color" not in found["raw"]

    @pytest.mark.parametrize(
        ("kind", "value", "held"),
        [
            ("LONG", 5, 5),
            ("LONG", "5", 5),
            ("LONG", 5.7, 5),
            ("LONG", "many", None),
            ("LONG", 2**31, None),
            ("LONG", True, None),
            ("LONG", [1, 2], None),
            ("LONG_64", 2**31, 2**31),
            ("LONG_64", 2**63, None),
            ("DOUBLE", "1.5", 1.5),
            ("DOUBLE", 3, 3),
            ("DOUBLE", "x", None),
            ("DOUBLE", "nan", None),
            ("DATE", "2017-11-08T12:18:41.666Z", 1510143521666),
            ("DATE", "2017-11-08 12:18:41", 1510143521000),
            ("DATE", "Wed, 08 Nov 2017 12:18:41 GMT", 1510143521000),
            ("DATE", "soon", None),
            ("STRING", True, "true"),
            ("STRING", 5, "5"),
            ("STRING", ["a", "b", 3], "a;b;3"),
            ("VECTOR", [1, 2.5], [1, 2.5]),
            ("VECTOR", ["a"], None),
            ("VECTOR", "a", None),
        ],
    )
    def test_what_does_not_fit_is_converted_or_dropped_in_silence(
        self, strict: Fields, kind: str, value: Any, held: Any
    ) -> None:
        strict.create(("f", kind))
        assert strict.raw(f=value).get("f") == held
        assert {entry[1] for entry in strict.remote.logs()} == {"COMPLETED"}

    @pytest.mark.parametrize(("answer", "held"), [("truncate", 5), ("drop", None)])
    def test_fractions(self, start: Start, answer: Any, held: Any) -> None:
        fields = Fields(start(fields="strict", doubts=Doubts(fractional_long=answer)))
        fields.create(("f", "LONG"))
        assert fields.raw(f=5.5).get("f") == held

    def test_a_multi_value_field_keeps_its_values_apart(self, strict: Fields) -> None:
        strict.create({"name": "tags", "type": "STRING", "multiValueFacet": True})
        assert strict.raw(tags=["a", "b"])["tags"] == ["a", "b"]
        assert strict.remote.uris("@tags==b") == ["http://x/1"]

    def test_a_dictionary_field_takes_objects(self, strict: Fields) -> None:
        path = f"{strict.remote.shared}?documentId=http://x/1"
        assert strict.remote.client.put(path, json={"stock": {"m": 1}}).status_code == 400
        strict.create({"name": "stock", "type": "STRING", "keyValue": True})
        assert strict.raw(stock={"m": 1})["stock"] == {"m": 1}


class TestMappings:
    def test_none_at_first(self, fields: Fields) -> None:
        answer = fields.remote.client.get(fields.mappings)
        assert answer.json() == {"common": {"rules": []}, "types": []}
        assert fields.remote.client.get(f"{fields.remote.platform}/sources/nope/mappings").status_code == 404

    def test_they_are_replaced_whole(self, strict: Fields) -> None:
        body = {
            "common": {"rules": [{"field": "author", "content": ["%[writer]", "%[editor]"]}]},
            "types": [{"type": "Video", "rules": [{"field": "author", "content": ["%[director]"]}]}],
        }
        answer = strict.remote.client.put(f"{strict.mappings}?rebuild=true", json=body)
        assert answer.status_code == 200
        shown = strict.remote.client.get(strict.mappings).json()
        assert shown == answer.json()
        assert shown["common"]["rules"][0]["id"]
        assert shown["types"][0]["id"] == "Video"
        assert strict.raw(writer="W", editor="E")["author"] == "W"
        assert strict.raw(editor="E")["author"] == "E"
        assert strict.raw(writer="W", director="D", objecttype="video")["author"] == "D"
        assert strict.raw(writer="W", objecttype="video")["author"] == "W"

    @pytest.mark.parametrize("key", ["objecttype", "documenttype", "filetype"])
    def test_what_says_the_type_of_an_item(self, start: Start, key: Any) -> None:
        fields = Fields(start(fields="strict", doubts=Doubts(mapping_type_key=key)))
        assert fields.rule("types/Video", "author", "%[director]").status_code == 201
        assert fields.raw(director="D", **{key: "Video"})["author"] == "D"

    def test_rules_are_added(self, strict: Fields) -> None:
        added = strict.rule("common", "title", "%[name] by %[Author]", "nameless")
        assert (added.status_code, added.json()["field"]) == (201, "title")
        assert strict.remote.client.get(f"{strict.mappings}/common/rules").json() == [added.json()]
        assert strict.raw(name="Book", author="Ann")["title"] == "Book by Ann"
        assert strict.raw(color="red")["title"] == "nameless"
        strict.rule("types/Video", "author", "%[director]")
        assert len(strict.remote.client.get(f"{strict.mappings}/types/Video/rules").json()) == 1
        assert strict.remote.client.get(f"{strict.mappings}/types/Nope/rules").status_code == 404

    def test_they_count_in_a_permissive_index_too(self, fields: Fields) -> None:
        fields.rule("common", "author", "%[writer]")
        raw = fields.raw(writer="W", color="red")
        assert (raw["author"], raw["color"]) == ("W", "red")

    @pytest.mark.parametrize(
        "rule", [{}, {"field": "nope", "content": ["x"]}, {"field": "title"}, {"field": "title", "content": [5]}, []]
    )
    def test_bad_rules(self, fields: Fields, rule: Any) -> None:
        assert fields.remote.client.post(f"{fields.mappings}/common/rules", json=rule).status_code == 400
        for body in ({"common": {"rules": [rule]}}, {"types": [{"rules": []}]}, {"types": {}}):
            assert fields.remote.client.put(fields.mappings, json=body).status_code == 400

    def test_items_pushed_before_need_another_push(self, strict: Fields) -> None:
        """A source that is pushed to cannot rebuild itself (push-api.md 7, 14)."""
        strict.raw(writer="W")
        strict.remote.clock.advance(1)
        strict.rule("common", "author", "%[writer]")
        source = f"{strict.remote.platform}/sources/shared"
        assert strict.remote.client.get(source).json()["information"]["rebuildRequired"] is True
        assert strict.raw(writer="W")["author"] == "W"
        assert strict.remote.client.get(source).json()["information"]["rebuildRequired"] is False
        other = strict.remote.client.get(f"{strict.remote.platform}/sources/{SOURCE}").json()
        assert other["information"]["rebuildRequired"] is False
