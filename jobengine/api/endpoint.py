"""The endpoint table: one row a route. Knows no dialect, and not who carries requests.

A route is a function of the desk and what is asked, and has three acts: read, call,
write. All else that there is to know about it is data in its row.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Protocol

from jobengine.admin import Admin
from jobengine.api.described import Doc
from jobengine.api.exchange import Reply
from jobengine.api.forms import Form
from jobengine.api.identity import Trust
from jobengine.api.problem import Statuses
from jobengine.doorbell import Doorbell
from jobengine.engine import Engine
from jobengine.errors import Overloaded
from jobengine.schedules import Schedules
from jobengine.store.port import Store
from jobengine.telemetry.metrics import Meter

if TYPE_CHECKING:
    from jobengine.api.health import Status

# A listing holds a reference to every job of its queue while a client reads it.
LISTINGS_MAX = 2


class House(Protocol):
    """What the API needs of the house it speaks for."""

    @property
    def engine(self) -> Engine: ...
    @property
    def admin(self) -> Admin: ...
    @property
    def schedules(self) -> Schedules: ...
    @property
    def store(self) -> Store: ...
    @property
    def doorbell(self) -> Doorbell: ...
    @property
    def room(self) -> str: ...


class Limits(Protocol):
    """What a request may ask for."""

    @property
    def body_bytes(self) -> int: ...
    @property
    def wait_seconds(self) -> int: ...
    @property
    def waiters_per_service(self) -> int: ...


class Relay(Protocol):
    """What the relay dialect needs of the settings."""

    @property
    def service(self) -> str | None: ...
    @property
    def next_shape(self) -> str: ...


class Settings(Trust, Protocol):
    """What the API needs of the settings."""

    @property
    def limits(self) -> Limits: ...
    @property
    def relay(self) -> Relay: ...
    @property
    def dialects(self) -> frozenset[str]: ...


@dataclass(slots=True)
class Desk:
    """What every route may use. A reload swaps `settings` whole."""

    house: House
    settings: Settings
    status: "Status"
    meter: Meter
    listings: BoundedSemaphore = field(
        default_factory=lambda: BoundedSemaphore(LISTINGS_MAX)
    )

    @property
    def engine(self) -> Engine:
        return self.house.engine

    def begin_listing(self) -> Callable[[], None]:
        """A place for a listing. What is given back gives it up: when the client has
        read it all, or has gone away.

        Raises:
            Overloaded: there is none.
        """
        if not self.listings.acquire(blocking=False):
            raise Overloaded(f"{LISTINGS_MAX} listings are under way: try again soon")
        return self.listings.release

    @contextmanager
    def listing(self) -> Iterator[None]:
        """A place for a listing that is made whole before it is answered.

        Raises:
            Overloaded: there is none.
        """
        give_up = self.begin_listing()
        try:
            yield
        finally:
            give_up()


class Lane(Enum):
    """How much work a route is: see docs/ARCHITECTURE.md, Serving."""

    HOT = "hot"
    PLAIN = "plain"
    SLOW = "slow"


Route = Callable[..., Reply]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row. `path` has its variables in braces; `statuses` are its own answers.

    `one_time`: its query, or more than one part of its path, differs from each request
    to the next. What `Asked.once` remembers knows no query then.
    """

    name: str
    method: str
    path: str
    lane: Lane
    statuses: tuple[int, ...]
    form: Form | None
    head: bool
    one_time: bool
    dialect: "Dialect"
    route: Route
    doc: Doc | None = None  # what else the OpenAPI document says of it

    @property
    def summary(self) -> str:
        return (self.route.__doc__ or "").partition("\n")[0]

    @property
    def bare(self) -> bool:
        """Whether a query is refused: its dialect is strict, and it knows none."""
        named = () if self.doc is None else self.doc.parameters
        return self.dialect.strict and all(each.place != "query" for each in named)

    @property
    def bodiless(self) -> bool:
        """Whether a body is refused: its dialect is strict, and it reads none."""
        return self.dialect.strict and self.form is None and self.method != "GET"


class Dialect:
    """Endpoints that belong together, and what refusals are on their wire.

    `open` endpoints answer anybody, web pages too: they show nothing of anybody's.
    Those that are `always` there cannot be switched off; `switch` is the name by which
    the others can, where it is not their own. `strict` ones refuse parameters that
    their `doc` does not have.
    """

    def __init__(
        self,
        name: str,
        statuses: Statuses | None = None,
        *,
        open: bool = False,
        always: bool = False,
        strict: bool = False,
        switch: str | None = None,
    ) -> None:
        self.name = name
        self.statuses = statuses or {}
        self.open = open
        self.strict = strict
        self.switch = None if always else switch or name
        self.endpoints: list[Endpoint] = []

    def endpoint(
        self,
        method: str,
        *paths: str,
        statuses: tuple[int, ...],
        lane: Lane = Lane.PLAIN,
        form: Form | None = None,
        head: bool = False,
        one_time: bool = False,
        doc: Doc | None = None,
    ) -> Callable[[Route], Route]:
        """Enter the decorated route into the table, a row for each of its paths.

        `head`: HEAD does it no harm.
        """

        def enter(route: Route) -> Route:
            name = f"{self.name}.{route.__name__}"
            taken = sum(row.route is route for row in self.endpoints)
            for number, path in enumerate(paths, taken):
                self.endpoints.append(
                    Endpoint(
                        f"{name}:{number}" if number else name,
                        *(method, path, lane, statuses, form, head, one_time),
                        *(self, route, doc),
                    )
                )
            return route

        return enter


def spoken(rows: Iterable[Endpoint], settings: Settings) -> list[Endpoint]:
    """The rows of the dialects that are not switched off."""
    on = settings.dialects
    return [r for r in rows if r.dialect.switch is None or r.dialect.switch in on]
