"""What the hot lane answers, Flask answers too; what it declines has changed nothing.

The same bytes go to two servers with equal houses: one has the lane, the other leaves
everything to Flask. Requests are made of parts that are fine and parts that are not.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from itertools import count, permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from serving import JOB, LIMITS, RULES, Serving, Settings, create, request, take

from jobengine.api.app import ENDPOINTS
from jobengine.api.endpoint import Lane
from jobengine.api.exchange import Reply
from jobengine.api.lane import HotLane, Incoming
from jobengine.build import House
from jobengine.core.access import Caller
from jobengine.core.job import Job, NewJob
from jobengine.testing import memory_house

# Nobody waits here: test_waiting.py is about those who do.
NO_WAIT = dataclasses.replace(LIMITS, wait_seconds=0)
FREE, TAKEN = "job-1", "job-2"  # the uids of two jobs that are always there
LEASE = "job-3"  # the lease under which the mailer holds the second
NOBODY = "00000000-0000-4000-8000-000000000000"


class Spy(HotLane):
    """The lane, and what it did."""

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.answered = 0
        self.changed: list[bytes] = []  # bodies of what it declined too late

    def answer(self, asked: Incoming) -> Reply | None:
        store = self._desk.house.store
        before = store.rows.copy(), store.rows.next_due()  # type: ignore[attr-defined]
        reply = super().answer(asked)
        if reply is not None:
            self.answered += 1
        elif before != (store.rows.copy(), store.rows.next_due()):  # type: ignore[attr-defined]
            self.changed.append(asked.body_bytes)
        return reply


class Twin:
    """A house and its server; uids are counted, so that twins have the same."""

    def __init__(self, *, lane: bool) -> None:
        self.house: House = memory_house(RULES)
        self.spies: list[Spy] = []
        self.serving = Serving(
            self.house,
            Settings(limits=NO_WAIT),
            lane=self._spy if lane else lambda desk, _rows: HotLane(desk, []),
        )

    def begin(self) -> None:
        """Start from the same two jobs."""
        with self.house.store.transaction() as tx:
            for queue in RULES.queues:
                tx.drop(*tx.jobs(queue))
        self.number(1)
        engine = self.house.engine
        for _ in (FREE, TAKEN):
            engine.enqueue(Caller("shop"), "mail", NewJob(b'{"n": 1}'))
        [second] = engine.claim(Caller("mailer"), "mail")
        # The first is the one that is taken; let them change places.
        assert second.uid == FREE

    def number(self, start: int) -> None:
        uids = count(start)
        self.house.engine._new_uid = lambda: f"job-{next(uids)}"

    def ask(self, said: bytes) -> bytes:
        with self.serving.connect() as client:
            client.say(said).hang_up()
            return client.rest()

    def rows(self) -> dict[tuple[str, str], Job]:
        """All jobs; a place in the order of creation that nobody took is no matter."""
        with self.house.store.transaction() as tx:
            jobs = [job for queue in RULES.queues for job in tx.jobs(queue)]
        return {(job.queue, job.uid): replace(job, seq=0) for job in jobs}

    def _spy(self, *how: Any) -> Spy:
        self.spies.append(Spy(*how))
        return self.spies[0]


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Twin, Twin]]:
    first, second = Twin(lane=True), Twin(lane=False)
    with first.serving, second.serving:
        yield first, second


def shape(data: bytes) -> list[tuple[Any, ...]]:
    """The answers without what differs from one to the next."""
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        named = sorted(
            (n.lower(), v) for n, _, v in (f.partition(": ") for f in fields)
        )
        size = int(dict(named).get("content-length", 0))
        body, data = data[:size], data[size:]
        if dict(named).get("content-type") == "application/problem+json" and body:
            said = json.loads(body)
            size -= len(str(said.pop("instance", "")))
            body = json.dumps(said, sort_keys=True).encode()
        told = [each for each in named if each[0] not in VARIES]
        # The phrase behind the number says nothing (RFC 9112, 4).
        answers.append((line.split(" ")[:2], told, size, body))
    return answers


VARIES = {"date", "x-request-id", "content-length"}


# --- parts of requests ------------------------------------------------------------

DEEP = [b'{"a":' * n + b"1" + b"}" * n for n in (62, 63, 64, 65, 3000)]
VALUES: list[bytes] = [
    *(b"1", b"50", b"100", b"0", b"101", b"-1", b"60.0", b"1e2", b"1E400", b"-0"),
    *(b"true", b"false", b"null", b"NaN", b"Infinity", b"01", b"+1", b"1.", b".5"),
    *(b"9" * 15, b"9" * 16, b"9" * 18, b"9223372036854775807", b"9223372036854775808"),
    *(b"18446744073709551616", b"253402300799", b"253402300800", b"9" * 400),
    *(b'"5"', b'""', b'"queued"', b'"complete"', b'"inprogress"', b'"failed"'),
    *(b'"cancelled"', b'"QUEUED"', b'"que\\u0075ed"', b'"queued\\u0000"'),
    *(b"{}", b"[]", b"[{}]", b'{"a":1}', b' {"a" : 1} ', b'{"a":1,"a":2}', b"{,}"),
    *(b'{"priority":1}', b'{"content":{}}', b'{"x":"\\"priority\\""}', b'{"a":1}}'),
    *(b'{"s":"\\ud800"}', b'{"s":"\\ud83d\\ude00"}', b'{"s":"\\udc00\\ud800"}'),
    *(b'{"\\ud800":1}', b'{"s":"\xc3\xa9"}', b'{"s":"\xff"}', b'{"s":"\xed\xa0\x80"}'),
    *(b'{"s":"\xc0\xaf"}', b'{"s":"\xef\xbb\xbf"}', b'{"s":"\\x"}', b'{"s":"a\nb"}'),
    *(b'{"n":9007199254740993,"e":1e999}', b'{"n":1e}', b'{"s":"\0"}', b'{"s":1'),
    *(
        b"\xef\xbb\xbf{}",
        b"/**/{}",
        b"",
        b"{'a':1}",
        b'{"big":"' + b"x" * 70_000 + b'"}',
    ),
    *DEEP,
    b"[" * 70 + b"]" * 70,
]
FINE = {
    b"content": [b"{}", b'{"a":1}', b'{"s":"\xc3\xa9"}'],
    b"priority": [b"1", b"50", b"100"],
    b"valid_for": [b"1", b"600"],
    b"status": [b'"queued"', b'"complete"', b'"inprogress"', b'"failed"'],
    b"timeout_time": [b"1", b"1900000000"],
}
KEYS: list[bytes] = [
    *(b'"x"', b'""', b'"Priority"', b'"prior\\u0069ty"', b'"\\u0063ontent"'),
    *(b'"valid\\u005ffor"', b'"stat\\u0075s"', b'"\\ud800"', b'"a\xffb"', b"x", b"1"),
    *(b'"priority "', b'"content\\u0000"', b'"status"', b'"valid_for"', b'"content"'),
]
KINDS = [
    *("application/json", "application/json; charset=utf-8", "Application/JSON", ""),
    *("application/json; charset=latin-1", "text/plain", "application/problem+json"),
    *("application/json, text/plain", " application/json ;", ";", "text/json"),
    *(
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "jso\xf1",
    ),
]
NAMES = [
    *("shop", "mailer", "printer", "nobody", "", "shop ", "sh\xf6p", "shop,mailer"),
    *("sh op", "SHOP", "x" * 255, "x" * 256, "s/hop", "\t", "shop\tshop"),
]
QUEUE_NAMES = ["mail", "both", "nope", "", "mail,both", "m\xe4il", "Mail", "mail mail"]
HOSTS = [
    *("localhost", "localhost:6010", "127.0.0.1", "[::1]:6010", "evil.example", ""),
    *("LOCALHOST", "localhost:x", "localhost.", "a b", "%%%", "[", "\x7f", "l\xf6cal"),
]
FIELDS = [
    *("Origin: https://evil.example", "Origin: null", "Origin:", "Via: 1.1 x"),
    *("Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin", "Forwarded: for=x"),
    *("Sec-Fetch-Site: none", "X-Forwarded-For: 127.0.0.1", "x-forwarded-host: x"),
    *("X-Forwarded_For: 1", "X_Name: mailer", "X_Queue: both", "Content_Type: x"),
    *("Accept: text/html", "Accept-Encoding: gzip", "Cookie: a=b", "User-Agent: x"),
    *("Prefer: wait=5", "Prefer: wait=x", "Prefer: return=minimal, wait=1"),
    *(f"X-JobEngine-Lease: {LEASE}", "X-JobEngine-Lease: stale", "X-JobEngine-Lease:"),
    *("X-JobEngine-Commit: ?", "X-JobEngine-Commit:", "Connection: keep-alive"),
    *(
        "Connection: close",
        "Connection: x-name",
        "Content-Encoding: gzip",
        "A:",
        "A: 1",
    ),
    *("Expect: 100-continue", "X-HTTP-Method-Override: DELETE", "Range: bytes=0-1"),
    *("Transfer-Encoding: identity", "Upgrade: h2c", "X-Status-Filter: queued"),
    *("X-Content-Type: application/json", "X-Content-Type: text/plain", "A: \xe9"),
    *("X-Name: mailer", "X-Queue: both", "Content-Type: text/plain", "Host: evil"),
    *(
        "If-None-Match: *",
        "A: " + "b" * 3000,
        "Authorization: Bearer x",
        "TE: trailers",
    ),
]
QUERIES = [
    *("?", "?wait=5", "?wait=x", "?wait=", "?x=1", "?wait=1&wait=x", "?await=x"),
    *("?wait=%35", "?a=%ff", "?x=1&wait=0", "?wait=5?", "?X-Name=mailer", "?\xe9"),
]
UIDS = [
    *(
        FREE,
        TAKEN,
        NOBODY,
        "next",
        "create",
        "job%2D1",
        "job-1%00",
        "%6aob-1",
        "job-1/",
    ),
    *(
        "..",
        "%2e%2e",
        "x" * 64,
        "x" * 65,
        "%F0%9F%98%80",
        "%ff",
        "job_1",
        "",
        "job-1;x",
    ),
    *("job-1%20", "JOB-1", "job-1.", "%2Fjob-1", "\xe9", "job-10"),
]
WRAPS = [
    (b"\xef\xbb\xbf", b""),
    (b"", b"x"),
    (b" \n", b" \t\r\n"),
    (b"[", b"]"),
    (b"", b"{}"),
]
ENDS = [
    (b"{", b"}"),
    (b"{", b""),
    (b"", b"}"),
    (b"{", b",}"),
    (b"{,", b"}"),
    (b"{ ", b"\n}"),
]

often = st.sampled_from([True] * 9 + [False])


def mostly(fine: Iterable[Any], others: Iterable[Any]) -> st.SearchStrategy[Any]:
    """What is fine, nine times in ten."""
    good, bad = list(fine), list(others)
    return st.sampled_from(good * (9 * len(bad) // len(good) + 1) + bad)


@st.composite
def bodies(draw: st.DrawFn, names: tuple[bytes, ...], *, whole: bool) -> bytes:
    """JSON for *names*, and not quite."""
    members = [
        (b'"%b"' % name, draw(mostly(FINE[name], VALUES)))
        for name in names
        if draw(often if whole else st.booleans())
    ]
    if not draw(often):
        members.append((draw(st.sampled_from(KEYS)), draw(st.sampled_from(VALUES))))
    if not draw(often):
        members.reverse()
    start, end = draw(mostly(ENDS[:1], ENDS))
    before, after = draw(mostly([(b"", b"")], WRAPS))
    text = b",".join(b"%b:%b" % member for member in members)
    body: bytes = before + start + text + end + after
    if not draw(often) and not draw(often):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at:]
    return body


NEW = bodies((b"content", b"priority", b"valid_for"), whole=True)
CHANGE = bodies((b"content", b"priority", b"status", b"timeout_time"), whole=False)
STATUS = st.sampled_from([b'{"status":%b}' % word for word in FINE[b"status"]])
NOTHING, NO_UID = st.just(b""), st.just("")
UID = mostly(UIDS[:2], UIDS)
# By what is asked: the method, the path and what follows it, the body, and as whom.
ASKED = [
    ("PUT", "/api/v1/jobs/create", NO_UID, NEW, "shop"),
    ("GET", "/api/v1/jobs/next", NO_UID, NOTHING, "mailer"),
    ("POST", "/api/v1/jobs/", UID, CHANGE, "shop"),
    ("POST", "/api/v1/jobs/", st.just(FREE), STATUS, "mailer"),
    ("DELETE", "/api/v1/jobs/", UID, NOTHING, "shop"),
    ("GET", "/api/v1/test", NO_UID, NOTHING, "shop"),
]
METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"]
BODIES = [b"", b"{}", b"\0", JOB]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method, path, uids, contents, name = draw(st.sampled_from(ASKED))
    method = draw(mostly([method], METHODS))
    path = path + draw(uids) + draw(mostly([""], QUERIES))
    body = draw(contents) if draw(often) else draw(st.sampled_from(BODIES))
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {draw(mostly(HOSTS[:3], HOSTS))}",
        f"X-Name: {draw(mostly([name], NAMES))}",
        f"X-Queue: {draw(mostly(['mail'], QUEUE_NAMES))}",
    ]
    if draw(st.booleans()):
        lines.append(f"Content-Type: {draw(mostly(KINDS[:2], KINDS))}")
    if not draw(often):
        del lines[draw(st.integers(1, len(lines) - 1))]
    while not draw(often):
        lines.append(draw(st.sampled_from(FIELDS)))
    if not draw(often) and len(lines) > 2:
        lines.append(draw(st.sampled_from(lines[1:])))  # one of them twice
    if body and draw(often):
        lines.append(f"Content-Length: {len(body)}")
    elif body:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(requests(), min_size=1, max_size=3))
def test_what_the_lane_answers_flask_answers_too(
    twins: tuple[Twin, Twin], said: list[bytes]
) -> None:
    for twin in twins:
        twin.begin()

    for step, each in enumerate(said):
        for twin in twins:
            twin.number(100 * (step + 1))
        hot, plain = (twin.ask(each) for twin in twins)

        assert shape(hot) == shape(plain)
        assert twins[0].rows() == twins[1].rows()
    assert twins[0].spies[0].changed == []


def one_thing_wrong() -> dict[str, list[bytes]]:
    """Requests that are fine but for one part, by which part that is."""
    path, job = "/api/v1/jobs/create", "/api/v1/jobs/" + FREE
    members = {
        *((path, key) for key in (b"content", b"priority", b"valid_for")),
        *((job, key) for key in (b"content", b"priority", b"status", b"timeout_time")),
    }
    shown = [b'"%b":%b' % (key, FINE[key][0]) for key in FINE]
    new, change = b",".join(shown[:3]), b",".join([*shown[:2], *shown[3:]])

    def put(body: bytes, *fields: str, to: str = path, name: str = "shop") -> bytes:
        return request("PUT" if to == path else "POST", to, name, *fields, body=body)

    def both(*bodies: bytes) -> list[bytes]:
        return [put(b"{%b}" % body) for body in bodies]

    return {
        f"{key.decode()} to {to}": [
            put((b"{%b}" % mine).replace(fine, b'"%b":%b' % (key, value)), to=to)
            for value in VALUES
        ]
        for to, key in sorted(members)
        for mine, fine in [
            (new if to == path else change, b'"%b":%b' % (key, FINE[key][0]))
        ]
    } | {
        "a key twice": [
            put(b"{%b}" % b",".join(two), to=to)
            for to, mine in ((path, new), (job, change))
            for key, values in FINE.items()
            for value in [*values, b"9", b'{"b":22}']
            for two in permutations((mine, b'"%b":%b' % (key, value)))
        ],
        "a key more": both(*(b"%b,%b:1" % (new, key) for key in KEYS)),
        "a key less": both(*(new.replace(each, b'"x":1') for each in shown[:3])),
        "around it": [put(a + b"{" + new + b"}" + z) for a, z in WRAPS]
        + [put(start + new + end) for start, end in ENDS],
        "the type": [put(b"{%b}" % new, f"Content-Type: {kind}") for kind in KINDS],
        "a field": [put(b"{%b}" % new, field) for field in FIELDS]
        + [put(b'{"status":"failed"}', field, to=job) for field in FIELDS],
        "the name": [put(b"{%b}" % new, name=name) for name in NAMES if name],
        "the queue": [take(queue=queue) for queue in QUEUE_NAMES],
        "the host": [
            take().replace(b"Host: localhost", f"Host: {host}".encode("latin-1"))
            for host in HOSTS
        ],
        "the query": [
            take().replace(b"/next", f"/next{query}".encode("latin-1"))
            for query in QUERIES
        ],
    }


WRONG = one_thing_wrong()


@pytest.mark.parametrize("part", WRONG)
def test_with_one_thing_wrong_both_say_the_same(
    twins: tuple[Twin, Twin], part: str
) -> None:
    for said in WRONG[part]:
        for twin in twins:
            twin.begin()
            twin.number(100)
        hot, plain = (twin.ask(said) for twin in twins)

        assert shape(hot) == shape(plain), said
        assert twins[0].rows() == twins[1].rows(), said
    assert twins[0].spies[0].changed == []


FINE_ONES = [
    create('{"a":1}'),
    create('{"s":"\\u00e9"}', "Content-Type: application/json"),
    take(),
    take("Accept: */*", "User-Agent: worker/1"),
    request("POST", f"/api/v1/jobs/{FREE}", "mailer", body=b'{"status":"complete"}'),
    request(
        "POST", f"/api/v1/jobs/{FREE}", "shop", body=b'{"priority":9,"content":{}}'
    ),
    request(
        "POST", f"/api/v1/jobs/{FREE}", "shop", "X-JobEngine-Commit: ?", body=b"{}"
    ),
    request("DELETE", f"/api/v1/jobs/{FREE}", "shop"),
    request("GET", "/api/v1/test"),
]


@pytest.mark.parametrize("said", FINE_ONES)
def test_what_is_plainly_fine_the_lane_answers(
    twins: tuple[Twin, Twin], said: bytes
) -> None:
    for twin in twins:
        twin.begin()
        twin.number(100)
    spy = twins[0].spies[0]
    before = spy.answered

    hot, plain = (twin.ask(said) for twin in twins)

    assert spy.answered == before + 1
    assert shape(hot) == shape(plain)


def test_every_hot_row_is_among_these() -> None:
    lines = [said.decode("latin-1").partition(" HTTP")[0] for said in FINE_ONES]

    for row in ENDPOINTS.values():
        pattern = re.sub(r"{\w+}", "[^/]+", f"{row.method} {row.path}")
        told = any(re.fullmatch(pattern, line) for line in lines)
        assert told is (row.lane is Lane.HOT), row.name


@pytest.mark.parametrize("body", [b"\\u0041", b"\xc3\xa9", b"{" * 3])
def test_a_form_never_takes_what_its_schema_would_not(body: bytes) -> None:
    forms = [row.form for row in ENDPOINTS.values() if row.form is not None]

    for form in forms:
        with pytest.raises(Exception):  # noqa: B017, PT011 a doubt is enough
            form.glance(body)


@pytest.mark.parametrize("size", [0, 1, 1500, 5000])
def test_what_is_known_of_a_head_holds_for_that_head_alone(
    twins: tuple[Twin, Twin], size: int
) -> None:
    for twin in twins:
        twin.begin()

    for step, caller in enumerate(["shop"] * 3 + ["mailer"] * 3 + ["shop"]):
        said = request(
            *("PUT", "/api/v1/jobs/create", caller, f"A: {'b' * size}"), body=JOB
        )
        for twin in twins:
            twin.number(100 * (step + 1))
        hot, plain = (twin.ask(said) for twin in twins)

        assert shape(hot) == shape(plain)
    assert twins[0].rows() == twins[1].rows()


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
def test_of_a_known_head_the_path_may_be_another(
    twins: tuple[Twin, Twin], method: str
) -> None:
    for twin in twins:
        twin.begin()
    body = b'{"priority":7}' if method == "POST" else b""

    for step, uid in enumerate([FREE, TAKEN, FREE, *UIDS, FREE, TAKEN]):
        said = request(method, f"/api/v1/jobs/{uid}", "shop", body=body)
        for twin in twins:
            twin.number(100 * (step + 1))
        hot, plain = (twin.ask(said) for twin in twins)

        assert shape(hot) == shape(plain), uid
        assert twins[0].rows() == twins[1].rows(), uid
