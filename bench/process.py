"""Other programs: built, started, waited for, ended. Knows none of them by name."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
# A daemon with a million jobs to read is the slowest to start of all.
START_S, STOP_S = 120, 30
LOOK_S = 0.02

# Made into text one by one.
Words = Sequence[object]
NOTHING: Mapping[str, str] = {}


class Missing(Exception):
    """A program is not here, or does not work here: says which."""


def built(source: str, into: Path, *flags: object) -> Path:
    """The program made of bench/*source*; *flags* may name more sources, or libraries.

    Raises:
        Missing: there is no C compiler, or it refuses.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("no C compiler (cc)")
    made = into / Path(source).stem
    done = subprocess.run(
        [compiler, "-O2", "-Wall", HERE / source, *map(str, flags), "-o", made],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Missing(f"{source} could not be built: {done.stderr}")
    return made


def found(name: str, *folders: str) -> Path:
    """Where the program *name* is.

    Raises:
        Missing: nowhere on the path, nor in *folders*.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), *folders))
    where = shutil.which(name, path=path)
    if where is None:
        raise Missing(f"no {name}")
    return Path(where)


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(
    command: Words,
    *,
    ready: Callable[[], bool],
    log: Path,
    environ: Mapping[str, str] = NOTHING,
    stop: signal.Signals = signal.SIGTERM,
    user: str | None = None,
) -> Iterator[int]:
    """*command* runs until the block ends, by its process id.

    Raises:
        Missing: it ended instead, or was not ready in time.
    """
    with log.open("ab") as lines:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=os.environ | dict(environ),
            stdout=lines,
            stderr=lines,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    try:
        _until_ready(process, ready, log)
        yield process.pid
    finally:
        _end(process, stop)


def _until_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path
) -> None:
    until = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            last = log.read_text(errors="replace")[-500:]
            raise Missing(f"it did not start: {last}")
        time.sleep(LOOK_S)


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    process.send_signal(stop)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def output(
    command: Words,
    environ: Mapping[str, str] = NOTHING,
    *,
    user: str | None = None,
) -> str:
    """What *command* prints.

    Raises:
        Missing: it failed, in its own words.
    """
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | dict(environ),
        capture_output=True,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if done.returncode:
        name = Path(str(command[0])).name
        raise Missing(f"{name} failed: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout


def measured(command: Words, environ: Mapping[str, str] = NOTHING) -> tuple[str, float]:
    """What *command* prints, and how much of one core it took for itself.

    Raises:
        Missing: it failed, in its own words.
    """
    before, began = _cpu_s(), time.perf_counter()
    text = output(command, environ)
    return text, (_cpu_s() - before) / (time.perf_counter() - began)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def children(pid: int) -> list[int]:
    """The processes under *pid*."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def resident_bytes(pid: int) -> int:
    """Memory of *pid*."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
