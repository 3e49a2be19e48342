"""The later dialect: who may make a queue, what a job may say, what time does to it."""

import json
from typing import Any

import pytest
from keyed import JOB, KEY, NEXT, QUEUE, Keyed

REMOTE = {"REMOTE_ADDR": "192.0.2.1"}


@pytest.fixture
def keyed(new_api: Any) -> Keyed:
    return Keyed(new_api())


# --- queues -----------------------------------------------------------------------


@pytest.mark.parametrize("caller", ["admin", "maker"])
def test_who_is_named_for_it_makes_a_queue(keyed: Keyed, caller: str) -> None:
    answer = keyed.make_queue("new", "its key", caller=caller)

    assert (answer.status_code, answer.data) == (201, b"")
    assert keyed.jobs("new", key="its key").json == {
        "jobs": [],
        "size": 0,
        "name": "new",
    }


def test_a_queue_is_made_by_nobody_else_and_they_are_told_why(keyed: Keyed) -> None:
    answers = [
        keyed.make_queue("new", caller="writer"),
        keyed.make_queue("new", caller=None),  # type: ignore[arg-type]
        keyed.make_queue("new", environ=REMOTE),
    ]

    assert [answer.status_code for answer in answers] == [403, 400, 401]
    assert "X-Name" in answers[1].json["detail"]
    assert keyed.jobs("new").status_code == 404


@pytest.mark.parametrize("name", ["q", "q1", "hidden"])
def test_a_name_that_is_taken_makes_no_second_queue(keyed: Keyed, name: str) -> None:
    answer = keyed.make_queue(name, "another key")

    assert answer.status_code == 409
    assert keyed.jobs(name, key="another key").status_code in (401, 404)


@pytest.mark.parametrize("key", ["k", "k" * 1024, "two words", "Schlüssel", "鍵"])
def test_a_key_that_a_header_can_show_opens_its_queue(keyed: Keyed, key: str) -> None:
    shown = key.encode().decode("latin-1")  # the bytes of the header

    assert keyed.make_queue("new", key).status_code == 201

    assert keyed.jobs("new", key=shown).status_code == 200
    assert keyed.jobs("new", key="x" + shown).status_code == 401


@pytest.mark.parametrize("key", ["", "k" * 1025, " k", "k ", "a\nb", "a\0b", "\x7f"])
def test_a_key_that_no_header_could_show_is_refused(keyed: Keyed, key: str) -> None:
    answer = keyed.make_queue("new", key)

    assert answer.status_code == 400
    assert keyed.jobs("new", key="k").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        *('{"name":"n"}', '{"access_key":"k"}', '{"name":1,"access_key":"k"}'),
        *('{"name":"n","access_key":1}', '{"name":"","access_key":"k"}'),
        *('{"name":"a/b","access_key":"k"}', "[]", "null", "", '{"name":'),
    ],
)
def test_a_queue_without_a_usable_name_and_key_is_refused(
    keyed: Keyed, body: str
) -> None:
    assert keyed.ask("PUT", QUEUE, body, caller="admin").status_code == 400


def test_a_queue_goes_with_its_jobs_and_comes_back_empty(keyed: Keyed) -> None:
    uid = keyed.made()

    assert keyed.delete_queue().status_code == 204

    assert keyed.jobs().status_code == 404
    assert keyed.show(uid).status_code == 404
    assert keyed.make_queue(key="new key").status_code == 201
    assert keyed.jobs(key="new key").json["jobs"] == []
    assert keyed.jobs().status_code == 401


def test_a_queue_of_the_configuration_has_no_key(keyed: Keyed) -> None:
    answers = [
        keyed.jobs("q1", key="anything"),
        keyed.put(queue="q1", key="anything"),
        keyed.next(queue="q1", key="anything"),
        keyed.delete_queue("q1", key="anything"),
    ]

    assert {answer.status_code for answer in answers} == {404}


def test_a_key_opens_its_own_queue_and_no_other(keyed: Keyed) -> None:
    keyed.make_queue("other", "the key of other")
    uid = keyed.made("other", "the key of other")

    answers = [
        keyed.jobs("other"),
        keyed.put(queue="other"),
        keyed.show(uid, queue="other"),
        keyed.next(queue="other"),
        keyed.update(uid, "complete", queue="other"),
        keyed.delete(uid, queue="other"),
        keyed.delete_queue("other"),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json["code"] for answer in answers} == {"wrong_key"}
    assert keyed.show(uid).status_code == 404  # nor by way of its own
    assert keyed.update(uid, "complete").status_code == 404
    assert keyed.delete(uid).status_code == 404


