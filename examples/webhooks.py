"""Webhooks: signed, each known to the receiver by a key, and retried when it is busy.

    JOBENGINE_NAME=app python examples/webhooks.py

The receiver is in here too, and is busy at first. It prints:

    order 17 is paid
    delivered in run 2
"""

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import urllib3

from jobengine import Client, HeldJob, RetryAt, Unprocessable, Worker

KEY = b"shared with the receiver"
# For who is busy and does not say how long.
BUSY_S = 60.0

worker = Worker()


@worker.handler("example-webhooks", permits=20)
def deliver(job: HeldJob) -> object:
    """Post the body of the job to its URL."""
    body = json.dumps(job.content["body"]).encode()
    answer = urllib3.request(
        "POST",
        job.content["url"],
        body=body,
        headers={
            # The same with every run: so the receiver knows what it has had.
            "Idempotency-Key": job.uid,
            "X-Signature": hmac.new(KEY, body, hashlib.sha256).hexdigest(),
        },
        timeout=10,
        retries=False,
    )
    return outcome_of(answer.status, answer.headers.get("Retry-After", ""))


def outcome_of(status: int, retry_after: str) -> object:
    """What the answer means for the job."""
    if status in (429, 503):
        wait = float(retry_after) if retry_after.isdigit() else BUSY_S
        return RetryAt(wait, f"HTTP {status}")
    if 400 <= status < 500:
        return Unprocessable(f"HTTP {status}")
    if status >= 500:
        raise RuntimeError(f"HTTP {status}")
    return {"status": status}


class Receiver(BaseHTTPRequestHandler):
    """Busy the first time; then it reads."""

    statuses = iter([429, 200])

    def do_POST(self) -> None:
        """Take a webhook."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = next(self.statuses)
        signed = hmac.new(KEY, body, hashlib.sha256).hexdigest()
        if status == 200 and hmac.compare_digest(signed, self.headers["X-Signature"]):
            print("order", json.loads(body)["order"], "is paid")
        self.send_response(status)
        self.send_header("Retry-After", "1")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Deliver one."""
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    content = {
        "url": f"http://127.0.0.1:{server.server_port}/paid",
        "body": {"order": 17},
    }
    with Client.from_env() as client, worker:
        job = client.enqueue("example-webhooks", content)
        job.result(timeout=30)
        print("delivered in run", job.get().attempt)
    server.shutdown()


if __name__ == "__main__":
    main()
