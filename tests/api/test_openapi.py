"""The OpenAPI document says all that the table does; the page shows all of it."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from jobengine.api.docs_page import DOCS, POLICY, described
from jobengine.api.endpoint import Endpoint
from jobengine.api.forms import Form
from jobengine.api.health import HEALTH
from jobengine.api.openapi import document
from jobengine.api.v2 import V2
from jobengine.api.v2_words import INNER, MEMBERS, PATH

ROWS = list(described())
DOCUMENT = document(ROWS)


def operation(row: Endpoint) -> Any:
    return DOCUMENT["paths"][row.path][row.method.lower()]


def row_id(row: Endpoint) -> str:
    return f"{row.method} {row.path}"


# --- the document -----------------------------------------------------------------


def test_it_is_openapi_3_1_and_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()

    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_endpoint_of_the_native_api_and_of_health_is_in_it() -> None:
    there = {
        f"{method.upper()} {path}"
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method != "parameters"
    }

    assert there == {row_id(row) for row in (*V2.endpoints, *HEALTH.endpoints)}


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_every_status_of_a_row_is_in_it(row: Endpoint) -> None:
    assert row.doc is not None
    told = {int(status) for status in operation(row)["responses"]}

    # What the row says is its own answers, and may be of refusals.
    assert set(row.statuses) <= told
    assert {s for s in row.doc.answers if s < 400} <= set(row.statuses)


def test_the_name_of_an_operation_is_its_own() -> None:
    names = Counter(operation(row)["operationId"] for row in ROWS)

    assert set(names.values()) == {1}
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", name) for name in names)


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_every_operation_says_what_it_is_and_who_may(row: Endpoint) -> None:
    said = operation(row)

    assert said["summary"]
    assert said["tags"]
    assert said["security"] == ([] if row.dialect is HEALTH else [{"service": []}])
    assert row.dialect is HEALTH or "Needs: " in said["description"]


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_every_body_has_an_example(row: Endpoint) -> None:
    said = operation(row)
    contents = [
        content
        for part in (said.get("requestBody", {}), *said["responses"].values())
        for content in part.get("content", {}).values()
    ]

    assert ("requestBody" in said) == (row.form is not None)
    assert all("example" in each or each["examples"] for each in contents)


@pytest.mark.parametrize("row", [row for row in ROWS if row.form], ids=row_id)
def test_the_example_of_a_body_is_one_that_is_read(row: Endpoint) -> None:
    assert row.form is not None
    (content,) = operation(row)["requestBody"]["content"].values()

    row.form.read(json.dumps(content["example"]).encode())


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_the_example_of_an_answer_is_one_that_may_be(row: Endpoint) -> None:
    contents = [
        content
        for said in operation(row)["responses"].values()
        for content in said.get("content", {}).values()
        if "example" in content
    ]

    for content in contents:
        whole = {**content["schema"], "components": DOCUMENT["components"]}
        Draft202012Validator(whole).validate(content["example"])


def test_every_parameter_of_a_path_is_told() -> None:
    named = {name for row in ROWS for name in re.findall(r"{(\w+)}", row.path)}

    assert named == set(PATH)
    assert all(each.required for each in PATH.values())


def forms() -> Iterator[Form]:
    for row in ROWS:
        if row.form is not None:
            yield row.form


def test_every_member_of_a_body_is_told() -> None:
    schemas = [form.schema for form in forms()] + [kind() for kind in INNER.values()]
    members = {
        (type(schema).__name__, name) for schema in schemas for name in schema.fields
    }

    silent = {
        f"{body}.{name}"
        for body, name in members
        if f"{body}.{name}" not in MEMBERS and name not in MEMBERS
    }
    assert silent == set()


def test_every_problem_is_shown_with_its_code_and_status() -> None:
    shown = DOCUMENT["components"]["examples"]

    assert {"job_not_found.404", "duplicate_job.409", "storage_full.507"} <= set(shown)
    for name, said in shown.items():
        problem = said["value"]
        assert name == f"{problem['code']}.{problem['status']}"
        assert problem["detail"]


def test_headers_that_change_what_is_done_are_told_where_they_do() -> None:
    told = {
        (parameter["name"], operation(row)["operationId"])
        for row in ROWS
        for parameter in operation(row).get("parameters", [])
        if parameter["in"] == "header"
    }

    assert {
        ("Idempotency-Key", "enqueue_job"),
        ("Idempotency-Key", "create_schedule"),
        ("If-Match", "patch_job"),
        ("If-None-Match", "get_job"),
        ("Prefer", "claim_jobs"),
        ("traceparent", "enqueue_job"),
    } <= told


# --- the routes -------------------------------------------------------------------


def test_it_is_shown_to_anybody(api: Any) -> None:
    answer = api.ask("GET", "/openapi.json")

    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert answer.json == json.loads(json.dumps(DOCUMENT))


@pytest.mark.parametrize("path", [row.path for row in DOCS.endpoints])
def test_without_the_native_api_it_is_not_there(
    new_api: Callable[..., Any], path: str
) -> None:
    api = new_api(dialects=frozenset({"v1"}))

    assert api.ask("GET", path).status_code == 404


def test_whatever_else_is_switched_off_it_is_there(
    new_api: Callable[..., Any],
) -> None:
    api = new_api(dialects=frozenset({"v2"}))

    assert api.ask("GET", "/openapi.json").status_code == 200


# --- the page ---------------------------------------------------------------------


class Page(HTMLParser):
    """What a page points to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.links: set[str] = set()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: text or "" for name, text in attrs}
        self.tags.add(tag)
        if "id" in said:
            self.ids[said["id"]] += 1
        if tag == "a":
            self.links.add(said["href"])
        if tag == "link":
            self.loaded.append(said["href"])
        self.inline += [n for n in said if n == "style" or n.startswith("on")]


@pytest.fixture(scope="module")
def page(new_api: Callable[..., Any]) -> Page:
    return Page(new_api().ask("GET", "/docs").text)


def test_the_page_runs_nothing_and_loads_its_style_alone(api: Any, page: Page) -> None:
    answer = api.ask("GET", "/docs")

    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert POLICY.startswith("default-src 'none'; style-src 'self'")
    assert page.loaded == ["/docs/page.css"]
    assert page.tags.isdisjoint({"script", "style", "img", "iframe", "form"})
    assert page.inline == []


def test_the_style_of_the_page_is_there_and_points_nowhere(api: Any) -> None:
    answer = api.ask("GET", "/docs/page.css")

    assert answer.status_code == 200
    assert answer.content_type == "text/css; charset=utf-8"
    assert "url(" not in answer.text
    assert "prefers-color-scheme: dark" in answer.text


def test_every_link_of_the_page_leads_somewhere(page: Page) -> None:
    inner = {link[1:] for link in page.links if link.startswith("#")}

    assert inner <= set(page.ids)
    assert page.links - {f"#{name}" for name in inner} == {"/openapi.json"}
    assert max(page.ids.values()) == 1


def test_the_page_shows_every_operation_shape_and_problem(page: Page) -> None:
    parts = DOCUMENT["components"]

    assert {operation(row)["operationId"] for row in ROWS} <= set(page.ids)
    assert {f"shape.{name}" for name in parts["schemas"]} <= set(page.ids)
    assert set(parts["examples"]) <= set(page.ids)