def test_a_key_counts_from_everywhere(keyed: Keyed) -> None:
    assert keyed.put(environ=REMOTE).status_code == 201


def test_a_key_is_in_no_answer(keyed: Keyed) -> None:
    answers = [
        keyed.make_queue(),
        keyed.make_queue("new", KEY + "\n"),
        keyed.jobs(),
        keyed.jobs(key="wrong " + KEY),
        keyed.put(key="wrong " + KEY),
    ]

    assert not any(KEY in answer.text for answer in answers)


# --- what must be said ------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", QUEUE), ("DELETE", QUEUE), ("GET", NEXT)),
        *(("GET", JOB), ("DELETE", JOB)),
        *(("GET", f"{JOB}?queueName=q"), ("DELETE", f"{JOB}?jobUID=x")),
        *(("GET", f"{QUEUE}?name="), ("GET", f"{NEXT}?queueName=&markQueued=true")),
        ("GET", f"{QUEUE}?queueName=q"),
    ],
)
def test_a_query_that_leaves_something_out_is_refused(
    keyed: Keyed, method: str, path: str
) -> None:
    answer = keyed.ask(method, path)

    assert (answer.status_code, answer.json["code"]) == (400, "bad_query")


@pytest.mark.parametrize("key", [None, ""])
def test_a_request_without_a_key_is_refused(keyed: Keyed, key: Any) -> None:
    answers = [
        keyed.jobs(key=key),
        keyed.put(key=key),
        keyed.show("x", key=key),
        keyed.next(key=key),
        keyed.update("x", "complete", key=key),
        keyed.delete("x", key=key),
        keyed.delete_queue(key=key),
    ]

    assert {answer.status_code for answer in answers} == {400}
    assert all("X-Access-Key" in answer.json["detail"] for answer in answers)


@pytest.mark.parametrize("kind", ["text/plain", "", None, "application/jsonx"])
def test_a_body_that_is_not_said_to_be_json_is_refused(keyed: Keyed, kind: Any) -> None:
    answers = [
        keyed.make_queue("new", kind=kind),
        keyed.put(kind=kind),
        keyed.update("x", "complete", kind=kind),
    ]

    assert {answer.status_code for answer in answers} == {400}
    assert {answer.json["code"] for answer in answers} == {"wrong_content_type"}


def test_json_with_a_charset_is_json_too(keyed: Keyed) -> None:
    # JE2-C5: the original refuses it.
    kind = "Application/JSON; charset=utf-8"

    assert keyed.make_queue("new", kind=kind).status_code == 201
    assert keyed.put(kind=kind).status_code == 201


def test_a_parameter_that_is_there_twice_is_refused(keyed: Keyed) -> None:
    uid = keyed.made()

    answer = keyed.ask("GET", f"{JOB}?queueName=q&queueName=x&jobUID={uid}")

    assert (answer.status_code, answer.json["code"]) == (400, "bad_query")


# --- the job ----------------------------------------------------------------------


def test_a_job_shows_what_it_was_given_in_the_order_of_old(keyed: Keyed) -> None:
    answer = keyed.put(
        {
            "content": {"a": [1, None]},
            "priority": 7,
            "keep_minutes": 3,
            "timeout_minutes": 4,
            "timeout_time": 1_900_000_000,
        }
    )

    now = keyed.clock.now() // 1000
    assert answer.content_type == "application/json"
    assert list(answer.json.items()) == [
        ("priority", 7),
        ("keep_minutes", 3),
        ("timeout_minutes", 4),
        ("last_updated", now),
        ("created", now),
        ("timeout_time", 1_900_000_000),
        ("uid", answer.json["uid"]),
        ("content", {"a": [1, None]}),
        ("state", "queued"),
    ]
    assert keyed.show(answer.json["uid"]).data == answer.data


@pytest.mark.parametrize(
    "content",
    [
        *("null", "true", "-1.50e3", "9007199254740993", '"<&>\\u00e9"', "[]"),
        *('{"b" :1, "a":2,"b":3}', '[ {"x": 1} ]', '"ä"', "{}"),
    ],
)
def test_any_json_comes_back_byte_for_byte(keyed: Keyed, content: str) -> None:
    body = f'{{"queue_name":"q","job":{{"content":{content},"priority":1}}}}'

    answer = keyed.ask("PUT", JOB, body.encode())

    assert answer.status_code == 201, answer.text
    assert f'"content":{content},"state"'.encode() in answer.data
    assert answer.data in keyed.jobs().data


