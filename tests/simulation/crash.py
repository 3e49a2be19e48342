"""Crashes, simulated: the power fails, and the next start must have it all.

    python tests/simulation/crash.py --states 250000 --processes 2
    python tests/simulation/crash.py --seed 17

A seed is a machine and what happens to it (life.py). At every point of what was
written the power is cut, and states of the disk that could follow are opened: what was
acknowledged must be there and the rest whole or absent; a refusal is as bad as a loss.
Some of the openings are themselves cut short and opened again.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from random import Random

from driven import Rows, Secrets, found, recovered, simulation
from life import Failure, Life
from machine import EMPTY, Image, Machine, Write
from platter import Platter

from jobengine.errors import StoreError

LIVES = 3  # power cuts a seed, each machine going on from one that could have been
STATES_A_POINT = 5
# Of so many states one is opened for writing and not only read, and of so many of these
# openings one is itself cut short, at each of its points.
OPENED_OF, CUT_SHORT_OF = 3, 10


class Judge:
    """Opens what power cuts leave. Counts the states that it has opened."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.states = 0

    def judge(self, life: Life) -> None:
        """Cut the power at every point of a life.

        Raises:
            Failure: a legal state is refused, or is not what it must be.
        """
        known: dict[object, Rows] = {}
        for point, image in cuts(life.machine, self._rng, STATES_A_POINT):
            secrets = life.history.secrets(point)
            key = (secrets, image.key())
            if key not in known:
                known[key] = self._open(image, secrets)
            if known[key] not in life.history.possible(point):
                raise Failure(
                    f"cut at {point} of {len(life.machine.log)}: acknowledged changes "
                    "are lost, or changes are there by halves"
                )

    def _open(self, image: Image, secrets: Secrets) -> Rows:
        self.states += 1
        if self._rng.randrange(OPENED_OF):
            return refusing_nothing(found, Machine(image), secrets)
        machine = Machine(image)
        rows = refusing_nothing(recovered, machine, secrets)
        if not self._rng.randrange(CUT_SHORT_OF):
            for point, again in cuts(machine, self._rng, STATES_A_POINT):
                self.states += 1
                if refusing_nothing(found, Machine(again), secrets) != rows:
                    raise Failure(f"a start cut at its point {point} lost rows")
        return rows


def cuts(machine: Machine, rng: Random, count: int) -> Iterator[tuple[int, Image]]:
    """States of the disk after a power cut, at every point of the machine's log."""
    platter = Platter(machine.start)
    for point in range(len(machine.log) + 1):
        if point:
            platter.take(machine.log[point - 1])
        seen = set()
        for image in platter.images(rng, count):
            key = image.key()
            if key not in seen:
                seen.add(key)
                yield point, image


def some_cuts(machine: Machine, rng: Random) -> list[tuple[int, Image]]:
    """To go on from: mostly those that met the database in the middle of a write."""
    every = list(cuts(machine, rng, STATES_A_POINT))
    writes = {
        point: op.inode
        for point, op in enumerate(machine.log, start=1)
        if isinstance(op, Write)
    }
    torn = [cut for cut in every if writes.get(cut[0]) == cut[1].names.get("db", 0)]
    return torn if torn and rng.random() < 0.7 else every


def refusing_nothing(
    start: Callable[[Machine, Secrets], Rows], machine: Machine, secrets: Secrets
) -> Rows:
    """Raises: Failure, when the start does not succeed."""
    try:
        return start(machine, secrets)
    except StoreError as error:
        raise Failure(f"a legal crash is refused: {error}") from error


def run_seed(seed: int) -> int:
    """The number of states that one machine went through.

    Raises:
        Failure: naming the seed.
    """
    rng = Random(seed)
    image = EMPTY
    rows: Rows = {}
    secrets: Secrets = (b"first", None)
    judge = Judge(rng)
    with simulation(rng):
        for nth in range(LIVES):
            life = Life(image, rows, secrets, rng)
            try:
                life.live()
                judge.judge(life)
            except Exception as error:
                raise Failure(f"seed {seed}, life {nth}: {error}") from error
            point, image = rng.choice(some_cuts(life.machine, rng))
            secrets = life.history.secrets(point)
            rows = recovered(Machine(image), secrets)
    return judge.states


def torture(states: int, processes: int, seed: int) -> None:
    """Go on, seed after seed, until so many states have been opened.

    Raises:
        Failure: naming the seed.
    """
    done, first, began, shown = 0, seed, time.monotonic(), 0.0
    with ProcessPoolExecutor(processes) as pool:
        under_way = {
            pool.submit(run_seed, n) for n in range(seed, seed + 2 * processes)
        }
        seed += len(under_way)
        while under_way:
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            done += sum(future.result() for future in finished)
            while done < states and len(under_way) < 2 * processes:
                under_way.add(pool.submit(run_seed, seed))
                seed += 1
            if (elapsed := time.monotonic() - began) > shown + 5:
                shown = elapsed
                print(f"{done} crash states, {done / elapsed:.0f}/s", flush=True)
    elapsed = time.monotonic() - began
    print(
        f"{done} crash states of {seed - first} seeds in {elapsed:.0f} s: "
        "nothing lost, nothing refused"
    )


def main() -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=250_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    args = parser.parse_args()
    try:
        if args.seed is not None:
            print(f"{run_seed(args.seed)} crash states, nothing lost")
        else:
            torture(args.states, args.processes, args.first_seed)
    except Failure as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
