"""Files put together from parts of good ones are refused, each at the offset named.

The files are those of the real store: two forks that went on from one copied file, the
epoch before, and another database under the same SECRET. Damage to single bytes,
sectors and lengths is tests/store/test_damage.py's.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from random import Random
from typing import NamedTuple

import pytest
from driven import Process, Rows, Secrets, found, simulation
from machine import Image, Machine, Write
from plants import STRUCTURE_BUGS, planted
from test_faults import job

from jobengine.errors import StoreCorrupt
from jobengine.store.journal.frame import (
    FIRST_FRAME,
    FRAME_MAGIC,
    HEADER_BYTES,
    MARK_BYTES,
    MARKS_AT,
    frame_header,
)
from jobengine.testing import SimClock

SECRETS: Secrets = (b"secret", None)
BLANK = bytes(MARK_BYTES)


class File(NamedTuple):
    """A file in its parts, and the rows that it holds."""

    front: bytes
    frames: list[bytes]
    rows: Rows

    @property
    def data(self) -> bytes:
        return self.front + b"".join(self.frames)

    @property
    def marks(self) -> list[bytes]:
        return [self.front[at : at + MARK_BYTES] for at in MARKS_AT]


class Family(NamedTuple):
    """A file and its relations, all with frames of the same lengths where they can."""

    one: File
    fork: File  # from the same copy
    forked_at: int  # the first frame in which they differ
    before: File  # an epoch earlier
    other: File  # another database


def made() -> Family:
    """A small family."""
    root = Machine()
    serve(root, 1, 2)
    before = file_of(root)
    kill(root, 3)
    serve(root, 4)
    copied = root.cached()
    one, fork, other = Machine(copied), Machine(copied), Machine()
    serve(one, 5, 6)
    serve(fork, 7, 8)
    serve(other, 1, 2)
    parent = file_of(root)
    return Family(
        file_of(one), file_of(fork), len(parent.frames), before, file_of(other)
    )


def serve(machine: Machine, *numbers: int) -> None:
    """A process that commits these jobs, a frame each, and stops."""
    process = Process(machine, SimClock(), SECRETS)
    for number in numbers:
        process.commit([(None, job(number, content=b"1"))])
        process.idle()
    process.close()


def kill(machine: Machine, number: int) -> None:
    """A process that commits this job and is killed."""
    process = Process(machine, SimClock(), SECRETS)
    process.commit([(None, job(number, content=b"1"))])
    process.kill()


def file_of(machine: Machine) -> File:
    """What a copy of the database is."""
    image = machine.cached()
    data = image.files[image.names["db"]]
    frames, at = [], FIRST_FRAME
    while at < len(data):
        header = frame_header(data[at:], data[16:40])
        assert header is not None
        frames.append(data[at : at + header.size])
        at += header.size
    return File(data[:FIRST_FRAME], frames, found(Machine(image), SECRETS))


def opened(data: bytes) -> Rows:
    """Raises: StoreCorrupt, when the file is refused."""
    return found(Machine(Image({"db": 1}, {1: data})), SECRETS)


def refusal(data: bytes) -> StoreCorrupt | None:
    """Why a file is refused; None when it is opened."""
    try:
        opened(data)
    except StoreCorrupt as error:
        return error
    return None


def with_marks(front: bytes, marks: list[bytes]) -> bytes:
    """The front of a file with other watermarks."""
    changed = bytearray(front)
    for at, mark in zip(MARKS_AT, marks, strict=True):
        changed[at : at + MARK_BYTES] = mark
    return bytes(changed)


def moved_frames(family: Family) -> Iterator[tuple[str, bytes]]:
    """Frames dropped, doubled and swapped."""
    front, frames, _ = family.one
    for nth in range(len(frames)):
        yield f"frame {nth} dropped", front + b"".join(frames[:nth] + frames[nth + 1 :])
        yield f"frame {nth} doubled", front + b"".join(frames[: nth + 1] + frames[nth:])
    for a, b in combinations(range(len(frames)), 2):
        swapped = list(frames)
        swapped[a], swapped[b] = swapped[b], swapped[a]
        yield f"frames {a} and {b} swapped", front + b"".join(swapped)


def spliced_frames(family: Family) -> Iterator[tuple[str, bytes]]:
    """Frames of a fork, of the epoch before and of another file."""
    one = family.one
    relations = {"fork": family.fork, "before": family.before, "other": family.other}
    for name, relation in relations.items():
        first = family.forked_at if relation is family.fork else 0
        for nth in range(first, min(len(one.frames), len(relation.frames))):
            spliced = [*one.frames]
            spliced[nth] = relation.frames[nth]
            yield f"frame {nth} of {name}", one.front + b"".join(spliced)
            tail = one.frames[:nth] + relation.frames[nth:]
            yield f"all from frame {nth} of {name}", one.front + b"".join(tail)


def foreign_fronts(family: Family) -> Iterator[tuple[str, bytes]]:
    """The frames of a file behind the header, or the marks, of a relation."""
    one = family.one
    tail = b"".join(one.frames)
    for name, relation in {
        "fork": family.fork,
        "before": family.before,
        "other": family.other,
    }.items():
        yield f"header and marks of {name}", relation.front + tail
        yield f"marks of {name}", with_marks(one.front, relation.marks) + tail
        if relation is not family.fork:
            header = relation.front[:HEADER_BYTES] + one.front[HEADER_BYTES:]
            yield f"first header of {name}", header + tail
    yield (
        "one mark of each fork",
        with_marks(one.front, [one.marks[0], family.fork.marks[1]]) + tail,
    )


def unmarked_cuts(family: Family) -> Iterator[tuple[str, bytes]]:
    """Both watermarks blanked and the file cut at the end of a frame."""
    front = with_marks(family.one.front, [BLANK, BLANK])
    for count in range(len(family.one.frames) + 1):
        yield f"{count} frames", front + b"".join(family.one.frames[:count])


MIXTURES: dict[str, Callable[[Family], Iterator[tuple[str, bytes]]]] = {
    "moved frames": moved_frames,
    "spliced frames": spliced_frames,
    "foreign fronts": foreign_fronts,
    "unmarked cuts": unmarked_cuts,
}


def accepted(kind: str) -> list[str]:
    """The mixtures of a kind that were opened; they never must be."""
    with simulation(Random(1)):
        refusals = {name: refusal(data) for name, data in MIXTURES[kind](made())}
    for name, error in refusals.items():
        assert error is None or error.offset is not None, f"{name}: {error}"
    return [name for name, error in refusals.items() if error is None]


@pytest.mark.parametrize("kind", MIXTURES)
def test_what_was_put_together_from_parts_is_refused(kind: str) -> None:
    assert not accepted(kind)


@pytest.mark.parametrize("bug", STRUCTURE_BUGS)
def test_a_rule_that_is_not_kept_lets_a_mixture_through(bug: str) -> None:
    with planted(STRUCTURE_BUGS[bug]):
        assert any(accepted(kind) for kind in MIXTURES)


def test_the_relations_themselves_are_good_files() -> None:
    with simulation(Random(1)):
        family = made()

        for file in (family.one, family.fork, family.before, family.other):
            assert opened(file.data) == file.rows
        assert (
            family.one.frames[: family.forked_at]
            == (family.fork.frames[: family.forked_at])
        )
        assert len(family.one.data) == len(family.fork.data)


@pytest.mark.parametrize("closed", [True, False])
def test_garbage_after_the_end_changes_nothing(closed: bool) -> None:
    rng = Random(2)
    with simulation(rng):
        machine = Machine()
        serve(machine, 1, 2)
        if not closed:
            kill(machine, 3)
        file = file_of(machine)

        for length in range(1, 201):
            data = file.data + rng.randbytes(length)
            error = refusal(data)
            if error is None:
                assert opened(data) == file.rows
            else:
                assert closed, "what follows a frame may be a torn commit"
                assert error.offset == len(file.data)


def test_no_nonce_is_used_twice_over_forks_and_copies() -> None:
    with simulation():
        root = Machine()
        serve(root, 1, 2)
        image = root.cached()
        machines = [root, *(Machine(image) for _ in range(4))]
        for machine in machines:
            serve(machine, 3)
            kill(machine, 4)
            serve(machine, 5)

    # What is written again as it was is sealed but once.
    sealed = {op for m in machines for op in m.log if isinstance(op, Write)}
    used = [nonce_of(write) for write in sealed]
    assert len(used) > 80
    assert len(set(used)) == len(used)


def nonce_of(write: Write) -> bytes:
    """The nonce that a header, a frame or a watermark was sealed with."""
    if write.data.startswith(FRAME_MAGIC):
        return write.data[40:64]
    if write.offset == 0:
        return write.data[104:128]
    assert write.offset in MARKS_AT
    return write.data[:24]