def test_a_job_that_says_nothing_is_null_and_the_tail_of_the_queue(
    keyed: Keyed,
) -> None:
    said = [keyed.put(job).json for job in ({}, {"priority": 0}, {"priority": 1})]

    assert [job["priority"] for job in said] == [1, 1, 1]
    assert [job["content"] for job in said] == [None, None, None]
    assert keyed.listed() == [job["uid"] for job in said]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("priority", value) for value in (-1, 101, 500, 1.5, "9", None, True)),
        *(("keep_minutes", value) for value in (-1, 0.5, "1", 10**12, None)),
        *(("timeout_minutes", value) for value in (-1, 0.5, "1", 10**12, None)),
        *(("timeout_time", value) for value in (-1, 0.5, "1", 253402300800, None)),
    ],
)
def test_a_value_that_means_nothing_is_refused_and_named(
    keyed: Keyed, field: str, value: Any
) -> None:
    answer = keyed.put({field: value})

    assert answer.status_code == 400
    assert [each["pointer"] for each in answer.json["errors"]] == [f"/job/{field}"]
    assert keyed.listed() == []


@pytest.mark.parametrize(
    "body",
    [
        *("", "null", "[]", '{"job":{}}', '{"queue_name":"q"}'),
        *('{"queue_name":"q","job":null}', '{"queue_name":"q","job":[]}'),
        *('{"queue_name":1,"job":{}}', '{"queue_name":"q","job":{}}x'),
        '{"queue_name":"q","job":{"priority":1,"priority":2}}',
        '{"queue_name":"q","job":{"content":%s}}' % ("[" * 70 + "]" * 70),
    ],
)
def test_a_body_of_another_shape_is_refused(keyed: Keyed, body: str) -> None:
    assert keyed.ask("PUT", JOB, body).status_code == 400
    assert keyed.listed() == []


def test_fields_that_nobody_knows_and_those_that_are_ours_are_ignored(
    keyed: Keyed,
) -> None:
    ours = {"uid": "mine", "state": "failed", "created": "x", "last_updated": -1}

    said = keyed.put({"priority": 9, "hello": {}, **ours}).json

    assert (said["state"], said["priority"]) == ("queued", 9)
    assert keyed.listed() == [said["uid"]]
    assert said["uid"] != "mine"


# --- handing out ------------------------------------------------------------------


def test_the_highest_priority_goes_first_and_among_equals_the_oldest(
    keyed: Keyed,
) -> None:
    a, b, c, d = (keyed.made(priority=each) for each in (5, 100, 5, 50))

    assert keyed.listed() == [b, d, a, c]
    assert [keyed.next().json["uid"] for _ in range(4)] == [b, d, a, c]
    assert keyed.next().status_code == 204


@pytest.mark.parametrize("mark", [None, "false", "1", "", "truex"])
def test_a_look_takes_nothing(keyed: Keyed, mark: str | None) -> None:
    uid = keyed.made()
    before = keyed.jobs().data

    for _ in range(2):
        assert keyed.next(mark).json["uid"] == uid

    assert keyed.jobs().data == before
    assert "X-JobEngine-Lease" not in keyed.next(mark).headers


@pytest.mark.parametrize("mark", ["true", "TRUE", "True"])
def test_a_claim_takes_the_job(keyed: Keyed, mark: str) -> None:
    uid = keyed.made()
    keyed.clock.advance(seconds=5)

    answer = keyed.next(mark)

    assert (answer.json["uid"], answer.json["state"]) == (uid, "inprogress")
    assert answer.json["last_updated"] == answer.json["created"] + 5
    assert keyed.next(mark).status_code == 204
    assert keyed.next(None).status_code == 204


# --- states -----------------------------------------------------------------------


@pytest.mark.parametrize("word", ["queued", "inprogress", "complete", "failed"])
@pytest.mark.parametrize("held", [False, True])
def test_any_state_may_be_set(keyed: Keyed, word: str, held: bool) -> None:
    uid = keyed.made()
    if held:
        keyed.next()

    answer = keyed.update(uid, word.title())

    assert (answer.status_code, answer.data) == (200, b"")
    assert keyed.state(uid) == word


def test_a_finished_job_may_be_queued_again(keyed: Keyed) -> None:
    uid = keyed.made()
    keyed.next()
    keyed.update(uid, "complete")

    keyed.update(uid, "queued")

    assert keyed.next().json["uid"] == uid


@pytest.mark.parametrize("word", ["done", "cancelled", "", "queued "])
def test_another_word_is_refused(keyed: Keyed, word: str) -> None:
    uid = keyed.made()

    assert keyed.update(uid, word).status_code == 400
    assert keyed.state(uid) == "queued"


