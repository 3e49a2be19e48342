"""What both of JobEngine's dialects say of a job in the same way: its state, its lease,
and many jobs by the chunk. Knows no path and no verb.
"""

from collections.abc import Callable, Iterable, Iterator

from jobengine.api.exchange import LEASE
from jobengine.core.job import Job, State

# A job that is cancelled by another dialect can only show as failed here.
WORDS = {
    State.QUEUED: "queued",
    State.INPROGRESS: "inprogress",
    State.COMPLETE: "complete",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}
WORD_BYTES = [WORDS[state].encode() for state in State]
STATES = {word: state for state, word in reversed(WORDS.items())}

# A whole second T is over when its last millisecond is (JE1-T2 compares strictly).
LAST_MS = 999

# What a listing hands to the server at once: it may not hold a queue's payloads twice.
_CHUNK_BYTES = 64 << 10


def in_chunks(
    slices: Iterable[list[tuple[int, Job]]],
    shown: Callable[[int, Job], bytes | None],
) -> Iterator[list[bytes]]:
    """The jobs of a listing as *shown* by place and job, None for those that are not,
    as many at a time as make a chunk; sometimes none."""
    for piece in slices:
        texts: list[bytes] = []
        size = 0
        for place, job in piece:
            text = shown(place, job)
            if text is None:
                continue
            texts.append(text)
            size += len(text)
            if size > _CHUNK_BYTES:
                yield texts
                texts, size = [], 0
        yield texts


def leased(job: Job) -> tuple[tuple[str, str], ...]:
    """The header that tells who holds the job by which lease it does."""
    return () if job.lease is None else ((LEASE, job.lease.token),)
