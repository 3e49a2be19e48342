"""Feed the parser's glue hostile bytes by the million, and say which seed broke it.

    PYTHONPATH=tests/daemon python tests/attacks/fuzz.py [--inputs 1000000] [--seed 1]

Inputs are pieces of the corpus, joined, mutated, cut at random places, and sent while
other clients come and go, readers stall and time passes. Nothing may be raised, every
byte and every place is given back, and answered is what the strict parser reads.
"""

import argparse
import json
import time
from random import Random

from corpus import ATTACKS
from indoors import Indoors, Line
from serving import LIMITS
from strict import Answer, Reading, answers, read
from structlog.testing import capture_logs
from words import LIST, MAILER, SMUGGLED, UID, update

from jobengine.daemon.settings import Limits

# So tight that inputs of a few kilobytes come over every one of them.
TIGHT = Limits(
    body_bytes=1024,
    connections=4,
    connections_per_address=3,
    waiters_per_service=2,
    wait_seconds=60,
    read_seconds=10,
    header_seconds=5,
    idle_seconds=75,
    pipeline=2,
    buffered_bytes=2048,
    inflight_bytes=8192,
)
# The house and whether the application is light: most inputs are about the glue.
ROOMS = (*[(LIMITS, True)] * 6, *[(TIGHT, True)] * 6, (LIMITS, False), (TIGHT, False))
# A room is left after so many inputs: its jobs would fill the memory.
INPUTS_A_ROOM = 1000
INPUT_BYTES_MAX = 5000

WAIT = b"GET /api/v1/jobs/next?wait=9 HTTP/1.1\r\n" + MAILER
SEEDS = [data for data in ATTACKS.values() if len(data) < 2000] + [
    WAIT,
    LIST,
    update(UID),
] * 8
TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"0",
        b"-",
        b"\xff",
    ),
    *(
        b"\r\n\r\n",
        b"chunked",
        b"Transfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        b"HEAD ",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        b"CONNECT ",
    ),
    *(b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HTTP/1.1"),
    *(
        b"?wait=3",
        b"Prefer: wait=3\r\n",
        b"%00",
        b"X-JobEngine-Lease: a\r\n",
        b"A: b\r\n",
    ),
    *(b"\x0b", b"9" * 20, b"ffffffffffffffff", b"GET / HTTP/1.1\r\n\r\n", b"a" * 600),
)


