"""The endpoint table: one row a route. Knows Flask's routing, and no dialect.

A route is a function of the desk and the request, and has three acts: read, call,
write. All else that there is to know about it is data in its row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Protocol

from flask import Flask, Request, Response, request
from marshmallow import Schema
from werkzeug.exceptions import RequestEntityTooLarge

from jobengine.api.identity import Trust
from jobengine.api.problem import Statuses
from jobengine.engine import Engine
from jobengine.store.port import Store

if TYPE_CHECKING:
    from jobengine.api.health import Status

# A listing holds a reference to every job of its queue while a client reads it.
LISTINGS_MAX = 2


class House(Protocol):
    """What the API needs of the house it speaks for."""

    @property
    def engine(self) -> Engine: ...
    @property
    def store(self) -> Store: ...
    @property
    def room(self) -> str: ...


class Settings(Trust, Protocol):
    """What the API needs of the settings."""

    @property
    def body_bytes(self) -> int: ...


@dataclass(slots=True)
class Desk:
    """What every route may use. A reload swaps `settings` whole."""

    house: House
    settings: Settings
    status: "Status"
    listings: BoundedSemaphore = field(
        default_factory=lambda: BoundedSemaphore(LISTINGS_MAX)
    )

    @property
    def engine(self) -> Engine:
        return self.house.engine


class Lane(Enum):
    """How much work a route is: see docs/ARCHITECTURE.md, Serving."""

    HOT = "hot"
    PLAIN = "plain"
    SLOW = "slow"


Route = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row. `path` has its variables in braces; `statuses` are its own answers."""

    name: str
    method: str
    path: str
    lane: Lane
    statuses: tuple[int, ...]
    body: type[Schema] | None
    head: bool
    dialect: "Dialect"
    route: Route

    @property
    def summary(self) -> str:
        return (self.route.__doc__ or "").partition("\n")[0]


class Dialect:
    """Endpoints that belong together, and what refusals are on their wire.

    `open` endpoints answer anybody, web pages too: they show nothing of anybody's.
    """

    def __init__(
        self, name: str, statuses: Statuses | None = None, *, open: bool = False
    ) -> None:
        self.name = name
        self.statuses = statuses or {}
        self.open = open
        self.endpoints: list[Endpoint] = []

    def endpoint(
        self,
        method: str,
        path: str,
        *,
        statuses: tuple[int, ...],
        lane: Lane = Lane.PLAIN,
        body: type[Schema] | None = None,
        head: bool = False,
    ) -> Callable[[Route], Route]:
        """Enter the decorated route into the table. `head`: HEAD does it no harm."""

        def enter(route: Route) -> Route:
            name = f"{self.name}.{route.__name__}"
            self.endpoints.append(
                Endpoint(name, method, path, lane, statuses, body, head, self, route)
            )
            return route

        return enter


def read_body(desk: Desk, request: Request) -> bytes:
    """The whole body, chunked or not.

    Raises:
        RequestEntityTooLarge: it is larger than the settings allow.
    """
    limit = desk.settings.body_bytes
    refusal = RequestEntityTooLarge(
        f"the body is larger than {limit} bytes (limits.body_bytes in config.yml)"
    )
    if (request.content_length or 0) > limit:
        raise refusal
    # Werkzeug counts a chunked body while it reads, and at its limit stops without a
    # word. So it may read one byte too many, and that byte is what tells.
    request.max_content_length = limit + 1
    body = request.get_data(cache=False)
    if len(body) > limit:
        raise refusal
    return body


def mount(app: Flask, desk: Desk, rows: Mapping[str, Endpoint]) -> None:
    """Make every row a rule of *app*."""
    for row in rows.values():
        app.add_url_rule(
            row.path.replace("{", "<").replace("}", ">"),
            endpoint=row.name,
            view_func=_view(desk, row.route),
            methods=[row.method],
        )
    for rule in app.url_map.iter_rules():
        # Werkzeug adds HEAD to every GET; a HEAD of next would take a job and drop it.
        if rule.methods is not None and not rows[rule.endpoint].head:
            rule.methods.discard("HEAD")


def _view(desk: Desk, route: Route) -> Callable[..., Response]:
    def view(**variables: str) -> Response:
        # The request itself, not Flask's stand-in for the one of this thread.
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        return route(desk, asked, **variables)

    return view
