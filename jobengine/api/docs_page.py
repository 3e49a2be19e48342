"""The OpenAPI document and the page that shows it, for anybody. Knows no operation.

The page is made here, once, of the document alone. It runs no script and loads nothing
but its one style sheet.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobengine.api.endpoint import Desk, Dialect, Endpoint, Lane
from jobengine.api.exchange import Asked, Reply
from jobengine.api.health import HEALTH
from jobengine.api.openapi import Tree, document
from jobengine.api.v2 import V2

DOCS = Dialect("docs", open=True, switch=V2.name)

# The page is text and one style sheet of ours, and nobody may frame it.
POLICY = "; ".join(
    (
        *("default-src 'none'", "style-src 'self'", "base-uri 'none'"),
        *("frame-ancestors 'none'", "form-action 'none'"),
    )
)
_HEADERS = (("Content-Security-Policy", POLICY), ("Referrer-Policy", "no-referrer"))
_OURS = "jobengine.api"


@DOCS.endpoint("GET", "/openapi.json", statuses=(200,), lane=Lane.SLOW, head=True)
def openapi(_desk: Desk, _asked: Asked) -> Reply:
    """The OpenAPI 3.1 document of the native API."""
    return Reply(200, _document_bytes(), "application/json")


@DOCS.endpoint("GET", "/docs", statuses=(200,), lane=Lane.SLOW, head=True)
def docs(_desk: Desk, _asked: Asked) -> Reply:
    """The same as a page to read."""
    return Reply(200, _page(), "text/html; charset=utf-8", _HEADERS)


@DOCS.endpoint("GET", "/docs/page.css", statuses=(200,), lane=Lane.SLOW, head=True)
def stylesheet(_desk: Desk, _asked: Asked) -> Reply:
    """How the page looks."""
    return Reply(200, _style(), "text/css; charset=utf-8")


def described() -> Iterator[Endpoint]:
    """The rows that the document is about."""
    yield from (*V2.endpoints, *HEALTH.endpoints)


@lru_cache(1)
def _document() -> Tree:
    return document(described())


@lru_cache(1)
def _document_bytes() -> bytes:
    return json.dumps(_document(), ensure_ascii=False).encode()


@lru_cache(1)
def _style() -> bytes:
    return files(_OURS).joinpath("pages/page.css").read_bytes()


@lru_cache(1)
def _page() -> bytes:
    pages = Environment(
        loader=PackageLoader(_OURS, "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["words"] = _words
    return pages.get_template("docs.html").render(_shown(_document())).encode()


def _words(text: str) -> Markup:
    """Prose, in which code stands between backticks."""
    parts = text.split("`")
    parts[1::2] = [Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    return Markup("").join(parts)


# --- the document, as the page tells it -------------------------------------------


class Kind(NamedTuple):
    """What a value may be, in a few words, and the shapes that they name."""

    text: str
    shapes: tuple[str, ...] = ()


class Member(NamedTuple):
    """A parameter, or a member of a shape."""

    name: str
    kind: Kind
    needed: bool
    says: str


class Exchange(NamedTuple):
    """A body or an answer."""

    title: str
    says: str
    kind: Kind | None
    example: str | None


class Operation(NamedTuple):
    """One operation. `refusals` are codes by their status."""

    anchor: str
    method: str
    path: str
    summary: str
    says: str
    parameters: list[Member]
    body: Exchange | None
    answers: list[Exchange]
    refusals: list[tuple[str, list[str]]]


def _shown(whole: Tree) -> dict[str, Any]:
    parts = whole["components"]
    by_tag: dict[str, list[Operation]] = {tag["name"]: [] for tag in whole["tags"]}
    for path, item in whole["paths"].items():
        for method, said in item.items():
            if method != "parameters":
                by_tag[said["tags"][0]].append(_operation(path, method, item, parts))
    return {
        "info": whole["info"],
        "paragraphs": whole["info"]["description"].split("\n\n"),
        "sections": by_tag,
        "shapes": {n: _members(part) for n, part in sorted(parts["schemas"].items())},
        "problems": [each["value"] for each in parts["examples"].values()],
    }


def _operation(path: str, method: str, item: Tree, parts: Tree) -> Operation:
    said = item[method]
    answers, refusals = [], []
    for status, answer in said["responses"].items():
        codes = _codes(answer, parts["responses"])
        if codes:
            refusals.append((status, codes))
        else:
            answers.append(_exchange(status, answer))
    body = said.get("requestBody")
    return Operation(
        *(said["operationId"], method.upper(), path, said["summary"]),
        said.get("description", ""),
        [
            Member(each["name"], kind(each["schema"]), each["required"], _says(each))
            for each in (*item.get("parameters", ()), *said.get("parameters", ()))
        ],
        body and _exchange("Body", body),
        answers,
        refusals,
    )


def _codes(answer: Tree, responses: Tree) -> list[str]:
    """The problems that the answer may be; none where it is no refusal."""
    if "$ref" in answer:
        answer = responses[_last(answer["$ref"])]
    contents = answer.get("content", {}).values()
    return [code for content in contents for code in content.get("examples", ())]


def _exchange(title: str, said: Tree) -> Exchange:
    for content in said.get("content", {}).values():
        shown = content.get("example")
        text = shown if isinstance(shown, str) else json.dumps(shown, indent=2)
        return Exchange(title, _says(said), kind(content["schema"]), text)
    return Exchange(title, _says(said), None, None)


def _members(schema: Tree) -> list[Member]:
    needed = schema.get("required", ())
    return [
        Member(name, kind(part), name in needed, _says(part))
        for name, part in schema.get("properties", {}).items()
    ]


def _says(part: Tree) -> str:
    return str(part.get("description", ""))


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


def kind(schema: Tree) -> Kind:
    """What a value may be, of its JSON Schema."""
    if "$ref" in schema:
        return Kind("", (_last(schema["$ref"]),))
    if "anyOf" in schema:
        choice = [kind(each) for each in schema["anyOf"]]
        text = " or ".join(each.text for each in choice if each.text)
        return Kind(f"or {text}", sum((each.shapes for each in choice), ()))
    if "enum" in schema:
        return Kind("one of " + ", ".join(map(json.dumps, schema["enum"])))
    types = schema.get("type", "any JSON")
    if types == "array":
        inner = kind(schema["items"])
        return Kind(f"array of {inner.text}".strip(), inner.shapes)
    told = " or ".join(types) if isinstance(types, list) else types
    return Kind(told + _bounds(schema))


def _bounds(schema: Tree) -> str:
    if "format" in schema:
        return f", {schema['format']}"
    least, most = schema.get("minimum"), schema.get("maximum")
    return ("" if least is None else f" from {least}") + (
        "" if most is None else f" to {most}"
    )
