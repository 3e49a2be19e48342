"""What a request costs the daemon, verb by verb: the native API beside v1.

A real daemon on a real file; the cost is the time of processor that its process takes.
32 clients ask at once: so many share a turn and its sync.
"""

import json
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bench import daemon, engine
from bench.table import Rates, progress, ratios, show_ratio, spread

# Clients, each with one request at a time, and requests of each verb in a round.
GROUP, REQUESTS = 32, 3200
BATCH, BATCHES = 100, 20
ASKED = "1.3 at most"
ACCEPT = b"Host: 127.0.0.1\r\nX-Name: bench\r\nX-Queue: bench\r\n"
JSON = b"Content-Type: application/json\r\n"
V2 = b"/api/v2/queues/bench/jobs"
CONTENT = b'{"content":%b,"priority":50%b}'

Answers = list[Any]


class Wire:
    """The clients' connections, and how the daemon's process has spent its time."""

    def __init__(self, served: daemon.Daemon) -> None:
        address = "127.0.0.1", served.port
        self._socks = [socket.create_connection(address) for _ in range(GROUP)]
        self._files = [sock.makefile("rb") for sock in self._socks]
        self._threads = Path(f"/proc/{served.worker}/task")

    def cpu_ns(self) -> int:
        """Of all its threads so far."""
        return sum(
            int((thread / "schedstat").read_text().split()[0])
            for thread in self._threads.iterdir()
        )

    def ask(self, requests: Iterable[bytes]) -> tuple[Answers, float]:
        """The answers, and the microseconds that each cost."""
        found: Answers = []
        began = self.cpu_ns()
        for group in _groups(requests):
            for sock, said in zip(self._socks, group, strict=False):
                sock.sendall(said)
            found += [
                _answer(file) for _, file in zip(group, self._files, strict=False)
            ]
        return found, (self.cpu_ns() - began) / len(found) / 1e3


def _answer(file: BinaryIO) -> Any:
    status, length = file.readline(), 0
    while (line := file.readline()) != b"\r\n":
        name, _, text = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(text)
    body = file.read(length)
    assert status[9:10] == b"2", (status, body)
    return json.loads(body) if body else None


def _groups(requests: Iterable[bytes]) -> Iterator[list[bytes]]:
    every = list(requests)
    for at in range(0, len(every), GROUP):
        yield every[at : at + GROUP]


def request(method: bytes, path: bytes, body: bytes = b"") -> bytes:
    """One request as a client sends it."""
    said = b"%bContent-Length: %d\r\n" % (JSON, len(body)) if body else b""
    return b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (method, path, ACCEPT, said, body)


def v1(wire: Wire, cost: Callable[[str, float], None]) -> None:
    """A life of each job in v1: created, taken, alive, done."""
    body = CONTENT % (engine.PAYLOAD, b',"valid_for":86400')
    create = request(b"PUT", b"/api/v1/jobs/create", body)
    cost("enqueue", wire.ask([create] * REQUESTS)[1])
    taken, each = wire.ask([request(b"GET", b"/api/v1/jobs/next")] * REQUESTS)
    cost("claim", each)
    for verb, word in (("heartbeat", b"inprogress"), ("complete", b"complete")):
        body = b'{"status":"%b"}' % word
        paths = (b"/api/v1/jobs/" + job["uid"].encode() for job in taken)
        cost(verb, wire.ask(request(b"POST", path, body) for path in paths)[1])


def v2(wire: Wire, cost: Callable[[str, float], None]) -> None:
    """The same in the native API, each verb alone."""
    body = CONTENT % (engine.PAYLOAD, b',"valid_for_ms":86400000')
    cost("enqueue", wire.ask([request(b"POST", V2, body)] * REQUESTS)[1])
    taken, each = wire.ask([request(b"POST", V2 + b"/claim")] * REQUESTS)
    cost("claim", each)
    jobs = [job for answer in taken for job in answer["jobs"]]
    for verb in ("heartbeat", "complete"):
        requests = (
            request(
                b"POST",
                b"%b/%b/%b" % (V2, job["uid"].encode(), verb.encode()),
                b'{"lease":"%b"}' % job["lease"]["token"].encode(),
            )
            for job in jobs
        )
        cost(verb, wire.ask(requests)[1])


def v2_batches(wire: Wire, cost: Callable[[str, float], None]) -> None:
    """The same by the batch; the cost is of each job in it."""
    job = CONTENT % (engine.PAYLOAD, b',"valid_for_ms":86400000')
    body = b"[%b]" % b",".join([job] * BATCH)

    def told(verb: str, requests: list[bytes]) -> Answers:
        answers, each = wire.ask(requests)
        cost(verb, each / BATCH)
        return answers

    told("enqueue", [request(b"POST", V2 + b"/batch", body)] * BATCHES)
    claim = request(b"POST", V2 + b"/claim?max=%d" % BATCH)
    taken = told("claim", [claim] * BATCHES)
    said = [
        b"[%b]"
        % b",".join(
            b'{"uid":"%b","lease":"%b"}'
            % (job["uid"].encode(), job["lease"]["token"].encode())
            for job in answer["jobs"]
        )
        for answer in taken
    ]
    for verb in ("heartbeat", "complete"):
        path = b"%b/%b" % (V2, verb.encode())
        told(verb, [request(b"POST", path, body) for body in said])


DIALECTS = {
    "v1": v1,
    "v2": v2,
    f"v2, in batches of {BATCH}, a job": v2_batches,
}
VERBS = ("enqueue", "claim", "heartbeat", "complete")


def main(folder: Path, rounds: int, _seconds: float) -> None:
    """Print what each verb costs, and the native API's cost over v1's."""
    costs: dict[str, Rates] = {name: defaultdict(list) for name in DIALECTS}
    with daemon.running(folder, folder / "verbs.queuedb") as served:
        wire = Wire(served)
        for number in range(rounds + 1):
            progress(f"verbs, round {number} of {rounds}")
            for name, act in DIALECTS.items():
                found = costs[name]
                # The first one warms it up.
                act(wire, lambda verb, us, f=found: f[verb].append(us))  # type: ignore[misc]
    print("\nmicroseconds of the daemon's processor a request (least and most)")
    for name, found in costs.items():
        for verb in VERBS:
            each = found[verb] = found[verb][1:]
            middle = sorted(each)[len(each) // 2]
            print(f"  {verb + ', ' + name:<50}{middle:>8.1f}  ({spread(each)})")
    print("\nover v1 in the same round")
    for name in list(DIALECTS)[1:]:
        for verb in VERBS:
            over = ratios(costs[name][verb], costs["v1"][verb])
            show_ratio(f"{verb}, {name}", over, ASKED)
