"""A child process that runs jobs, as its parent has it: started, spoken to, ended.
Knows no job. What goes on inside it is child.py.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from jobengine.worker.frames import (
    FROM_CHILD_BYTES_MAX,
    STUBBORN_S,
    Frames,
    FromChild,
    ToChild,
    frame,
)

# A process that has taken nothing for so long hangs, or is stopped.
SEND_S = 30.0
# From the end of its pipe to its own: it may have memory to give back.
FATE_S = 2.0
# Between two looks whether it has ended.
LOOK_S = 0.01
READ_BYTES = 64 << 10

_DECODER = msgspec.json.Decoder(FromChild)


class Gone(Exception):
    """The process has ended, or was killed as it could not be spoken with."""


class ChildProcess:
    """For one thread. *call* is the name of its handler, which `ps` shows.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, call: str) -> None:
        down, self._down = os.pipe()
        self._up, up = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobengine.worker.child", f"{down},{up}", call],
                stdin=subprocess.DEVNULL,
                pass_fds=(down, up),
                # So that it is the worker to which Ctrl-C in a terminal speaks, and
                # what the handler started ends with it.
                process_group=0,
            )
        except OSError:
            os.close(self._down)
            os.close(self._up)
            raise
        finally:
            os.close(down)
            os.close(up)
        os.set_blocking(self._down, False)
        self._frames = Frames(FROM_CHILD_BYTES_MAX)

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    def send(self, message: ToChild) -> None:
        """Write the message.

        Raises:
            Gone: it does not take it.
        """
        unsent = memoryview(frame(message))
        deadline = time.monotonic() + SEND_S
        while unsent:
            if not _ready(self._down, select.POLLOUT, deadline - time.monotonic()):
                self.kill()
                raise Gone(f"the process took nothing for {SEND_S:.0f} s")
            try:
                unsent = unsent[os.write(self._down, unsent) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise Gone(self._fate()) from None

    def receive(self, timeout: float) -> Iterator[FromChild]:
        """What it has said; nothing when the time is up.

        Raises:
            Gone: it will say nothing more.
        """
        if not _ready(self._up, select.POLLIN, timeout):
            # What it started may keep the pipe open.
            if self.ended():
                raise Gone(self._fate())
            return
        data = os.read(self._up, READ_BYTES)
        if not data:
            raise Gone(self._fate())
        try:
            for body in self._frames.feed(data):
                yield _DECODER.decode(body)
        except (ValueError, msgspec.DecodeError):
            self.kill()
            raise Gone("the process wrote into the pipe of its worker") from None

    def ended(self) -> bool:
        """Whether the process is no more."""
        if self._process.returncode is not None:
            return True
        try:
            # It stays a zombie, so that its number is not another's when we kill.
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, flags) is not None
        except ChildProcessError:  # where SIGCHLD is ignored there are no zombies
            return True

    def kill(self) -> None:
        """End it, and what it has started, at once."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Have it end by itself, and soon."""
        os.close(self._down)
        os.close(self._up)
        try:
            self._process.wait(STUBBORN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _fate(self) -> str:
        """How it ended, once its pipe has."""
        deadline = time.monotonic() + FATE_S
        while not (ended := self.ended()) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        self.kill()
        code = self._process.returncode
        if not ended:
            return "the process closed the pipe to its worker"
        return f"the process ended with {_words(code)}"


def _words(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


def _ready(descriptor: int, event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(max(0.0, seconds) * 1000))
