"""Where the microseconds of a request go: its parts, one by one, on one thread.

Everything but the sockets, the parser's first look at a head, and the syncs: the file
is real, but nobody waits for the disk.
"""

import os
import statistics
from collections.abc import Callable
from pathlib import Path
from time import process_time

from bench import engine
from bench.table import progress
from jobengine.api.app import ENDPOINTS, create_app
from jobengine.api.exchange import JSON, Reply
from jobengine.api.health import Status
from jobengine.api.lane import Head, HotLane, Incoming
from jobengine.api.v1 import _NEW, render
from jobengine.daemon.heads import Heads
from jobengine.daemon.settings import preview
from jobengine.daemon.wire import Wire
from jobengine.daemon.wsgi import Gateway
from jobengine.store.journal.records import encode

BODY = b'{"content":%b,"valid_for":86400,"priority":50}' % engine.PAYLOAD
FIELDS = [
    *(b"host", b"127.0.0.1", b"x-name", b"bench", b"x-queue", b"bench"),
    *(b"content-type", b"application/json"),
]
HEAD = b"".join(
    b"%b: %b\r\n" % (FIELDS[at], FIELDS[at + 1]) for at in range(0, len(FIELDS), 2)
)
CREATE = b"PUT /api/v1/jobs/create HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (
    *(HEAD, len(BODY), BODY),
)
# Times of one block; as many as this share a commit, as in a turn of 32 clients.
BLOCK, GROUP = 960, 32

Part = Callable[[], object]


class Bench:
    """A house whose disk is quick, and all that answers for it."""

    def __init__(self, folder: Path) -> None:
        config = folder / "profile.yml"
        config.write_text("queues: {bench: {read: [bench], write: [bench]}}\n")
        settings = preview(os.environ, config)
        self.house = engine.open_at(folder / "profile.queuedb")
        app = create_app(self.house, settings, Status())
        self.lane = HotLane(app.extensions["jobengine"], ENDPOINTS.values())
        self.heads, self.wire = Heads(), Wire()
        self.gateway = Gateway(app, ("127.0.0.1", "6010"), "http")
        self.committer = self.house.store.take_turns(lambda: None)
        self.house.store.journal._tail.file.sync = lambda: None  # type: ignore[union-attr]
        asked = self.asked()
        assert self.lane.answer(asked) is not None
        self.heads.remember(CREATE, asked)
        self.job = self.house.engine.enqueue(engine.CALLER, engine.NAME, engine.NEW)
        self.reply = Reply(201, render(self.job), JSON)

    def asked(self) -> Incoming:
        """A create as the parser gives it."""
        length = {b"content-length": b"%d" % len(BODY)}
        head = Head(b"PUT", b"/api/v1/jobs/create", FIELDS, length, "127.0.0.1")
        return Incoming(head, BODY)

    def known(self) -> Incoming:
        """The same where the head is known."""
        found = self.heads.recall(CREATE, "127.0.0.1")
        assert found is not None
        return found

    def parts(self) -> dict[str, Part]:
        """What there is to be measured, by what it is."""
        known, house = self.known(), self.house
        return {
            "Flask: a create, all in all": lambda: self.gateway.answer(self.asked()),
            "hot lane: a create, all in all": self._whole,
            "- find the head among those known": self.known,
            "- read and check the body": lambda: _NEW.glance(BODY),
            "- enqueue: rights, row, indexes": lambda: house.engine.enqueue(
                engine.CALLER, engine.NAME, engine.NEW
            ),
            "- all that the lane does of these": lambda: self.lane.answer(known),
            "- the row as bytes of a frame": lambda: encode([(None, self.job)]),
            "- the answer as bytes": lambda: self._said(self.reply),
            "hot lane: a claim": lambda: house.engine.claim(engine.CALLER, engine.NAME),
        }

    def _whole(self) -> None:
        reply = self.lane.answer(self.known())
        assert reply is not None
        self._said(reply)

    def _said(self, reply: Reply) -> bytes:
        return self.wire.reply(reply, "1.1", close=False)


def main(folder: Path, rounds: int, _seconds: float) -> None:
    """Print the parts: medians of the rounds, in microseconds of this process."""
    bench = Bench(folder)
    parts = bench.parts()
    found: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds):
        progress(f"profile, round {number + 1} of {rounds}")
        for name, part in parts.items():
            found[name].append(_microseconds(part, bench.committer.commit))
    print("\nmicroseconds of the processor (least and most)")
    for name, each in found.items():
        middle = statistics.median(each)
        print(f"  {name:<50}{middle:>8.1f}  ({min(each):.1f} to {max(each):.1f})")
    bench.house.close()


def _microseconds(part: Part, commit: Callable[[], object]) -> float:
    """Of one *part*, with its share of a commit."""
    began = process_time()
    for _ in range(BLOCK // GROUP):
        for _ in range(GROUP):
            part()
        commit()
    return (process_time() - began) / BLOCK * 1e6
