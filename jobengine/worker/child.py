"""Within a child process: takes one job after another from its worker, and runs the
handler on each. Started as `python -m jobengine.worker.child` by child_process.py.

It speaks through two pipes of its own: what the handler prints goes where the worker's
output goes. It ends with its worker.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from queue import SimpleQueue
from typing import Any

import msgspec

from jobengine.errors import Abandoned
from jobengine.worker.frames import (
    FAULTS,
    KINDS,
    STUBBORN_S,
    Abandon,
    Begin,
    Broken,
    Checkpoint,
    Frames,
    FromChild,
    Hello,
    Kept,
    Over,
    Progress,
    Ready,
    Rule,
    Said,
    ToChild,
    end_of,
    error_of,
    frame,
    said_of,
)
from jobengine.worker.handlers import Context, Meaning, Meanings, Spec, text_of
from jobengine.worker.held import Held, HeldJob
from jobengine.worker.references import load_script, resolved
from jobengine.worker.work import End, Work

# How often it looks whether the worker is still there: its end of the pipe may be held
# open by what it started.
LOOK_S = 5.0
READ_BYTES = 64 << 10

_DECODER = msgspec.json.Decoder(ToChild)


class Pipe:
    """Both ways to the worker. Of this process alone: what it forks has no part in it,
    so that nobody else can speak for the job."""

    def __init__(self, down: int, up: int) -> None:
        self._down, self._up = down, up
        self._lock = threading.Lock()  # one message is written at a time
        self._parent = os.getppid()
        for end in (down, up):
            os.set_inheritable(end, False)
        os.register_at_fork(after_in_child=self._forked)

    def send(self, message: FromChild) -> None:
        """Write the message.

        Raises:
            RuntimeError: this is another process.
            OSError: the worker is gone.
        """
        if self._up < 0:
            raise RuntimeError("a forked process cannot speak for a job")
        unsent = memoryview(frame(message))
        with self._lock:
            while unsent:
                unsent = unsent[os.write(self._up, unsent) :]

    def messages(self) -> Iterator[ToChild]:
        """What the worker says, until it is gone."""
        frames = Frames()
        poll = select.poll()
        poll.register(self._down, select.POLLIN)
        while os.getppid() == self._parent:
            if poll.poll(LOOK_S * 1000):
                # The handler may have closed what it found open.
                with suppress(OSError):
                    if data := os.read(self._down, READ_BYTES):
                        yield from map(_DECODER.decode, frames.feed(data))
                        continue
                return

    def _forked(self) -> None:
        down, up, self._down, self._up = self._down, self._up, -1, -1
        for end in (down, up):
            with suppress(OSError):
                os.close(end)


class Desk:
    """Carries what the handler says of one run to the worker. See held.Keeper."""

    def __init__(self, pipe: Pipe, run: int) -> None:
        self.run = run
        self.answers: SimpleQueue[Kept] = SimpleQueue()
        # Threads of the handler may go on when it is through: nobody hears them.
        self.over = False
        self._pipe = pipe
        self._one = threading.Lock()  # checkpoints are answered in order

    def tell(self, held: Held) -> None:
        told = held.hold.take_told()
        if told is not None and not self.over:
            self._pipe.send(Progress(self.run, told))

    def checkpoint(self, held: Held, told: msgspec.Raw) -> None:
        held.check()
        if self.over:
            raise Abandoned(f"job {held.uid}: its run is over")
        with self._one:
            self._pipe.send(Checkpoint(self.run, told))
            answer = self.answers.get()
        if answer.kind is not None:
            error = FAULTS[answer.kind](answer.error)
            error.code = answer.code
            raise error

    def monotonic(self) -> float:
        return time.monotonic()

    def end(self, _work: Work, end: End) -> None:
        """The run is over."""
        self.over = True
        self._pipe.send(Over(self.run, _said(end)))


class Inbox:
    """Hears the worker, on a thread of its own."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        # The first is what this process is for; None: the worker is gone.
        self.hello: SimpleQueue[Hello | None] = SimpleQueue()
        self.jobs: SimpleQueue[tuple[Desk, HeldJob] | None] = SimpleQueue()
        self._current: tuple[Desk, HeldJob] | None = None

    def listen(self) -> None:
        """Until the worker is gone. Then this process ends too."""
        try:
            for message in self._pipe.messages():
                self._hear(message)
        finally:
            if self._current is not None:
                self._current[1].hold.abandon("lost")
            self.hello.put(None)
            self.jobs.put(None)
            time.sleep(STUBBORN_S)
            _perish()

    def _hear(self, message: ToChild) -> None:
        match message:
            case Hello():
                self.hello.put(message)
            case Begin(run=run, job=job, passed_s=passed):
                desk = Desk(self._pipe, run)
                self._current = desk, HeldJob(job, desk, time.monotonic() - passed)
                self.jobs.put(self._current)
            case Abandon(run=run, why=why):
                if self._current is not None and self._current[0].run == run:
                    self._current[1].hold.abandon(why)
            case Kept(run=run):
                if self._current is not None and self._current[0].run == run:
                    self._current[0].answers.put(message)


