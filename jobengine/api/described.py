"""What the OpenAPI document says of an endpoint besides its row: plain data.

Knows no endpoint and no rule: what stands here is for readers and for generators of
clients, and nothing is done by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from marshmallow import Schema

from jobengine.errors import JobEngineError

JSON_KIND = "application/json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a request may say outside of its body. `schema` is JSON Schema."""

    name: str
    says: str
    schema: Mapping[str, Any]
    example: Any = None
    place: Literal["query", "header", "path"] = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One status that is no refusal. Without a `schema` it has no content.

    `headers` are names and what they say.
    """

    says: str
    schema: Schema | None = None
    headers: tuple[tuple[str, str], ...] = ()
    example: Any = None
    kind: str = JSON_KIND


@dataclass(frozen=True, slots=True)
class Doc:
    """What there is to say of one operation.

    `needs` is the right in words. `refusals` are what it answers besides what every
    operation of its kind does; `body` is an example of what it takes.
    """

    tag: str
    needs: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    refusals: tuple[type[JobEngineError], ...] = ()
    body: Any = None
