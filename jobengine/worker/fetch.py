"""Takes jobs of one queue, as many as there are permits for. One thread a queue, so
that a queue that is full, or slow to answer, holds up no other (SQ-B9).
"""

import logging
from collections.abc import Callable

from jobengine.client.client import Client
from jobengine.client.jobs import Job
from jobengine.client.retry import reconnect_s
from jobengine.errors import JobEngineError
from jobengine.worker.permits import Permits

# How long one request waits for a job: shorter than what lies between us and the daemon
# may cut.
POLL_S = 30
# Jobs of one request, as the daemon gives them.
CLAIM_MAX = 1000
log = logging.getLogger("jobengine.worker")


class Fetcher:
    """*client* asks for what is there; *polls* waits for a job, until it is interrupted
    at the end. *take* begins what was claimed; *put_back* releases what cannot be;
    *sleep* waits so many seconds, and says whether there is to be no more."""

    def __init__(
        self,
        client: Client,
        polls: Client,
        queue: str,
        permits: Permits,
        *,
        take: Callable[[list[Job]], None],
        put_back: Callable[[list[Job]], None],
        sleep: Callable[[float], bool],
        share: Callable[[], float],
    ) -> None:
        self._client = client
        self._polls = polls
        self._queue = queue
        self._permits = permits
        self._take = take
        self._put_back = put_back
        self._sleep = sleep
        self._share = share
        self._trouble = ""  # what was logged last
        self._tried = 0

    def run(self) -> None:
        """Take jobs until there are no permits any more."""
        while True:
            try:
                if not self._fetch():
                    return
            except JobEngineError as error:
                # At the end it is interrupted, and that is no trouble.
                if self._sleep(0) or self._sleep(self._rest(error)):
                    return
            else:
                self._recovered()

    def _fetch(self) -> bool:
        """Take what is there, or wait for a job; False when it is over."""
        count = self._permits.take(self._queue, CLAIM_MAX)
        if not count:
            return False
        jobs: list[Job] = []
        try:
            jobs = self._client.claim(self._queue, max=count)
        finally:
            if len(jobs) < count:
                self._permits.give_back(self._queue, count - len(jobs))
        if jobs:
            self._take(jobs)
            return True
        # There is nothing. Who waits holds no permit: others may need it.
        jobs = self._polls.claim(self._queue, max=1, wait=POLL_S)
        if jobs and self._permits.try_one(self._queue):
            self._take(jobs)
        elif jobs:
            self._put_back(jobs)
            return self._permits.wait(self._queue)
        return True

    def _rest(self, error: JobEngineError) -> float:
        """How long to wait after this one. It is said once."""
        # Of the daemon's own words some change each time.
        if error.code != self._trouble:
            self._trouble = error.code
            log.warning("queue %s: no jobs for now: %s", self._queue, error)
        self._tried += 1
        return reconnect_s(error, tried=self._tried, share=self._share())

    def _recovered(self) -> None:
        if self._trouble:
            log.info("queue %s: jobs again", self._queue)
        self._trouble, self._tried = "", 0
