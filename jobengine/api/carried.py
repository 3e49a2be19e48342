"""Flask as a carrier: its requests to what a route is given, replies to its responses.

Knows no endpoint. Any WSGI server with threads will do; under the event loop the
environment says so, and nothing here blocks.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from flask import Flask, Request, Response, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.routing import Map, Rule

from jobengine.api.endpoint import Desk, Endpoint
from jobengine.api.exchange import Reply, Sent
from jobengine.api.forms import Form
from jobengine.api.query import none
from jobengine.errors import Refused

T = TypeVar("T")

_JSON = "application/json"

# Where a server that must not be held up leaves a Passage.
PASSAGE = "jobengine.passage"


class Passage:
    """What passes between the event loop and a view besides the response."""

    def __init__(self, *, again: bool = False) -> None:
        self.again = again  # it has its place among those who wait already
        self.reply: Reply | None = None  # of the view, where it came to one
        self.path = ""  # of the view's row

    @property
    def waits(self) -> bool:
        """Whether there is nothing to be said yet."""
        return self.reply is not None and self.reply.wait is not None


class WrongType(Refused):
    """The request says that its body is not JSON."""

    code = "wrong_content_type"


class UnwantedBody(Refused):
    """The request has a body that nobody reads."""

    code = "unwanted_body"


class Carried:
    """One of Flask's requests. See exchange.Asked."""

    def __init__(self, desk: Desk, request: Request) -> None:
        self._desk = desk
        self._request = request
        self._body: bytes | None = None  # once it was read

    @property
    def peer(self) -> str | None:
        return self._request.remote_addr

    @property
    def query(self) -> str:
        return self._request.query_string.decode("latin-1")

    def header(self, name: str) -> str | None:
        return self._request.headers.get(name)

    def header_names(self) -> Iterable[str]:
        return (name for name, _ in self._request.headers)

    def once(self, read: Callable[[Any, Sent], T]) -> T:
        return read(self._desk, self)

    def body(
        self,
        form: Form,
        *,
        first: Callable[[], object] = lambda: None,
        then: Callable[[], object] = lambda: None,
    ) -> Any:
        """JSON where a type is named, D24."""
        first()
        if says_json(self) or (form.optional and not self.raw()):
            return form.read(self.raw(), then=then)
        raise WrongType(f"the body must be JSON: send Content-Type: {_JSON}")

    def raw(self) -> bytes:
        if self._body is None:
            self._body = _read(self._request, self._desk)
        return self._body


def says_json(sent: Sent) -> bool:
    """Whether the body is JSON by its name, or by having none."""
    kinds = [
        (sent.header(name) or "").partition(";")[0].strip().lower()
        for name in ("Content-Type", "X-Content-Type")
    ]
    return _JSON in kinds or not any(kinds)


def mount(app: Flask, desk: Desk, rows: dict[str, Endpoint]) -> None:
    """Make every row a rule of *app*."""
    app.wsgi_app = _raw_path(app.wsgi_app)  # type: ignore[method-assign]
    shapes = ((row.name, row.method, row.path, row.head) for row in rows.values())
    app.url_map = _url_map(tuple(shapes))
    app.view_functions = {name: _view(desk, row) for name, row in rows.items()}


@lru_cache(maxsize=8)
def _url_map(shapes: tuple[tuple[str, str, str, bool], ...]) -> Map:
    """The rules of rows, by name, method, path and whether HEAD does no harm. Making
    them takes a tenth of a second, and they are the same for all applications."""
    # A path is what it says: no redirects.
    found = Map(merge_slashes=False)
    for name, method, path, head in shapes:
        template = path.replace("{", "<").replace("}", ">")
        rule = Rule(template, endpoint=name, methods=[method])
        # Werkzeug adds HEAD to every GET; a HEAD of next would take a job and drop it.
        if rule.methods is not None and not head:
            rule.methods.discard("HEAD")
        found.add(rule)
    return found


def _raw_path(app: Callable[..., Any]) -> Callable[..., Any]:
    """The application, for which %2F in a path is no slash.

    WSGI hands over a path that is decoded already; servers show the target as it was
    sent, too. Here all of that is decoded but %2F, and %25 so that one can tell; the
    view decodes those two in its variables.
    """

    def called(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
        if raw is None or "%" in raw:
            path = _kept_apart(environ["PATH_INFO"], raw or "")
            environ = {**environ, "PATH_INFO": path}
        return app(environ, start)

    return called


_LONE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CODED = re.compile(r"%(?=2[Ff]|25)")


def _kept_apart(path: str, raw: str) -> str:
    """*path* once more, from the target, with a / or % that parts nothing encoded."""
    target = raw.partition("?")[0]
    if _decoded(target) != path:
        # It is unknown, or of a form that says more than a path.
        return path.replace("%", "%25")
    return _decoded(_CODED.sub("%25", _LONE.sub("%25", target)))


def _decoded(target: str) -> str:
    return unquote_to_bytes(target.encode("latin-1", "replace")).decode("latin-1")


def _meant(variable: str) -> str:
    """A variable of such a path, decoded to its end."""
    if "%" not in variable:
        return variable
    return variable.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")


def _view(desk: Desk, row: Endpoint) -> Callable[..., Response]:
    bare, bodiless = row.bare, row.bodiless

    def view(**coded: str) -> Response:
        variables = {name: _meant(text) for name, text in coded.items()}
        # The request itself, not Flask's stand-in for the one of this thread.
        asked = Carried(desk, request._get_current_object())  # type: ignore[attr-defined]
        if bare:
            none(asked.query)
        if bodiless and asked.raw().strip() not in (b"", b"{}"):
            raise UnwantedBody("this takes no body: what it takes is in the query")
        passage: Passage | None = request.environ.get(PASSAGE)
        reply = row.route(desk, asked, **variables)
        if passage is None:
            reply = _waited(desk, reply, lambda: row.route(desk, asked, **variables))
            return _respond(reply, (*reply.headers, *reply.commit_header()))
        if reply.wait is not None and not passage.again:
            # The loop gives it a place: here, it can still be refused one.
            most = desk.settings.limits.waiters_per_service
            desk.house.doorbell.check(reply.wait.service, most)
        passage.reply, passage.path = reply, row.path
        # Its commit may be known only once the turn has ended: the loop tells it.
        return _respond(reply, reply.headers)

    return view


def _waited(desk: Desk, reply: Reply, ask: Callable[[], Reply]) -> Reply:
    """The reply once there is no more to wait for: that holds this thread.

    Raises:
        Overloaded: too many wait already.
    """
    if reply.wait is None:
        return reply
    line, service = reply.wait.queue, reply.wait.service
    most = desk.settings.limits.waiters_per_service
    doorbell = desk.house.doorbell
    with doorbell.waiting(line, service, most) as bell:
        ends = doorbell.monotonic() + reply.wait.seconds
        while reply.wait and bell.wait(ends - doorbell.monotonic()):
            reply = ask()
    return reply


def _respond(reply: Reply, headers: Iterable[tuple[str, str]]) -> Response:
    """The reply as a response of Flask's."""
    response = Response(reply.body, reply.status, content_type=reply.kind)
    if reply.kind is None:
        # Nothing has no type; the framework would call it HTML.
        del response.headers["Content-Type"]
    for name, text in headers:
        response.headers[name] = text
    if reply.on_close is not None:
        response.call_on_close(reply.on_close)
    return response


def _read(request: Request, desk: Desk) -> bytes:
    """The whole body, chunked or not.

    Raises:
        RequestEntityTooLarge: it is larger than the settings allow.
    """
    limit = desk.settings.limits.body_bytes
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
