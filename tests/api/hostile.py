"""Requests to the hot rows: what is fine in one, and what may be wrong with it."""

from collections.abc import Iterable
from itertools import permutations
from typing import Any

from hypothesis import strategies as st
from serving import JOB, request, take

HELD, QUEUED = "job-1", "job-2"  # the uids of two jobs that are always there
LEASE = "job-3"  # under which the mailer holds the first of them
NOBODY = "00000000-0000-4000-8000-000000000000"

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
        HELD,
        QUEUED,
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
    ("POST", "/api/v1/jobs/", st.just(HELD), STATUS, "mailer"),
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


def one_thing_wrong() -> dict[str, list[bytes]]:
    """Requests that are fine but for one part, by which part that is."""
    path, job = "/api/v1/jobs/create", "/api/v1/jobs/" + HELD
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
