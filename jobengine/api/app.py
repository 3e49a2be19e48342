"""The WSGI application: every endpoint, and what holds for all of them.

Complete by itself: any server that runs it in one process, with threads, will do.
"""

from collections.abc import Callable
from time import perf_counter
from uuid import uuid4

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import NotFound

from jobengine._version import __version__
from jobengine.api import problem
from jobengine.api.carried import PASSAGE, Carried, mount
from jobengine.api.docs_page import DOCS
from jobengine.api.endpoint import Desk, House, Settings, spoken
from jobengine.api.exchange import ALWAYS
from jobengine.api.health import HEALTH, Status
from jobengine.api.identity import Unauthenticated, check_same_site
from jobengine.api.metrics import METRICS
from jobengine.api.relay import RELAY
from jobengine.api.relay_v2 import RELAY_V2
from jobengine.api.v1 import V1
from jobengine.api.v1_keys import V1_KEYS
from jobengine.api.v2 import V2
from jobengine.errors import Forbidden, QueueNotFound
from jobengine.telemetry.metrics import Meter

ENDPOINTS = {
    row.name: row
    for dialect in (V1, V1_KEYS, RELAY, RELAY_V2, V2, DOCS, HEALTH, METRICS)
    for row in dialect.endpoints
}


def new_meter(now: Callable[[], int]) -> Meter:
    """A meter of these endpoints."""
    routes = {row.path for row in ENDPOINTS.values()}
    return Meter(routes=routes, version=__version__, now=now)


def create_app(
    house: House, settings: Settings, status: Status, meter: Meter | None = None
) -> Flask:
    """The application that speaks for *house*."""
    app = Flask(__name__, static_folder=None)
    # Nobody answers OPTIONS for us (CORS).
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    desk = Desk(house, settings, status, meter or new_meter(lambda: 0))
    app.extensions["jobengine"] = desk
    mount(app, desk, {row.name: row for row in spoken(ENDPOINTS.values(), settings)})
    app.before_request(_admit)
    app.after_request(_mark)
    app.register_error_handler(Exception, _refuse)
    return app


def use_settings(app: Flask, settings: Settings) -> None:
    """Answer the next request by *settings*: for a reload."""
    app.extensions["jobengine"].settings = settings


def _desk() -> Desk:
    desk: Desk = current_app.extensions["jobengine"]
    return desk


def _admit() -> None:
    """What comes before every route."""
    g.request_id = uuid4().hex
    g.began = perf_counter()
    row = ENDPOINTS.get(request.endpoint or "")
    if row is None or not row.dialect.open:
        check_same_site(Carried(_desk(), request))
    try:
        request.environ["PATH_INFO"].encode("latin-1").decode()
    except UnicodeDecodeError:
        # The framework would take it for another path, that says U+FFFD.
        raise NotFound from None


def _mark(response: Response) -> Response:
    """What comes after every answer."""
    response.headers.update(ALWAYS)
    response.headers["X-Request-Id"] = g.request_id
    passage = request.environ.get(PASSAGE)
    if passage is not None and passage.waits:
        return response  # whoever has it wait counts it, once
    row = ENDPOINTS.get(request.endpoint or "")
    took = perf_counter() - g.began
    path = row.path if row else ""
    _desk().meter.answered((path, request.method, response.status_code, took))
    return response


# Refusals for want of a right or of a proof: who has no right to a queue is told that
# there is none.
DENIALS = (Forbidden, QueueNotFound, Unauthenticated)


def _refuse(error: Exception) -> Response:
    row = ENDPOINTS.get(request.endpoint or "")
    statuses = row.dialect.statuses if row else {}
    if isinstance(error, DENIALS):
        named = request.headers.get
        queue = (request.view_args or {}).get("queue") or named("X-Queue", "")
        _desk().meter.denied(queue, named("X-Name", ""))
    return problem.answer(error, statuses=statuses, request_id=g.request_id)
