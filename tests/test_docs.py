"""The documents say what the code does: complete, and nothing that is not there."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from daemons import Daemon
from marshmallow import Schema, fields

from jobengine import errors
from jobengine.api import v2_shapes
from jobengine.api.app import ENDPOINTS
from jobengine.api.described import Doc
from jobengine.api.endpoint import Endpoint
from jobengine.api.refusals import refusals
from jobengine.api.v2 import V2
from jobengine.api.v2_forms import JobBody
from jobengine.api.v2_schedules import NewScheduleBody
from jobengine.api.v2_words import INNER, LISTING
from jobengine.cli import main
from jobengine.daemon import arbiter, exits, schema, settings, threads
from jobengine.daemon.wire import problem

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONFIGURATION = DOCS / "reference/configuration.md"
HTTP = DOCS / "reference/http-v1.md"
NATIVE = DOCS / "reference/http-v2.md"
# What one dialect says that is not as in the first.
DIALECTS = sorted((DOCS / "reference").glob("http-*.md"))
OPERATIONS = DOCS / "operations.md"
DECISIONS = DOCS / "decisions"
SDK = DOCS / "sdk/reference.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

# Families, whose members are what is raised.
NEVER_TOLD = {
    errors.JobEngineError,
    errors.Refused,
    errors.Unavailable,
    errors.StoreError,
}

# The codes that answer no error of ours: click's, and the end of a daemon that was
# told to stop.
USAGE, DONE = 2, 0


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def section(page: Path, title: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    text = page.read_text()
    level, _, rest = next(
        (found[1], found[2], text[found.end() :])
        for found in re.finditer(r"^(#+) (.*)$", text, re.MULTILINE)
        if found[2] == title
    )
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    """The code words that begin the rows of a table."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def named_first(text: str) -> set[str]:
    """All code words in the first column of tables."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


# --- complete: configuration ------------------------------------------------------


def known_keys(*path: str) -> list[str]:
    """The keys that may stand below *path* in config.yml, as a mistake names them."""
    value: object = {"?": 0}
    for key in reversed(path):
        value = {key: value}
    told = dict(schema.check(value)[1]).get((*path, "?"), "")
    _, _, keys = told.partition("known here: ")
    return keys.split(", ") if keys else []


def config_keys(*path: str) -> Iterator[str]:
    for key in known_keys(*path):
        # The names below `queues` are the operator's.
        below = (*path, key, "*") if key == "queues" else (*path, key)
        inner = list(config_keys(*below))
        yield from inner
        if not inner or key == "queues":
            yield ".".join((*path, key))


def test_every_key_of_the_configuration_is_documented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The name of a queue that stands for all of them is no name that is allowed.
    monkeypatch.setattr(schema, "NAME", re.compile(r"\*"))

    keys = list(config_keys())

    assert sorted(first_column(section(CONFIGURATION, "The file"))) == sorted(keys)


class Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, **variables: str) -> None:
        super().__init__(variables)
        self.names: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return super().__getitem__(name)


def test_every_environment_variable_is_documented(tmp_path: Path) -> None:
    environ = Asked(
        SECRET="a secret of this test", CONFIG_PATH=str(tmp_path / "config.yml")
    )

    settings.load(environ)

    documented = first_column(section(CONFIGURATION, "The environment"))
    assert sorted(documented) == sorted(environ.names)


# --- complete: commands and exit codes --------------------------------------------


def commands(group: click.Group = main, *words: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *words, name)
        else:
            yield (*words, name)


def command_at(words: tuple[str, ...]) -> click.Command:
    found: click.Command = main
    for word in words:
        assert isinstance(found, click.Group)
        found = found.commands[word]
    return found


def documented_commands() -> dict[str, Path]:
    """The commands that begin a row or make a heading, and the page where they do."""
    found = {}
    for page in (DOCS / "reference").glob("*.md"):
        rows = re.findall(r"^(?:\||#+) `(jobengine [^`]+)`", page.read_text(), re.M)
        found |= dict.fromkeys(rows, page)
    return found


def test_every_command_is_documented() -> None:
    there = [" ".join(("jobengine", *words)) for words in commands()]

    assert sorted(documented_commands()) == sorted([*there, "jobengine --version"])


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_option_and_argument_is_documented(words: tuple[str, ...]) -> None:
    text = documented_commands()[" ".join(("jobengine", *words))].read_text()

    for parameter in command_at(words).params:
        option = isinstance(parameter, click.Option)
        names = parameter.opts if option else [str(parameter.name).upper()]
        assert any(re.search(rf"(?<![\w-]){n}\b", text) for n in names), names


@pytest.mark.parametrize("page", [CONFIGURATION, OPERATIONS], ids=page_id)
def test_every_exit_code_is_documented(page: Path) -> None:
    used = {*exits.EXIT_CODES.values(), *arbiter.FINAL, USAGE, DONE}

    rows = re.findall(r"^\| `(\d+)`", section(page, "Exit codes"), re.MULTILINE)

    assert sorted(map(int, rows)) == sorted(used)


def test_the_help_of_the_command_names_every_exit_code_too() -> None:
    told = re.findall(r"(?:: |; )(\d+) ", str(main.epilog).replace("\n", " "))

    assert sorted(map(int, told)) == sorted({*exits.EXIT_CODES.values(), USAGE, DONE})


# --- complete: HTTP ---------------------------------------------------------------


def endpoint_rows() -> str:
    return "".join(section(page, "Endpoints") for page in DIALECTS)


def test_every_endpoint_is_documented() -> None:
    documented = first_column(endpoint_rows())

    there = [f"{row.method} {row.path}" for row in ENDPOINTS.values()]
    assert sorted(documented) == sorted(there)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_status_of_an_endpoint_is_documented(name: str) -> None:
    row = ENDPOINTS[name]
    (line,) = re.findall(
        rf"^\| `{re.escape(row.method)} {re.escape(row.path)}`.*",
        endpoint_rows(),
        re.MULTILINE,
    )

    assert {int(told) for told in re.findall(r"\b\d{3}\b", line)} == set(row.statuses)


def error_classes() -> Iterator[type[errors.JobEngineError]]:
    """Every class that the package raises, wherever it is declared."""
    below = [errors.JobEngineError]
    while below:
        kind = below.pop()
        below += kind.__subclasses__()
        if kind not in NEVER_TOLD and kind.__module__.startswith("jobengine."):
            yield kind


def test_every_code_of_an_error_is_documented() -> None:
    documented = {
        *(
            code
            for page in DIALECTS
            for code in re.findall(r"`(\w+)`", section(page, "Refusals"))
        ),
        *re.findall(r"`(\w+)`", section(OPERATIONS, "Exit codes")),
        *re.findall(r"`(\w+)`", section(SDK, "Errors")),
    }

    assert {kind.code for kind in error_classes()} - documented == set()


def refusals_on_the_wire() -> set[tuple[int, str]]:
    """The status and title of whatever does not become a request."""
    connection, turns = (
        (ROOT / "jobengine/daemon" / name).read_text()
        for name in ("connection.py", "turns.py")
    )
    calls = r"(?:NotTaken|_refuse|refusal)\(\s*(\d{3}),\s*\"([^\"]+)\""
    found = re.findall(calls, connection + turns)
    return {(int(status), title) for status, title in found}


def test_every_refusal_of_what_is_no_request_is_documented() -> None:
    rows = re.findall(
        r"^\| (\d{3}) \| `(\w+)`", section(HTTP, "On the wire"), re.MULTILINE
    )
    refused = refusals_on_the_wire()

    told = {(int(status), code) for status, code in rows}
    codes = {(s, json.loads(problem(s, title, ""))["code"]) for s, title in refused}
    assert codes == told
    assert set(threads.REFUSED.values()) <= refused


def test_every_line_of_the_log_is_documented() -> None:
    calls = r"log\.(?:info|warning|error|critical|exception)\(\s*\"([^\"]+)\""
    there = {
        event
        for path in (ROOT / "jobengine").rglob("*.py")
        for event in re.findall(calls, path.read_text())
    }

    logs = section(OPERATIONS, "Logs") + section(SDK, "Logs")
    documented = set(re.findall(r"`([^`\n]+)`", logs))
    assert there
    # What is only handed on is a line of its own elsewhere.
    assert there - documented - {"%s"} == set()


# --- complete: the native API -----------------------------------------------------

# What no route answers: the framework does, where there is none.
NO_ROUTE = {(404, "not_found"), (405, "method_not_allowed")}


def native_rows() -> Iterator[tuple[Endpoint, Doc]]:
    for row in V2.endpoints:
        assert row.doc is not None
        yield row, row.doc


def parameters_of(doc: Doc, place: str) -> set[str]:
    return {each.name for each in doc.parameters if each.place == place}


def members(schema: Schema) -> Iterator[str]:
    """The names of its members; those of objects in it behind the name of these."""
    for name, field in schema.fields.items():
        yield name
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, fields.Nested):
            yield from (f"{name}.{below}" for below in members(inner.schema))
        elif name in INNER and issubclass(INNER[name], Schema):
            yield from (f"{name}.{below}" for below in INNER[name]().fields)


def test_every_query_parameter_is_documented() -> None:
    listing = {each.name for each in LISTING}
    lines = re.findall(r"^\| `([^`]+)`(.*)", section(NATIVE, "Endpoints"), re.M)
    told = {path: set(re.findall(r"[?&](\w+)=", rest)) for path, rest in lines}

    for row, doc in native_rows():
        there = parameters_of(doc, "query") - listing
        assert told[f"{row.method} {row.path}"] == there, row.name
    assert named_first(section(NATIVE, "Lists")) == listing


def test_every_header_of_the_native_api_is_documented() -> None:
    asked = {n for _, doc in native_rows() for n in parameters_of(doc, "header")}
    answers = [each for _, doc in native_rows() for each in doc.answers.values()]
    answered = {name for each in answers for name, _ in each.headers}

    assert asked - named_first(section(NATIVE, "Headers of a request")) == set()
    assert answered == named_first(section(NATIVE, "Headers of an answer"))


def test_every_refusal_of_the_native_api_is_documented() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)`", section(NATIVE, "Refusals"), re.M)
    told = {(int(status), code) for status, code in rows}

    found = [each for row in native_rows() for each in refusals(*row)]

    assert told == {(each.status, each.code) for each in found} | NO_ROUTE


@pytest.mark.parametrize(
    ("title", "schemas"),
    [
        ("A new job", [JobBody()]),
        ("The job", [v2_shapes.Job()]),
        ("Queues", [v2_shapes.Stats()]),
    ],
    ids=str,
)
def test_every_member_of_the_native_api_has_its_row(
    title: str, schemas: list[Schema]
) -> None:
    there = {name for schema in schemas for name in members(schema)}

    assert named_first(section(NATIVE, title)) == there


def test_every_member_of_a_schedule_has_its_row() -> None:
    there = {*NewScheduleBody().fields, *v2_shapes.Schedule().fields}

    assert named_first(section(NATIVE, "Schedules")) == there


def test_every_member_of_whatever_the_native_api_takes_and_gives_is_named() -> None:
    schemas = [row.form.schema for row, _ in native_rows() if row.form is not None]
    answers = [each for _, doc in native_rows() for each in doc.answers.values()]
    schemas += [each.schema for each in answers if each.schema is not None]
    schemas += [inner() for inner in INNER.values()]

    named = set(re.findall(r"\w+", code_of(NATIVE.read_text())))
    there = {leaf for each in schemas for n in members(each) for leaf in n.split(".")}

    assert there - named == set()


def test_every_reason_why_a_job_does_not_run_is_documented() -> None:
    source = (ROOT / "jobengine/core/explain.py").read_text()

    there = set(re.findall(r"Blocker\(\s*\"(\w+)\"", source))

    assert named_first(section(NATIVE, "Why a job is not running")) == there


# --- true: examples ---------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is to be configured and started."""
    daemon = Daemon(tmp_path / "daemon")
    yield daemon
    daemon.kill()


