"""What carries the requests of a test: Flask's own client, or the event loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

from flask import Flask
from serving import Client, Heard, Serving, Settings, request

from jobengine.api.app import create_app
from jobengine.api.health import Status
from jobengine.build import House

CARRIERS = ["flask", "loop"]


class Site:
    """A daemon that is asked over a carrier."""

    house: House
    settings: Settings

    def carry(
        self, method: str, path: str, fields: dict[str, str], data: bytes
    ) -> Heard:
        raise NotImplementedError


T = TypeVar("T", bound=Site)


class ByFlask(Site):
    """Over Flask's client."""

    @cached_property
    def app(self) -> Flask:
        return create_app(self.house, self.settings, Status())

    def carry(
        self, method: str, path: str, fields: dict[str, str], data: bytes
    ) -> Heard:
        client = self.app.test_client()
        answer = client.open(path, method=method, headers=fields, data=data)
        found = {name.lower(): text for name, text in answer.headers.items()}
        return Heard(answer.status_code, found, answer.data)


class ByLoop(Site):
    """Over one connection, so that heads that were sent before are known by heart."""

    connection: Client | None = None

    @cached_property
    def serving(self) -> Serving:
        return Serving(self.house, self.settings)

    def carry(
        self, method: str, path: str, fields: dict[str, str], data: bytes
    ) -> Heard:
        self.connection = self.connection or self.serving.connect()
        lines = [f"{name}: {text}" for name, text in fields.items()]
        said = request(method, path, "", *lines, body=data)
        return self.connection.say(said).hear(head=method == "HEAD")


@contextmanager
def open_site(site: T) -> Iterator[T]:
    """The site while it can be asked."""
    if not isinstance(site, ByLoop):
        yield site
        return
    with site.serving:
        yield site
        if site.connection is not None:
            site.connection.close()
