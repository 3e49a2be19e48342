"""From a Call to a request, and from a failure to another try: what the blocking client
and the awaiting one share. Sends nothing.
"""

import logging
from collections.abc import Mapping
from math import ceil
from random import random
from time import monotonic
from typing import Any, Self
from uuid import uuid4

from jobengine._version import __version__
from jobengine.client import environment
from jobengine.client.call import Call
from jobengine.client.environment import VARIABLES
from jobengine.client.retry import Retry, pause, worth_again
from jobengine.client.transport import Request
from jobengine.errors import (
    ConfigError,
    JobEngineError,
    StaleLease,
    Unanswered,
    Unreachable,
)

NAME_VARIABLE = VARIABLES["name"]

log = logging.getLogger("jobengine.client")

# The daemon's own bounds of `keep-answer`.
KEEP_ANSWER_S_MAX = 86_400
# Longer than anybody waits, and not longer than a socket can.
TIMEOUT_S_MAX = 86_400.0
# For clocks, and for networks that hold a request back.
KEEP_ANSWER_MARGIN_S = 60


class Asking:
    """How one client asks: as whom, and with how much patience.

    Raises:
        ConfigError: the name or the token cannot be sent, or no time is left to answer.
    """

    def __init__(
        self, name: str | None, token: str | None, retry: Retry | None, timeout: float
    ) -> None:
        if retry is not None and not isinstance(retry, Retry):
            raise ConfigError("retry must be a Retry, or None: nothing is tried again")
        if not 0 < timeout <= TIMEOUT_S_MAX:
            raise ConfigError("timeout must be more than 0 seconds, and at most a day")
        self.name = name
        self.token = token
        self.retry = retry
        self.timeout = timeout
        self._headers = _headers(name, token)
        self._posts = self._headers | {"Content-Type": "application/json"}
        # The last try begins so long after the daemon may have carried out the first.
        patience = 0.0 if retry is None else timeout + retry.total_s
        # The smaller first: patience may be without end.
        keep = ceil(min(patience + KEEP_ANSWER_MARGIN_S, KEEP_ANSWER_S_MAX))
        self._prefer = f"keep-answer={keep}"

    def request(self, call: Call[Any]) -> Request:
        """What is sent for the call, however often."""
        headers: Mapping[str, str]
        headers = self._headers if call.body is None else self._posts
        if call.headers:
            headers = {**headers, **dict(call.headers)}
            for name, text in call.headers:
                _check(f"the header {name}", text)
        if call.once and self.retry is not None:
            key = {"Idempotency-Key": uuid4().hex, "Prefer": self._prefer}
            headers = {**headers, **key}
        return Request(call.method, call.target, headers, call.body, call.wait_s)


class Asker:
    """What every client has."""

    _asking: Asking

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A client of what the variables JOBENGINE_… say, but for the *options*.

        Raises:
            ConfigError: they cannot be used.
        """
        return cls(**{**environment.told(), **options})

    @property
    def name(self) -> str | None:
        """The service as which it asks."""
        return self._asking.name


class Tries:
    """How often one call has failed, and how much patience is left."""

    def __init__(self, asking: Asking, call: Call[Any]) -> None:
        self._retry = asking.retry
        self._nameless = asking.name is None
        self._again = call.again or call.once
        self._tried = 0
        self._since = 0.0
        self._unanswered = False

    def after(self, error: JobEngineError) -> float | None:
        """How many seconds to wait before the next try; None: *error* is final."""
        if self._unanswered and isinstance(error, StaleLease):
            error.add_note("It was sent before: that may be what ended the lease.")
        if self._nameless and error.code == "bad_header":
            # The daemon knows of headers only.
            error.args = (f"{error}: give the client a name, or set {NAME_VARIABLE}",)
        if self._retry is None or not worth_again(error, again=self._again):
            return None
        now = monotonic()
        first = not self._tried
        if first:
            self._since = now
        self._tried += 1
        self._unanswered |= isinstance(error, Unanswered)
        wait = pause(
            self._retry,
            tried=self._tried,
            elapsed_s=now - self._since,
            retry_after_s=error.retry_after_s,
            share=random(),
        )
        if first and wait is not None and isinstance(error, Unreachable):
            # Else who has forgotten to start the daemon sees nothing for so long.
            log.warning("%s: tried for %g seconds more", error, self._retry.total_s)
        return wait


def _headers(name: str | None, token: str | None) -> dict[str, str]:
    found = {"User-Agent": f"jobengine/{__version__}", "Accept": "application/json"}
    if name is not None:
        _check("the name of a service", name)
        found["X-Name"] = name
    if token is not None:
        _check("the token", token)
        found["Authorization"] = f"Bearer {token}"
    return found


def _check(what: str, text: str) -> None:
    """Raises: ConfigError, where it would be another header, or none."""
    printable = isinstance(text, str) and text.isascii() and text.isprintable()
    if not (text and printable):
        raise ConfigError(f"{what} must be printable ASCII, and not empty")
