"""Bugs to plant in the real code, each a rule of the file format that is not kept.

A bug is the code of a function with some of its text exchanged. When the text is not
there any more the bug says so: then it has to be planted anew.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import CodeType, FunctionType
from typing import NamedTuple

from machine import Machine

from jobengine.store.journal import compact, disk, log, opening, recover

COMMIT = """\
        if not self._append(group, body):
            return False
        tail.sync()
"""


class Cut(NamedTuple):
    """One function, and what its text is exchanged for."""

    function: Callable[..., object]
    before: str
    after: str


# Found by cutting the power.
CRASH_BUGS: dict[str, list[Cut]] = {
    "acknowledge before sync": [
        Cut(
            log.Log._commit,
            COMMIT,
            "        tail.sync()\n        self._append(group, body)\n",
        )
    ],
    "no sync before rename": [Cut(compact.Snapshot.sync, "self.tail.sync()", "pass")],
    "no sync of the folder": [
        # Whoever asks for it: the call does nothing.
        Cut(Machine.fsync, "self.log.append(FolderSynced())", "pass")
    ],
    "watermark too far": [
        Cut(
            log.Log._commit,
            "        tail.sync()\n",
            "        self._mark()\n        tail.sync()\n",
        )
    ],
    "two frames in flight": [
        Cut(
            log.Log._commit,
            COMMIT,
            '        tail.append(Type.TXN, b"")\n'
            "        self._append(group, body)\n        tail.sync()\n",
        )
    ],
    "truncate without a sync": [
        Cut(opening._go_on_in_place, "    file.sync()\n", "    pass\n")
    ],
    "two threads sync one descriptor": [
        Cut(
            log.Log._commit,
            "        tail.sync()\n",
            "        with suppress(OSError):  # told to the thread of the watermarks\n"
            "            tail.sync()\n"
            "        tail.sync()\n",
        )
    ],
    "an unclean stop continued in place": [
        Cut(
            opening._rewrite,
            "        new = disk.create_temporary()\n",
            "        if not found.used_previous:\n"
            "            raise OSError(28, 'as if there was no room')\n"
            "        new = disk.create_temporary()\n",
        )
    ],
    "a commit from before a compaction written after it": [
        Cut(
            log.Log._next,
            "errand is None or self._groups[0].capture is not self._capture",
            "errand is None",
        )
    ],
    "a compaction without the commits since": [
        Cut(compact._catch_up_and_finish, "while captured:", "while False:")
    ],
}

# Found by putting files together that do not belong together.
STRUCTURE_BUGS: dict[str, list[Cut]] = {
    "a mark of another fork accepted": [
        Cut(
            recover._walk,
            "marks.discard(Mark(header.seq, chain.at, chain.tag))",
            "marks = {m for m in marks if (m.seq, m.end) != (header.seq, chain.at)}",
        )
    ],
    "no mark required": [
        Cut(recover.examine, "if not marks:", "if False:"),
        Cut(
            recover.examine,
            "newest = max(marks, key=lambda slot: marks[slot].end)",
            "newest = max(marks, default=0)",
        ),
        Cut(
            recover.examine,
            "marks[newest].end == chain.at",
            "newest in marks",
        ),
    ],
}

# Found by two starts at once.
_Disk = disk.OsDisk
LOCK_BUGS: dict[str, list[Cut]] = {
    "no lock": [Cut(_Disk._take, "if not file.lock():", "if False:")],
    "a file opened and not looked for again": [
        Cut(_Disk.open, "if file.at_its_path():", "if True:")
    ],
    "a file created and not looked for again": [
        Cut(_Disk.create_first, "if not file.at_its_path():", "if False:")
    ],
    "created though there is one": [
        Cut(_Disk.create_first, "if self.path.exists():", "if False:")
    ],
    "an abandoned file not locked": [
        Cut(_Disk._unlink_abandoned, "self._take(file)", "pass")
    ],
    "an abandoned file not looked for again": [
        Cut(_Disk._unlink_abandoned, "if file.at_its_path():", "if True:")
    ],
    "the old file let go before the rename": [
        Cut(
            opening._rewrite,
            "        disk.publish(new)\n",
            "        file.close()\n        disk.publish(new)\n",
        )
    ],
}


@contextmanager
def planted(cuts: list[Cut]) -> Iterator[None]:
    """Have the bug until the block ends."""
    with ExitStack() as stack:
        for function in {cut.function for cut in cuts}:
            assert isinstance(function, FunctionType)
            stack.callback(setattr, function, "__code__", function.__code__)
            mine = [cut for cut in cuts if cut.function is function]
            function.__code__ = _recompiled(function, mine)
        yield


def _recompiled(function: FunctionType, cuts: list[Cut]) -> CodeType:
    text = textwrap.dedent(inspect.getsource(function))
    for cut in cuts:
        times = text.count(cut.before)
        assert times == 1, (
            f"{function.__qualname__} has {cut.before!r} {times} times: "
            "plant this bug anew"
        )
        text = text.replace(cut.before, cut.after)
    made: dict[str, FunctionType] = {}
    exec(compile(text, inspect.getfile(function), "exec"), function.__globals__, made)
    return made[function.__name__].__code__
