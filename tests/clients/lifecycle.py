"""The whole life of a job, told in the words of a client that was generated.

Run by test_generated_client.py in the client's own environment, with the address of a
daemon: it ends with an AssertionError where anything is not as it must be.
"""

import sys
from http import HTTPStatus
from typing import Any

from native.api.jobs import (
    claim_jobs,
    complete_job,
    enqueue_job,
    get_job,
    heartbeat_job,
    list_jobs,
)
from native.api.queues import create_queue, delete_queue, get_queue, get_stats
from native.api.schedules import create_schedule, list_schedules
from native.client import AuthenticatedClient
from native.models import (
    BeatBody,
    CompleteBody,
    Job,
    JobBody,
    JobState,
    NewScheduleBody,
    Problem,
    QueueBody,
)

QUEUE = "letters"


def done(response: Any, status: HTTPStatus = HTTPStatus.OK) -> Any:
    """What the response has to say, where it is what was expected."""
    assert response.status_code == status, (response.status_code, response.content)
    return response.parsed


def live(client: AuthenticatedClient) -> None:
    """Queue a job, take it, work at it, complete it; and a schedule beside it."""
    new = QueueBody(name=QUEUE, read=["mailer"], write=["shop"])
    done(create_queue.sync_detailed(client=client, body=new), HTTPStatus.CREATED)

    letter = JobBody(content={"to": "ann"}, priority=70)
    made = enqueue_job.sync_detailed(
        QUEUE, client=client, body=letter, idempotency_key="one"
    )
    again = enqueue_job.sync_detailed(
        QUEUE, client=client, body=letter, idempotency_key="one"
    )
    job = done(made, HTTPStatus.CREATED)
    assert isinstance(job, Job)
    assert done(again, HTTPStatus.CREATED).uid == job.uid
    assert again.headers["Idempotency-Replayed"] == "true"

    (taken,) = done(claim_jobs.sync_detailed(QUEUE, client=client)).jobs
    assert taken.uid == job.uid
    assert taken.content == {"to": "ann"}
    lease = taken.lease.token

    beat = BeatBody(lease=lease, progress=["half"])
    done(heartbeat_job.sync_detailed(QUEUE, job.uid, client=client, body=beat))
    end = CompleteBody(lease=lease, result={"sent": True})
    done(complete_job.sync_detailed(QUEUE, job.uid, client=client, body=end))

    seen = done(get_job.sync_detailed(QUEUE, job.uid, client=client))
    assert seen.state == JobState.COMPLETE
    assert seen.result == {"sent": True}
    assert seen.lease is None
    listed = done(list_jobs.sync_detailed(QUEUE, client=client)).jobs
    assert [each.uid for each in listed] == [job.uid]
    assert done(get_stats.sync_detailed(QUEUE, client=client)).complete == 1

    nightly = NewScheduleBody(name="nightly", cron="0 3 * * *", content={})
    planned = create_schedule.sync_detailed(QUEUE, client=client, body=nightly)
    assert done(planned, HTTPStatus.CREATED).next_runs
    (schedule,) = done(list_schedules.sync_detailed(QUEUE, client=client)).schedules
    assert schedule.name == "nightly"

    gone = delete_queue.sync_detailed(QUEUE, client=client)
    assert gone.status_code == HTTPStatus.NO_CONTENT
    refused = done(get_queue.sync_detailed(QUEUE, client=client), HTTPStatus.NOT_FOUND)
    assert isinstance(refused, Problem)
    assert refused.code == "queue_not_found"


if __name__ == "__main__":
    live(
        AuthenticatedClient(
            base_url=sys.argv[1],
            token=sys.argv[2],
            prefix="",
            auth_header_name="X-Name",
            raise_on_unexpected_status=True,
        )
    )