class LateClient:
    """The client of a context: made from the environment when it is first used. That of
    the worker is in another process."""

    @cached_property
    def _made(self) -> Any:
        from jobengine.client.client import Client

        return Client.from_env()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)


def main(ends: str) -> None:
    """Run jobs until the worker is gone."""
    # It is the worker that is told to stop, and then tells us. Not ignored: what the
    # handler starts would inherit that.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    down, up = map(int, ends.split(","))
    pipe = Pipe(down, up)
    inbox = Inbox(pipe)
    threading.Thread(target=inbox.listen, name="jobengine-inbox", daemon=True).start()
    hello = inbox.hello.get()
    # Once the worker is gone there is nobody to speak to.
    with suppress(BrokenPipeError):
        if hello is not None and (loaded := _load(pipe, hello)) is not None:
            _serve(inbox, *loaded)


def _load(pipe: Pipe, hello: Hello) -> tuple[Spec, Meanings] | None:
    sys.path[:] = hello.path
    try:
        if hello.script is not None:
            load_script(hello.script)
        own, workers = (_meanings(table) for table in hello.tables)
        spec = Spec(
            call=resolved(hello.call),
            name=hello.name,
            queues=(),
            exceptions=own,
            takes_context=hello.takes_context,
        )
    except BaseException as error:  # noqa: BLE001 a module may raise anything
        pipe.send(Broken(error_of(f"it cannot be imported: {text_of(error)}") or ""))
        return None
    pipe.send(Ready())
    return spec, workers


def _serve(inbox: Inbox, spec: Spec, workers: Meanings) -> None:
    client: Any = LateClient()
    while (given := inbox.jobs.get()) is not None:
        desk, held = given
        context = Context(client, None, held.queue)
        Work(held, spec, context, workers, desk.end).run()
        del given, desk, held, context  # they hold the payload


def _said(end: End) -> Said:
    try:
        return said_of(end)
    except (TypeError, ValueError, AttributeError) as error:
        text = error_of(f"what the handler returned means nothing: {error}")
        return Said("Critical", error=text)


def _meanings(rules: tuple[Rule, ...]) -> Meanings:
    return {resolved(rule.error): _meaning(rule) for rule in rules}


def _meaning(rule: Rule) -> Meaning:
    if rule.outcome is not None:
        return end_of(rule.outcome)  # type: ignore[return-value]
    if rule.kind is not None:
        return KINDS[rule.kind]  # type: ignore[return-value]
    assert rule.call is not None, "it has one of the three"
    meaning: Meaning = resolved(rule.call)
    return meaning


def _perish() -> None:
    """End at once, and what the handler has started too."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