def test_a_worker_that_shows_a_lease_it_lost_changes_nothing(keyed: Keyed) -> None:
    uid = keyed.made()
    lost = keyed.next().headers["X-JobEngine-Lease"]
    keyed.update(uid, "queued")
    keyed.next()

    answer = keyed.update(uid, "failed", X_JobEngine_Lease=lost)

    assert (answer.status_code, answer.json["code"]) == (409, "stale_lease")
    assert keyed.state(uid) == "inprogress"


# --- time -------------------------------------------------------------------------


def test_a_job_without_minutes_fails_a_second_after_it_was_taken(
    keyed: Keyed,
) -> None:
    uid = keyed.put({"keep_minutes": 1}).json["uid"]
    keyed.next()

    keyed.clock.advance(ms=999)
    before = keyed.state(uid)
    keyed.clock.advance(ms=1)

    assert (before, keyed.state(uid)) == ("inprogress", "failed")


def test_a_job_without_minutes_is_gone_a_second_after_its_end(keyed: Keyed) -> None:
    uid = keyed.put({}).json["uid"]
    keyed.update(uid, "complete")

    keyed.clock.advance(ms=999)
    before = keyed.show(uid).status_code
    keyed.clock.advance(ms=1)

    assert (before, keyed.show(uid).status_code) == (200, 404)


def test_each_job_has_minutes_of_its_own(keyed: Keyed) -> None:
    short = keyed.made(timeout_minutes=1, keep_minutes=2)
    long = keyed.made(timeout_minutes=10, keep_minutes=2)
    keyed.next()
    keyed.next()

    keyed.clock.advance(minutes=1)
    states = [keyed.state(short), keyed.state(long)]
    keyed.house.upkeep.sweep()
    keyed.clock.advance(minutes=2)

    assert states == ["failed", "inprogress"]
    assert keyed.listed() == [long]


def test_a_lost_job_has_failed_and_is_not_handed_out_again(keyed: Keyed) -> None:
    keyed.made(timeout_minutes=1)
    keyed.next()

    keyed.clock.advance(minutes=1)

    assert keyed.next().status_code == 204


def test_a_queued_job_is_there_to_the_end_of_its_second(keyed: Keyed) -> None:
    last = keyed.clock.now() // 1000 + 10
    uid, forever = keyed.made(timeout_time=last), keyed.made(timeout_time=0)

    keyed.clock.advance(ms=10_998)
    before = keyed.show(uid).json
    keyed.clock.advance(ms=1)

    assert before["timeout_time"] == last
    assert keyed.listed() == [forever]
    assert keyed.show(forever).json["timeout_time"] == 0


def test_a_job_whose_time_is_over_is_answered_and_gone(keyed: Keyed) -> None:
    answer = keyed.put({"timeout_time": 1})

    assert answer.status_code == 201
    assert keyed.next().status_code == 204
    assert keyed.listed() == []


# --- the list ---------------------------------------------------------------------


def test_a_long_list_comes_in_pieces_and_counts_right(keyed: Keyed) -> None:
    uids = [keyed.made(content="x" * 10_000) for _ in range(30)]
    uids += [keyed.made() for _ in range(600)]

    answer = keyed.jobs(buffered=False)
    pieces = list(answer.response)
    answer.close()

    assert max(map(len, pieces)) < 100_000
    said = json.loads(b"".join(pieces))
    assert sorted(job["uid"] for job in said["jobs"]) == sorted(uids)
    assert (said["size"], said["name"]) == (630, "q")


def test_two_lists_at_a_time_and_no_third(keyed: Keyed) -> None:
    first, second = keyed.jobs(buffered=False), keyed.jobs(buffered=False)

    assert keyed.jobs().status_code == 429
    first.close()
    assert keyed.jobs().status_code == 200
    second.close()


def test_a_refused_list_takes_no_place(keyed: Keyed) -> None:
    for _ in range(5):
        assert keyed.jobs(key="wrong").status_code == 401

    assert keyed.jobs().status_code == 200


# --- durability, and other methods ------------------------------------------------


def test_a_write_tells_its_commit_to_those_who_ask(new_api: Any) -> None:
    keyed = Keyed(new_api(file=True))

    made = keyed.put(X_JobEngine_Commit="1")
    taken = keyed.next(X_JobEngine_Commit="1")

    told = [answer.headers["X-JobEngine-Commit"] for answer in (made, taken)]
    assert told[0] != told[1]
    assert "X-JobEngine-Commit" not in keyed.put().headers


def test_a_head_takes_no_job(keyed: Keyed) -> None:
    uid = keyed.made()

    answer = keyed.ask("HEAD", f"{NEXT}?queueName=q&markQueued=true")

    assert answer.status_code == 405
    assert keyed.state(uid) == "queued"
