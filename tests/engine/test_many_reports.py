"""A holder speaks of many jobs at once, and each is answered by itself."""

from collections.abc import Callable

import pytest
from asking import (
    BROWSER,
    GONE,
    ME,
    ONCE,
    OTHER,
    READER,
    STRANGER,
    TWICE,
    WRITER,
    Desk,
    refusal,
    token,
)

from jobengine.core.access import Caller
from jobengine.core.events import Event
from jobengine.core.job import PROGRESS_BYTES_MAX, Change, Job, State
from jobengine.engine import Receipt, Said
from jobengine.errors import (
    Forbidden,
    InvalidJob,
    JobCancelled,
    JobNotFound,
    QueueNotFound,
    StaleLease,
    WrongState,
)
from jobengine.testing import SimDisk

VERBS = ("beat_each", "complete_each")
each_verb = pytest.mark.parametrize("verb", VERBS)
TOO_LARGE = bytes(PROGRESS_BYTES_MAX + 1)


def say(
    desk: Desk, verb: str, *said: Said, caller: Caller = ME
) -> list[Job | Exception]:
    return getattr(desk.engine, verb)(caller, "q", said)  # type: ignore[no-any-return]


def kinds(told: list[Job | Exception]) -> list[type]:
    return [type(each) for each in told]


# --- what -------------------------------------------------------------------------


def test_all_that_are_said_to_be_alive_have_their_leases_start_over(desk: Desk) -> None:
    first, second = desk.held(progress=b"1"), desk.held(progress=b"2")
    desk.clock.advance(seconds=1)
    until = desk.clock.now() + 60_000

    told = say(
        desk, "beat_each", Said(first.uid, told=b"9"), Said(second.uid, told=b"null")
    )

    assert told == list(desk.rows().values())
    rows = [job for job in told if isinstance(job, Job)]
    assert [job.progress for job in rows] == [b"9", None]
    assert [job.lease and job.lease.until for job in rows] == [until, until]
    assert [job.lease and job.lease.token for job in rows] == [
        token(first),
        token(second),
    ]


def test_all_that_are_said_to_be_done_are_complete_with_what_came_of_them(
    desk: Desk,
) -> None:
    first, second = desk.held(progress=b"1"), desk.held(progress=b"2")

    told = say(desk, "complete_each", Said(first.uid, told=b"[7]"), Said(second.uid))

    assert told == list(desk.rows().values())
    rows = [job for job in told if isinstance(job, Job)]
    assert {job.state for job in rows} == {State.COMPLETE}
    assert [(job.result, job.progress) for job in rows] == [
        (b"[7]", None),
        (None, b"2"),
    ]


def test_one_is_told_as_if_it_had_been_said_alone(desk: Desk) -> None:
    one, alone = desk.held(), desk.held()

    [told] = say(desk, "complete_each", Said(one.uid, token(one), b"7"))
    after = desk.engine.complete(ME, "q", alone.uid, result=b"7", lease=token(alone))

    assert isinstance(told, Job)
    assert desk.row(one) == told
    assert (told.state, told.result, told.keep_until) == (
        after.state,
        after.result,
        after.keep_until,
    )
    assert desk.events[-2:] == [Event.COMPLETED] * 2


def test_what_is_not_to_be_kept_is_told_and_gone(desk: Desk) -> None:
    job = desk.held(terms=GONE)

    [told] = say(desk, "complete_each", Said(job.uid, told=b"7"))

    assert isinstance(told, Job)
    assert told.result == b"7"
    assert desk.rows() == {}


@each_verb
def test_nothing_said_is_nothing_done(desk: Desk, verb: str) -> None:
    assert say(desk, verb) == []


def test_what_is_done_is_there_after_a_crash() -> None:
    desk = Desk(disk=SimDisk())
    job, receipt, crashed = desk.held(), Receipt(), desk.house
    desk.engine.complete_each(
        ME, "q", [Said(job.uid, told=b' {"n": 1.50}')], receipt=receipt
    )
    assert receipt.commit is not None
    assert desk.disk is not None
    desk.disk = desk.disk.clone()

    desk.open(desk.engine.rules)

    row = desk.row(job)
    assert row is not None
    # To the byte.
    assert (row.state, row.result) == (State.COMPLETE, b' {"n": 1.50}')
    desk.house.close()
    crashed.close()


# --- each by itself ---------------------------------------------------------------

WRONG: dict[type[Exception], Callable[[Desk], Said]] = {
    JobNotFound: lambda desk: Said("no such job"),
    Forbidden: lambda desk: Said(desk.held(OTHER).uid),
    StaleLease: lambda desk: Said(desk.held().uid, "another lease"),
    WrongState: lambda desk: Said(desk.put(priority=1).uid),
    InvalidJob: lambda desk: Said(desk.held().uid, told=TOO_LARGE),
    JobCancelled: lambda desk: Said(cancelled(desk).uid),
}


def cancelled(desk: Desk) -> Job:
    job = desk.held()
    desk.engine.cancel(ME, "q", job.uid)
    return job


@each_verb
@pytest.mark.parametrize("error", WRONG)
def test_one_that_cannot_be_done_is_told_in_its_place_and_the_rest_is_done(
    desk: Desk, verb: str, error: type[Exception]
) -> None:
    first, wrong, last = desk.held(), WRONG[error](desk), desk.held()
    before = desk.rows().get(wrong.uid)
    desk.clock.advance(seconds=1)

    told = say(desk, verb, Said(first.uid), wrong, Said(last.uid))

    assert kinds(told) == [Job, error, Job]
    rows = desk.rows()
    assert (told[0], told[2]) == (rows[first.uid], rows[last.uid])
    assert rows.get(wrong.uid) == before


def test_one_that_is_named_twice_is_done_once(desk: Desk) -> None:
    job = desk.held()

    told = say(desk, "complete_each", Said(job.uid, told=b"1"), Said(job.uid))

    assert kinds(told) == [Job, WrongState]
    row = desk.row(job)
    assert row is not None
    assert row.result == b"1"


@each_verb
def test_one_whose_lease_has_run_out_is_no_more_held_swept_or_not(
    desk: Desk, verb: str
) -> None:
    lost = desk.held(terms=TWICE)
    dead = desk.held(terms=ONCE, priority=99)
    desk.clock.advance(minutes=1)
    said = [Said(lost.uid), Said(lost.uid, token(lost)), Said(dead.uid)]

    assert kinds(say(desk, verb, *said)) == [WrongState, StaleLease, WrongState]


def test_a_result_goes_when_a_writer_opens_the_job_again(desk: Desk) -> None:
    job = desk.held()
    say(desk, "complete_each", Said(job.uid, told=b"7"))

    after = desk.engine.update(WRITER, "q", job.uid, Change(state=State.QUEUED))

    assert after.result is None
    assert desk.row(job) == after


# --- who --------------------------------------------------------------------------


@each_verb
@pytest.mark.parametrize(
    ("caller", "error"),
    [
        (STRANGER, QueueNotFound),
        (WRITER, Forbidden),
        (BROWSER, Forbidden),
        (READER, None),
    ],
)
def test_who_reads_may_speak_of_what_it_holds(
    desk: Desk, verb: str, caller: Caller, error: type[Exception] | None
) -> None:
    job = desk.held(READER)

    assert refusal(say, desk, verb, Said(job.uid), caller=caller) is error
    assert (desk.row(job) == job) == (error is not None or verb == "beat_each")
