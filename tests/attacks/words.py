"""What the attacks are made of."""

HOST = b"Host: localhost\r\n"
SHOP = HOST + b"X-Name: shop\r\nX-Queue: mail\r\n"
JSON = b"Content-Type: application/json\r\n"
JOB = b'{"content":{"a":1},"priority":5,"valid_for":600}'
CREATE = b"PUT /api/v1/jobs/create HTTP/1.1\r\n"

VERSION = b"GET /version HTTP/1.1\r\n" + HOST + b"\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
TEST = b"GET /api/v1/test HTTP/1.1\r\n" + HOST + b"\r\n"
EMPTY = b"GET /api/v1/jobs/next HTTP/1.1\r\n" + HOST + b"X-Name: mailer\r\n\r\n"
MAILER = HOST + b"X-Name: mailer\r\nX-Queue: mail\r\n\r\n"
LIST = b"GET /api/v1/jobs HTTP/1.1\r\n" + MAILER
SMUGGLED = CREATE + SHOP + JSON + b"Content-Length: %d\r\n\r\n" % len(JOB) + JOB
LENGTH = b"Content-Length: %d\r\n" % len(JOB)
IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(JOB), JOB)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
UID = b"0" * 8 + b"-0000-4000-8000-" + b"0" * 12
GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """A create with these lines in its head."""
    return CREATE + SHOP + JSON + b"".join(fields) + b"\r\n" + body


def get(*fields: bytes, target: bytes = b"/version", version: bytes = b"1.1") -> bytes:
    """A request without a body."""
    return b"GET %b HTTP/%b\r\n%b%b\r\n" % (target, version, HOST, b"".join(fields))


def update(uid: bytes) -> bytes:
    """A request that changes nothing of a job."""
    head = b"POST /api/v1/jobs/%b HTTP/1.1\r\n%b%bContent-Length: 2\r\n\r\n"
    return head % (uid, SHOP, JSON) + b"{}"
