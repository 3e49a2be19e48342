"""Who may do what in v1: the permission matrix of era 1, with D1 and D23."""

from typing import Any

import pytest

from jobengine.api.v1 import LEASE

CALLERS = {"none": "stranger", "read": "reader", "write": "writer", "both": "both"}

# Rights -> verb -> status. A settle is a bare status for a job that the caller holds.
MATRIX = {
    "none": {"create": 404, "next": 404, "list": 404, "settle": 404, "change": 404},
    "read": {"create": 403, "next": 200, "list": 200, "settle": 200, "change": 403},
    "write": {"create": 201, "next": 403, "list": 403, "settle": 200, "change": 200},
    "both": {"create": 201, "next": 200, "list": 200, "settle": 200, "change": 200},
}
DELETE = {"none": 404, "read": 403, "write": 204, "both": 204}


def asked(api: Any, verb: str, caller: str) -> int:
    """The status of *verb* by *caller*, on a job that it holds where it can."""
    uid = api.made()
    if verb != "next":
        holder = caller if caller in ("reader", "both") else "reader"
        api.next(holder)
    send = {
        "create": lambda: api.create(caller=caller),
        "next": lambda: api.next(caller),
        "list": lambda: api.list(caller),
        "settle": lambda: api.update(uid, '{"status":"complete"}', caller=caller),
        "change": lambda: api.update(uid, '{"priority":9}', caller=caller),
        "delete": lambda: api.delete(uid, caller=caller),
    }
    return int(send[verb]().status_code)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("held", MATRIX)
@pytest.mark.parametrize("verb", [*MATRIX["none"], "delete"])
def test_the_matrix(new_api: Any, verb: str, held: str, strict: bool) -> None:
    expected = (MATRIX[held] | {"delete": DELETE[held]})[verb]
    if strict and (verb, held) == ("settle", "read"):
        expected = 403  # as the original: only writers update

    status = asked(new_api(strict_acl=strict), verb, CALLERS[held])

    assert status == expected


@pytest.mark.parametrize("verb", [*MATRIX["none"], "delete"])
def test_a_hidden_queue_looks_like_a_missing_one(api: Any, verb: str) -> None:
    send = {
        "create": lambda queue: api.create(queue=queue),
        "next": lambda queue: api.next("writer", queue),
        "list": lambda queue: api.list("writer", queue),
        "settle": lambda queue: api.update("u", '{"status":"failed"}', queue=queue),
        "change": lambda queue: api.update("u", '{"priority":9}', queue=queue),
        "delete": lambda queue: api.delete("u", queue=queue),
    }

    hidden, missing = send[verb]("hidden"), send[verb]("absent")

    assert hidden.status_code == missing.status_code == 404
    assert tell(hidden, "hidden") == tell(missing, "absent")


def tell(answer: Any, queue: str) -> dict[str, Any]:
    """All that an answer shows but what the caller said itself."""
    body = dict(answer.json)
    del body["instance"]
    return body | {"detail": body["detail"].replace(queue, "<queue>")}


def test_a_hidden_queue_hides_behind_bad_fields_too(api: Any) -> None:
    answer = api.create("{}", queue="hidden")

    assert answer.status_code == 404


def test_a_reader_settles_only_what_it_holds(api: Any) -> None:
    uid = api.made()
    api.next("both")

    assert api.update(uid, '{"status":"complete"}', caller="reader").status_code == 403
    assert api.job(uid)["state"] == "inprogress"


def test_a_reader_cannot_open_a_finished_job_again(api: Any) -> None:
    uid = api.made()
    api.next("reader")
    api.update(uid, '{"status":"complete"}', caller="reader")

    assert api.update(uid, '{"status":"queued"}', caller="reader").status_code == 403


def test_a_reader_that_gives_a_job_back_leaves_it_for_the_next(api: Any) -> None:
    uid = api.made()
    api.next("reader")

    answer = api.update(uid, '{"status":"queued"}', caller="reader")

    assert answer.status_code == 200
    assert api.next("both").json["uid"] == uid


def test_a_stale_worker_cannot_complete_a_job_it_lost(api: Any) -> None:
    uid = api.made()
    lost = api.next("reader").headers[LEASE]
    api.update(uid, '{"status":"queued"}')
    held = api.next("reader").headers[LEASE]

    late = api.update(
        uid, '{"status":"complete"}', caller="reader", X_JobEngine_Lease=lost
    )

    assert late.status_code == 409
    assert late.json["code"] == "stale_lease"
    assert api.job(uid)["state"] == "inprogress"
    done = api.update(
        uid, '{"status":"complete"}', caller="reader", X_JobEngine_Lease=held
    )
    assert done.status_code == 200


def test_a_writer_that_puts_a_job_in_progress_gets_its_lease(api: Any) -> None:
    uid = api.made()

    answer = api.update(uid, '{"status":"inprogress"}')

    assert answer.data == b""
    again = api.update(uid, '{"status":"complete"}', X_JobEngine_Lease="other")
    assert again.status_code == 409
    lease = answer.headers[LEASE]
    again = api.update(uid, '{"status":"complete"}', X_JobEngine_Lease=lease)
    assert again.status_code == 200


def test_no_other_change_shows_a_lease(api: Any) -> None:
    uid = api.made()
    api.next("reader")

    assert LEASE not in api.update(uid, '{"priority":3}').headers
    assert LEASE not in api.list().headers
