"""The pages of the SDK and the examples are true: all that they show is run.

A page is read as this: a block whose first line is `# name.ext` is a file of that name.
The python blocks of a section are one program, with those before the first section in
front. An sh block is run, and stays where it starts the daemon or a worker. A text
block right below either is what that prints.
"""

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from daemons import PATIENCE_S, ROOT, Daemon, until

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/sdk").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# For what is no page with a configuration of its own.
CONFIG = (
    (ROOT / "examples/config.yml").read_text()
    + """\
queues:
  test_queue_1: {read: [service1, service2], write: [service3]}
"""
)

# One that waits for two leases to run out, on a machine that is busy besides.
PROGRAM_S = 60.0


class Block(NamedTuple):
    """A block of a page, and what it is said to print."""

    kind: str
    text: str
    prints: str | None

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        named = re.match(r"# ([\w-]+\.\w+)\n", self.text)
        return named and named[1]

    @property
    def stays(self) -> str | None:
        """What it starts that does not end by itself."""
        *_, last = self.text.strip().splitlines()
        named = re.search(r"\bjobengine (serve|work)\b", last)
        return named and named[1]


def blocks(text: str) -> list[Block]:
    found = re.findall(
        r"^```(\w+)\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", text, re.M | re.S
    )
    return [
        Block(kind, body, prints or None)
        for kind, body, prints in found
        if kind in ("python", "sh", "yaml")
    ]


def sections(page: Path) -> dict[str, str]:
    """The text below each heading of the second level; what is before them: ''."""
    first, *rest = re.split(r"^## (.*)$", page.read_text(), flags=re.M)
    return {"": first, **dict(zip(rest[::2], rest[1::2], strict=True))}


def is_story(page: Path) -> bool:
    """Whether it is to be followed from its first line to its last."""
    return any(block.stays == "serve" for block in blocks(page.read_text()))


class Program(NamedTuple):
    """A section of a page, as it is run."""

    page: Path
    title: str


def programs() -> Iterator[Program]:
    for page in PAGES:
        if not is_story(page):
            yield from (
                Program(page, title)
                for title, text in sections(page).items()
                if title and any(block.kind == "python" for block in blocks(text))
            )


def environ_of(daemon: Daemon, name: str) -> dict[str, str]:
    """What a program needs to ask the daemon as this service."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "JOBENGINE_URL": f"http://127.0.0.1:{daemon.port}",
        "JOBENGINE_NAME": name,
        # What the tests of this project need besides would take seconds to load.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "jobengine.pytest_plugin",
    }


def run(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    """What it prints. It must end well."""
    done = subprocess.run(
        command,
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all of them: each has queues of its own."""
    daemon = Daemon(tmp_path_factory.mktemp("daemon"))
    daemon.configure(CONFIG)
    try:
        yield daemon.start()
    finally:
        daemon.kill()


# --- sections -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "program", list(programs()), ids=lambda each: f"{each.page.stem}: {each.title}"
)
def test_a_section_of_a_page_runs_and_prints_what_it_says(
    program: Program, daemon: Daemon, tmp_path: Path
) -> None:
    texts = sections(program.page)
    environ = environ_of(daemon, "app")
    shown = blocks(texts[""]) + blocks(texts[program.title])
    for block in shown:
        if block.file:
            (tmp_path / block.file).write_text(block.text)
    lines = [each for each in shown if each.kind == "python" and not each.file]
    (tmp_path / "program.py").write_text("\n".join(each.text for each in lines))

    printed = run([sys.executable, "program.py"], tmp_path, environ)

    assert printed == "".join(each.prints or "" for each in lines)
    for block in shown:
        if block.kind == "sh":
            printed = run(["sh", "-euc", block.text], tmp_path, environ)
            assert block.prints in (None, printed)


# --- stories ------------------------------------------------------------------------


class Telling:
    """Does what a page says, in a folder of its own."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self._daemon = daemon
        self._daemon.log = folder / "serve.log"
        self._folder = folder
        self._environ = environ_of(daemon, "app") | {"PORT": str(daemon.port)}
        self._there: dict[str, subprocess.Popen[bytes]] = {}

    def tell(self, block: Block) -> None:
        if block.file:
            (self._folder / block.file).write_text(block.text)
        elif block.stays:
            self.end(block.stays)
            self._begin(block.stays, block.text)
        else:
            printed = run(["sh", "-euc", block.text], self._folder, self._environ)
            assert block.prints in (None, printed), self.logs()

    def _begin(self, what: str, command: str) -> None:
        with (self._folder / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                ["sh", "-euc", command],
                env=self._environ,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._there[what] = process
        if what == "serve":
            self._daemon.process = process
            until(self._daemon.lives, "the daemon serves")

    def end(self, what: str) -> None:
        """Ctrl-C, where it is there."""
        process = self._there.pop(what, None)
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(PATIENCE_S)

    def close(self) -> None:
        for what in ("work", "serve"):
            self.end(what)

    def logs(self) -> str:
        return "\n".join(each.read_text() for each in self._folder.glob("*.log"))


@pytest.mark.parametrize(
    "page", list(filter(is_story, PAGES)), ids=lambda page: page.stem
)
def test_a_page_that_is_followed_to_the_letter_ends_as_it_says(
    page: Path, tmp_path: Path
) -> None:
    telling = Telling(Daemon(tmp_path / "unused"), tmp_path)

    try:
        for block in blocks(page.read_text()):
            telling.tell(block)
    finally:
        telling.close()


# --- examples -----------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints_what_it_says(
    example: Path, daemon: Daemon, tmp_path: Path
) -> None:
    told = ast.get_docstring(ast.parse(example.read_text())) or ""
    _, _, prints = told.partition("It prints:\n\n")

    printed = run([sys.executable, str(example)], tmp_path, environ_of(daemon, "app"))

    assert prints
    assert printed == re.sub("^    ", "", prints, flags=re.M) + "\n"


def test_every_example_is_named_in_a_page() -> None:
    text = "".join(page.read_text() for page in PAGES)

    assert [each.name for each in EXAMPLES if f"examples/{each.name}" not in text] == []