class Fuzz:
    """One run. Everything in it follows from its seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.rooms: dict[int, tuple[Indoors, int]] = {}
        self.data = b""

    def room(self) -> Indoors:
        """The house for the next input."""
        which = self.random.randrange(len(ROOMS))
        room, inputs = self.rooms.get(which, (None, 0))
        if room is None or inputs >= INPUTS_A_ROOM:
            limits, lightly = ROOMS[which]
            room, inputs = Indoors(limits, lightly=lightly), 0
        self.rooms[which] = room, inputs + 1
        return room

    def run(self) -> None:
        """Try one input.

        Raises:
            AssertionError: something is not as it should be; `data` is the input.
        """
        room = self.room()
        self.data = data = self.input()
        line, others = room.connect(), []
        told = self.send(room, line, others, data)
        if told:
            self.hear_out(room, line)
            assert line.protocol.owed == 0
            judge(read(data), bytes(line.got))
        else:
            self.random.choice((line.vanish, lambda: room.loop.advance(12)))()
        for each in (line, *others):
            each.vanish()
        room.check_nothing_is_left()

    def input(self) -> bytes:
        """The bytes of one connection."""
        pick = self.random
        data = b"".join(pick.choices(SEEDS, k=pick.choice((1, 1, 1, 2, 3, 9))))
        for _ in range(pick.choice((0, 0, 1, 1, 2, 3, 8))):
            data = self.mutant(data)
        if pick.random() < 0.01:
            data += bytes(pick.choices((SMUGGLED, LIST, WAIT))[0]) * 100
            return data
        return data[:INPUT_BYTES_MAX]

    def mutant(self, data: bytes) -> bytes:
        """*data* with one thing changed."""
        pick = self.random
        at = pick.randrange(len(data) + 1)
        to = min(len(data), at + pick.choice((1, 1, 2, 5, 40)))
        middle = pick.choice(
            (
                *(b"", pick.choice(TOKENS), pick.choice(TOKENS) + data[at:to]),
                *(data[at:to] * 2, bytes([pick.randrange(256)])),
                data[at:to].swapcase(),
            )
        )
        return data[:at] + middle + data[to:]

    def send(self, room: Indoors, line: Line, others: list[Line], data: bytes) -> bool:
        """Send it in pieces, with things going on between them; False: in the end not
        all of it was sent, or so slowly that time has run out."""
        pick = self.random
        cuts = pick.choice((0, 0, 1, 1, 2, 3, 5, 30))
        places = sorted(pick.choices(range(len(data) + 1), k=cuts))
        begin, told = 0, True
        for place in (*places, len(data)):
            if place > begin:
                line.send(data[begin:place])
                begin = place
            told = self.happen(room, line, others) and told
        return told

    def happen(self, room: Indoors, line: Line, others: list[Line]) -> bool:
        """Something that may go on between two pieces."""
        chance = self.random.random()
        if chance < 0.5:
            room.loop.turn()
        elif chance < 0.6:
            room.loop.rest()
        elif chance < 0.65:
            line.choke()
        elif chance < 0.7:
            line.unchoke()
        elif chance < 0.72:
            others.append(room.connect(self.random.choice(("127.0.0.1", "::1"))))
            others[-1].send(self.random.choice((SMUGGLED, WAIT, LIST, SMUGGLED[:70])))
        elif chance < 0.73 and others:
            self.random.choice(others).vanish()
        elif chance < 0.735:
            room.loop.advance(self.random.choice((1, 4, 6, 11)))
            return False
        return True

    def hear_out(self, room: Indoors, line: Line) -> None:
        """Read all that comes, and hang up."""
        line.unchoke()
        room.loop.rest()
        while room.house.doorbell.waiters and line.protocol.owed:
            room.loop.advance(10)
        line.send(b"")
        room.loop.rest()
        if not line.gone:
            # What was refused may linger, no more.
            room.loop.advance(4)
        assert line.gone, "it does not hang up"


def judge(reading: Reading, got: bytes) -> None:
    """Whether *got* is what those requests should be answered.

    Raises:
        AssertionError: it is not.
    """
    found = answers(got, [message.method for message in reading.messages])
    refusals = [answer for answer in found if _is_ours(answer)]
    routed = len(found) - len(refusals)
    assert not any(answer.closes for answer in found[:-1])
    assert all(answer.status not in {500, 502} for answer in found)
    if not refusals:
        assert routed == len(reading.messages), "a request is not answered"
        assert not reading.broken, "no word of what is not HTTP"
        return
    assert refusals == found[-1:]
    assert found[-1].closes
    assert routed <= len(reading.messages), "more is answered than was asked"
    if "not HTTP" in found[-1].json["detail"]:
        assert reading.broken
        assert routed == len(reading.messages)


def _is_ours(answer: Answer) -> bool:
    """Whether it refuses what never became a request: those have no number."""
    if (
        answer.fields.get("content-type") != "application/problem+json"
        or not answer.body
    ):
        return False
    return "instance" not in json.loads(answer.body)


def fuzz(seed: int, inputs: int, *, every: int = 0) -> None:
    """Try *inputs* inputs, telling how it goes *every* so many.

    Raises:
        AssertionError: naming the input that was too much, and its seed.
    """
    run, began = Fuzz(seed), time.perf_counter()
    with capture_logs() as lines:
        for number in range(1, inputs + 1):
            try:
                run.run()
                bugs = [line for line in lines if "code" in line]
                assert not bugs, bugs
            except Exception as error:
                what = f"seed {seed}, input {number}: {error!r}"
                raise AssertionError(f"{what}\n{run.data!r}") from error
            lines.clear()
            if every and number % every == 0:
                rate = number / (time.perf_counter() - began)
                print(f"  {number:,} inputs, {rate:,.0f} a second", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    options = parser.parse_args()
    print(f"fuzzing the parser's glue: seed {options.seed}", flush=True)
    fuzz(options.seed, options.inputs, every=max(1, options.inputs // 50))
    print(f"{options.inputs:,} inputs: 0 unhandled exceptions, nothing left behind")


if __name__ == "__main__":
    main()