def configuration_for(page: Path) -> str:
    """The whole config.yml that the page shows, or else the shipped one."""
    shown = re.search(
        r"^```yaml\n(version:.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return shown[1] if shown else (ROOT / "config.yml").read_text()


def example_pages() -> list[Path]:
    return [
        page
        for page in PAGES
        if any("127.0.0.1:6010" in block for block in shell_blocks(page))
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples use curl")
@pytest.mark.parametrize("page", example_pages(), ids=page_id)
def test_the_examples_of_a_page_run_as_they_stand(page: Path, daemon: Daemon) -> None:
    # A refusal is a failure here; whoever pastes the lines would see the problem.
    daemon.config.write_text(configuration_for(page))
    curlrc = daemon.start().config.with_name(".curlrc")
    curlrc.write_text("fail\nsilent\nshow-error\n")
    script = "\n".join(shell_blocks(page)).replace(":6010", f":{daemon.port}")

    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        env={**daemon.environ, "CURL_HOME": str(curlrc.parent)},
        cwd=curlrc.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_tour_of_the_readme_is_there_and_ends_with_a_settled_job(
    daemon: Daemon,
) -> None:
    assert ROOT / "README.md" in example_pages()
    if shutil.which("curl") is None:
        pytest.skip("the examples use curl")
    daemon.config.write_text(configuration_for(ROOT / "README.md"))
    script = "\n".join(shell_blocks(ROOT / "README.md"))

    done = subprocess.run(
        ["sh", "-eu", "-c", script.replace(":6010", f":{daemon.start().port}")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout.splitlines()[-1])["state"] == "complete"


# --- true: what pages point to ----------------------------------------------------


def headings(page: Path) -> set[str]:
    """The anchors of a page, as they are made of its headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            dead.append(link)

    assert dead == []


def test_every_page_that_the_code_points_to_is_there() -> None:
    sources = [
        *(ROOT / "config.yml", ROOT / "Makefile", ROOT / "Dockerfile"),
        *(ROOT / "jobengine").rglob("*.py"),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "bench").rglob("*.py"),
    ]

    missing = {
        f"{page_id(source)}: {named}"
        for source in sources
        for named in re.findall(r"docs/[\w/.-]+\.md", source.read_text())
        if not (ROOT / named).is_file()
    }

    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    tests = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    there = {
        name
        for text in tests.values()
        for name in re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE)
    } | {path.stem for path in tests}

    # test_queue_1 is the queue of the shipped config.yml.
    named = re.findall(r"\btest_(?!queue_\d)\w+", without_programs(page))
    assert set(named) - there == set()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_file_of_ours_that_a_page_names_is_there(page: Path) -> None:
    rooms = r"`((?:jobengine|tests|docs|bench|deploy|\.ci)/[\w/.-]*)`"

    missing = [
        named
        for named in re.findall(rooms, page.read_text())
        if not (ROOT / named).exists()
    ]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_that_a_page_names_is_there(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    named = re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)

    assert set(named) <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    known = {words[:1] for words in commands()} | set(commands())
    code = code_of(without_programs(page))
    lines = re.findall(r"(?:`|^|\s)jobengine((?: [a-z][a-z-]*)+)", code)

    for line in lines:
        assert any(tuple(line.split()[: len(words)]) == words for words in known), line


def without_programs(page: Path) -> str:
    """A page without what is Python, or runs its tests: see test_snippets.py."""
    text = re.sub(r"(?ms)^```python$.*?^```$", "", page.read_text())
    return re.sub(r"(?m)^.*pytest .*$", "", text)


def code_of(text: str) -> str:
    """The code words and blocks of a page, without its prose."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    words = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text))
    return "\n".join([*blocks, *words])


# --- decisions --------------------------------------------------------------------


def decision_pages() -> list[Path]:
    return sorted(DECISIONS.glob("[0-9]*.md"))


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"\]\((\d[^)]*\.md)\)", (DECISIONS / "README.md").read_text())

    assert listed == [page.name for page in decision_pages()]


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(page.name[:4]) for page in decision_pages()]

    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", decision_pages(), ids=page_id)
def test_a_decision_has_its_reason_and_what_was_refused(page: Path) -> None:
    titles = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)

    assert {"Why", "Refused"} <= set(titles)
