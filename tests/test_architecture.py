"""The house as it was planned: who imports whom, what is said in one place, sizes."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jobengine"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each room may import of ours: the longest prefix that fits a module decides.
# docs/ARCHITECTURE.md explains the table.
ANYTHING = ("jobengine",)
CORE = ("jobengine.core", "jobengine.errors")
MAY_IMPORT = {
    "jobengine.errors": (),
    "jobengine._version": (),
    "jobengine.core": CORE,
    "jobengine.store": (*CORE, "jobengine.store"),
    "jobengine.gate": (*CORE, "jobengine.store.port"),
    "jobengine.listing": CORE,
    # The engine's leaves, each upon the one before.
    "jobengine.intake": (
        *CORE,
        *("jobengine.store.port", "jobengine.gate", "jobengine.upkeep"),
    ),
    "jobengine.reports": (*CORE, "jobengine.store.port", "jobengine.intake"),
    "jobengine.settled": (*CORE, "jobengine.store.port"),
    "jobengine.views": (
        *CORE,
        *("jobengine.store.port", "jobengine.reports", "jobengine.listing"),
        "jobengine.settled",
    ),
    "jobengine.engine": (
        *CORE,
        "jobengine.store.port",
        *("jobengine.gate", "jobengine.intake", "jobengine.reports"),
        *("jobengine.views", "jobengine.upkeep"),
    ),
    "jobengine.admin": (
        *CORE,
        "jobengine.store.port",
        *("jobengine.engine", "jobengine.listing", "jobengine.upkeep"),
    ),
    "jobengine.schedules": (
        *CORE,
        "jobengine.store.port",
        *("jobengine.engine", "jobengine.gate", "jobengine.intake"),
    ),
    # The engine by name only: the two would import each other.
    "jobengine.upkeep": (*CORE, "jobengine.store.port", "jobengine.engine"),
    "jobengine.doorbell": ("jobengine.errors",),
    "jobengine.telemetry": (*CORE, "jobengine.telemetry"),
    "jobengine.api": (
        *CORE,
        "jobengine.api",
        "jobengine.store.port",
        "jobengine.engine",
        "jobengine.listing",
        "jobengine.admin",
        "jobengine.schedules",
        "jobengine.upkeep",
        "jobengine.doorbell",
        "jobengine.schedules",
        "jobengine.telemetry.metrics",
        "jobengine.telemetry.exposition",
        "jobengine._version",
    ),
    "jobengine.build": tuple(
        f"jobengine.{room}"
        for room in (
            *("core", "errors", "store", "engine", "admin", "upkeep", "doorbell"),
            *("settled", "schedules"),
        )
    ),
    "jobengine.testing": tuple(
        f"jobengine.{room}"
        for room in (
            *("core", "errors", "store", "engine", "upkeep", "build"),
            *("client", "worker", "embedded", "local", "residence"),
        )
    ),
    "jobengine.pytest_plugin": ("jobengine.testing",),
    # An engine within a program: the verbs, what carries them, and the house itself.
    "jobengine.embedded": (
        *("jobengine.client", "jobengine.local", "jobengine.residence"),
    ),
    "jobengine.local": (
        *("jobengine.api", "jobengine.client.transport", "jobengine.doorbell"),
        *("jobengine.errors", "jobengine.daemon.wsgi"),
    ),
    "jobengine.residence": tuple(
        f"jobengine.{room}"
        for room in (
            *("core", "errors", "store", "build", "telemetry"),
            *("daemon", "local"),
        )
    ),
    "jobengine.daemon": tuple(
        f"jobengine.{room}"
        for room in (
            *("core", "errors", "store", "engine", "upkeep", "build", "telemetry"),
            *("api", "daemon", "doorbell", "_version"),
        )
    ),
    # Importable without the server: it knows the wire, and how a back-off counts.
    "jobengine.client": (
        *("jobengine.errors", "jobengine.core.backoff", "jobengine._version"),
        "jobengine.client",
    ),
    "jobengine.worker": (
        *("jobengine.errors", "jobengine.core.backoff"),
        *("jobengine.client", "jobengine.worker"),
    ),
    "jobengine.cli": ANYTHING,
    "jobengine.cli_file": ANYTHING,
    "jobengine.cli_rewrite": ANYTHING,
    "jobengine.cli_tool": ANYTHING,
    "jobengine.__main__": ANYTHING,
    "jobengine": ANYTHING,
}

# The command and its tools.
COMMAND = tuple(
    f"jobengine.cli{part}" for part in ("", "_file", "_rewrite", "_tool", "_work")
)

# Third-party packages that only some rooms may know.
KEPT_TO = {
    "flask": ("jobengine.api", "jobengine.daemon"),
    "werkzeug": ("jobengine.api",),
    "jinja2": ("jobengine.api.docs_page",),
    "apispec": ("jobengine.api.openapi",),
    "marshmallow": (
        *("jobengine.api", "jobengine.daemon.schema"),
        "jobengine.daemon.values",
    ),
    "aiohttp": ("jobengine.client.aio",),
    "cronsim": ("jobengine.core.cron",),
    "cryptography": ("jobengine.store.sealer",),
    "gunicorn": ("jobengine.daemon",),
    "yaml": ("jobengine.daemon.strict_yaml", "jobengine.cli"),
    "click": COMMAND,
    "httptools": ("jobengine.daemon", "jobengine.client.hearing"),
    "uvloop": ("jobengine.daemon",),
    "prometheus_client": ("jobengine.telemetry.exposition",),
    "structlog": ("jobengine.telemetry", "jobengine.daemon", "jobengine.api"),
}

# What is said in one place only: an attribute or call, and who may say it.
SAID_IN = {
    "time.time": ("jobengine.daemon.clock",),
    "os.environ": ("jobengine.daemon.settings", "jobengine.client.environment"),
    "os.getenv": (),
    "os.urandom": ("jobengine.store.sealer",),
    "os.fsync": ("jobengine.store.journal.disk",),
    "os.fdatasync": ("jobengine.store.journal.disk",),
    "os.rename": ("jobengine.store.journal.disk",),
    "os.replace": (),
    "print": (),
    "click.echo": COMMAND,
}

THREADS_START_IN = (
    *("jobengine.daemon", "jobengine.store.journal.log"),
    *("jobengine.worker.running", "jobengine.worker.child", "jobengine.worker.top"),
)

CORE_IS_PURE = {"time", "os", "threading", "random", "logging", "io", "socket"}

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 40


def name_of(path: Path) -> str:
    parts = ["jobengine", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def in_room(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_the_rooms_it_may(path: Path) -> None:
    name = name_of(path)
    room = max((r for r in MAY_IMPORT if in_room(name, (r,))), key=len)
    allowed = MAY_IMPORT[room]

    breaches = [
        f"{path.name}:{line} imports {target}"
        for line, target in imports(path)
        if target.startswith("jobengine") and not in_room(target, allowed)
    ]

    assert not breaches


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_package_stays_in_the_rooms_that_need_it(path: Path) -> None:
    name = name_of(path)

    breaches = [
        f"{path.name}:{line} imports {target}"
        for line, target in imports(path)
        if target.split(".")[0] in KEPT_TO
        and not in_room(name, KEPT_TO[target.split(".")[0]])
    ]

    assert not breaches


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_said_in_one_place_is_said_nowhere_else(path: Path) -> None:
    name = name_of(path)
    said = [
        (node.lineno, dotted(node))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute | ast.Name)
    ]

    breaches = [
        f"{path.name}:{line} says {word}"
        for line, word in said
        if word in SAID_IN and not in_room(name, SAID_IN[word])
    ]

    assert not breaches


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_threads_start_only_where_they_are_stopped(path: Path) -> None:
    if in_room(name_of(path), THREADS_START_IN):
        return

    started = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and dotted(node.func) == "threading.Thread"
    ]

    assert not started


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if in_room(name_of(p), ("jobengine.core",))],
    ids=name_of,
)
def test_core_knows_no_clock_disk_thread_chance_or_log(path: Path) -> None:
    known = {target.split(".")[0] for _, target in imports(path)}

    assert not known & CORE_IS_PURE


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    large = [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert not large
    assert text.count("\n") <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{path} says nothing"
