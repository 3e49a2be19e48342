"""The OpenAPI 3.1 document, made of the endpoint table. Knows no endpoint by name.

What a row does not say itself, its `doc` does (described.py); what a body may be comes
from the schema that reads it. Built once: it depends on nothing that changes.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields

from jobengine._version import __version__
from jobengine.api import forms
from jobengine.api.described import JSON_KIND, Answer, Doc, Parameter
from jobengine.api.endpoint import Endpoint
from jobengine.api.exchange import PROBLEM
from jobengine.api.refusals import Refusal, refusals
from jobengine.api.v2_shapes import Problem, Shape, example
from jobengine.api.v2_words import INNER, INNER_MANY, MEMBERS, PATH

OPENAPI = "3.1.0"

ABOUT = """\
Queues of jobs between services. A service queues a job; another claims it, works at it
and completes it, or lets it be tried again.

Every request but those of Health says who calls, in the header `X-Name`. Who has no
right on a queue is told that there is none. Every refusal is a problem document (RFC
9457), told by its `code`; this document names them all. Times are RFC 3339 in UTC,
durations whole milliseconds. Every answer carries `X-Request-Id`. Answers may have more
members with time.
"""

# What a field of ours is in JSON Schema. A payload is a field of any JSON too: the
# nearest class counts.
_SCHEMAS: Mapping[type[fields.Field[Any]], dict[str, Any]] = {
    forms.Payload: {"type": "object"},
    forms.AnyJson: {},
    forms.Flag: {"type": "boolean"},
    forms.Instant: {"type": "string", "format": "date-time"},
    forms.Real: {"type": "number"},
}

Tree = dict[str, Any]


def document(rows: Iterable[Endpoint]) -> Tree:
    """The document of these rows. Those without a `doc` are left out."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name)
    spec = APISpec(
        title="JobEngine",
        version=__version__,
        openapi_version=OPENAPI,
        plugins=[plugin],
        info={"description": ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
    )
    assert plugin.converter is not None, "made with the document"
    plugin.converter.add_attribute_function(_member)  # type: ignore[no-untyped-call]
    spec.components.security_scheme(
        "service",
        {
            "type": "apiKey",
            "in": "header",
            "name": "X-Name",
            "description": "The service that calls.",
        },
    )
    pages = [(row, row.doc) for row in rows if row.doc is not None]
    _put_problems(spec, (row for row, _ in pages))
    paths: dict[str, Tree] = defaultdict(dict)
    for row, doc in pages:
        paths[row.path][row.method.lower()] = _operation(row, doc)
    for path, operations in paths.items():
        spec.path(path, operations=operations, parameters=_in_path(path))
    for name in dict.fromkeys(doc.tag for _, doc in pages):
        spec.tag({"name": name})
    return spec.to_dict()


def _operation(row: Endpoint, doc: Doc) -> Tree:
    needs = "" if row.dialect.open else f"Needs: {doc.needs}."
    told = " ".join((row.route.__doc__ or "").partition("\n\n")[2].split())
    found: Tree = {
        "operationId": row.route.__name__,
        "summary": row.summary.rstrip("."),
        "description": " ".join(filter(None, (told, needs))),
        "tags": [doc.tag],
        "security": [] if row.dialect.open else [{"service": []}],
        "parameters": [_parameter(each) for each in doc.parameters],
        "responses": {
            **{str(status): _answer(each) for status, each in doc.answers.items()},
            **dict(_refusals(row, doc)),
        },
    }
    if row.form is not None:
        found["requestBody"] = _body(row.form, doc)
    return {name: part for name, part in found.items() if part or name == "security"}


# --- requests ---------------------------------------------------------------------


def _in_path(path: str) -> list[Tree]:
    return [_parameter(PATH[name]) for name in re.findall(r"{(\w+)}", path)]


def _parameter(said: Parameter) -> Tree:
    found: Tree = {
        "name": said.name,
        "in": said.place,
        "description": said.says,
        "required": said.required,
        "schema": dict(said.schema),
    }
    if said.schema.get("type") == "array":
        # One parameter, its words parted by commas.
        found |= {"style": "form", "explode": False}
    if said.example is not None:
        found["example"] = said.example
    return found


def _body(form: forms.Form, doc: Doc) -> Tree:
    many = isinstance(form, forms.Many)
    schema = {"type": "array", "items": form.schema} if many else form.schema
    content: Tree = {"schema": schema}
    if doc.body is not None:
        content["example"] = doc.body
    return {"required": not form.optional, "content": {JSON_KIND: content}}


# --- answers ----------------------------------------------------------------------


def _answer(said: Answer) -> Tree:
    found: Tree = {"description": said.says}
    if said.headers:
        found["headers"] = {
            name: {"description": says, "schema": {"type": "string"}}
            for name, says in said.headers
        }
    if said.schema is not None:
        shown = said.example or example(said.schema)
        found["content"] = {said.kind: {"schema": said.schema, "example": shown}}
    elif said.kind != JSON_KIND:
        text = {"schema": {"type": "string"}, "example": said.example}
        found["content"] = {said.kind: text}
    return found


def _refusals(row: Endpoint, doc: Doc) -> Iterator[tuple[str, Tree]]:
    """By status: the one problem it may stand for, or a choice of them."""
    by_status: dict[int, list[Refusal]] = defaultdict(list)
    for each in refusals(row, doc):
        by_status[each.status].append(each)
    for status, choice in sorted(by_status.items()):
        yield str(status), _choice(choice)


def _choice(choice: list[Refusal]) -> Tree:
    if len(choice) == 1:
        return {"$ref": f"#/components/responses/{choice[0].name}"}
    told = "\n".join(f"- `{each.code}`: {each.says}" for each in choice)
    shown = {
        each.code: {"$ref": f"#/components/examples/{each.name}"} for each in choice
    }
    return _problem(told, {"examples": shown})


def _put_problems(spec: APISpec, rows: Iterable[Endpoint]) -> None:
    """Every problem that a row may answer, by its name."""
    there = {
        each.name: each
        for row in rows
        if row.doc is not None
        for each in refusals(row, row.doc)
    }
    for name, each in sorted(there.items()):
        spec.components.example(
            name, {"summary": each.says, "value": _problem_example(each)}
        )
        told = f"`{each.code}`: {each.says}"
        shown = {each.code: {"$ref": f"#/components/examples/{name}"}}
        spec.components.response(name, _problem(told, {"examples": shown}))


def _problem(told: str, examples: Tree) -> Tree:
    return {
        "description": told,
        "content": {PROBLEM: {"schema": Problem, **examples}},
    }


def _problem_example(said: Refusal) -> Tree:
    return {
        "type": "/problems/" + said.code.replace("_", "-"),
        "title": said.code.replace("_", " ").capitalize(),
        "status": said.status,
        "detail": said.says,
        "instance": "5f2b1c0a9d8e4f6b8a7c6d5e4f3a2b1c",
        "code": said.code,
    }


# --- schemas ----------------------------------------------------------------------


def _name(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__


def _member(converter: Any, field: Any, **_: Any) -> Tree:
    """What is said of a member of a body besides what its field does."""
    said = _nullable(_type(field), field)
    if not isinstance(field.parent, Schema) or isinstance(field.parent, Shape):
        return said
    own = f"{type(field.parent).__name__}.{field.name}"
    words = MEMBERS.get(own) or MEMBERS.get(field.name, {})
    if field.name not in INNER:
        return said | words
    inner = converter.resolve_nested_schema(INNER[field.name])
    many = field.name in INNER_MANY
    return words | ({"type": "array", "items": inner} if many else inner)


def _type(field: Any) -> Tree:
    """What a field of forms.py is in JSON Schema."""
    kinds = type(field).__mro__
    return next((dict(_SCHEMAS[kind]) for kind in kinds if kind in _SCHEMAS), {})


def _nullable(schema: Tree, field: Any) -> Tree:
    if field.allow_none and "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return schema
