"""What is packaged, declared and public; and what no file of the project may say."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import jobengine
from jobengine import errors

ROOT = Path(__file__).parents[1]

# What the project's card asks for, and what people look for.
TOP_LEVEL = (
    *("setup.cfg", "setup.py", "config.yml", "Makefile", "README.md"),
    *("pyproject.toml", ".ci/run", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("LICENSE", "Dockerfile", ".dockerignore", "deploy/compose.yml"),
)

# Packages whose own documentation says to import them along with another.
COMES_WITH = {
    "werkzeug": "flask",
    "jinja2": "flask",
    "markupsafe": "flask",
    "yarl": "aiohttp",
}
# What loads our plugin.
LOADS_US = {"pytest"}
# What Python finds by itself where it is: zoneinfo, on machines without zones.
NEVER_IMPORTED = {"tzdata"}

# Places that only exist where somebody worked: a registry, a folder of one machine.
FORBIDDEN = re.compile(
    r"index[-_]url"
    r"|https?://[^\s/]*(pypi|pythonhosted|registry|artifactory|mirror)"
    r"|(?<![\w.}])/(work|root|home)/",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def project_files() -> Iterator[Path]:
    """Every file of the project but this one, without what .gitignore keeps out."""
    ignored = [".git", *(ROOT / ".gitignore").read_text().split()]
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if (
            path.is_file()
            and path != Path(__file__)
            and not any(
                fnmatch(part, pattern.rstrip("/"))
                for part in parts
                for pattern in ignored
            )
        ):
            yield path


def requirement(line: str) -> str:
    """The name of the package that a line of install_requires asks for."""
    return re.split(r"[<>=~! \[]", line)[0].lower()


# --- metadata ---------------------------------------------------------------------


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_the_top_level_has_what_people_look_for(name: str) -> None:
    assert (ROOT / name).is_file()


def test_all_metadata_is_in_setup_cfg(setup: ConfigParser) -> None:
    assert setup["metadata"]["license_expression"] == "MIT"
    assert setup["options"]["packages"] == "find_namespace:"
    assert setup["options.packages.find"]["include"].split() == ["jobengine*"]
    assert setup["options"]["python_requires"] == ">=3.11"
    assert set(setup["options.extras_require"]) == {"async", "test", "dev"}


def test_the_other_two_files_add_nothing_to_it() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert (ROOT / "setup.py").read_text().split("\n\n") == [
        "from setuptools import setup",
        "setup()\n",
    ]
    assert set(pyproject) == {"build-system", "tool"}
    assert set(pyproject["tool"]) == {"ruff"}


def test_type_checkers_find_our_types(setup: ConfigParser) -> None:
    assert "py.typed" in setup["options.package_data"]["jobengine"].split()
    assert (ROOT / "jobengine/py.typed").is_file()


def test_the_version_is_said_once(setup: ConfigParser) -> None:
    assert setup["metadata"]["version"] == "attr: jobengine._version.__version__"


# --- dependencies -----------------------------------------------------------------


def imported() -> set[str]:
    """The top names of everything that jobengine/ imports, its own and Python's out."""
    found = set()
    for path in (ROOT / "jobengine").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"jobengine"}


def test_what_is_imported_is_declared_and_nothing_else_is(setup: ConfigParser) -> None:
    extras = setup["options.extras_require"]
    lines = [setup["options"]["install_requires"], extras["async"]]
    declared = {requirement(line) for line in "\n".join(lines).split("\n") if line}
    distributions = packages_distributions()

    used = {COMES_WITH.get(name) or distributions[name][0] for name in imported()}

    assert {name.lower().replace("_", "-") for name in used} - LOADS_US == (
        declared - NEVER_IMPORTED
    )


def test_every_dependency_has_a_floor(setup: ConfigParser) -> None:
    lines = setup["options"]["install_requires"].split()

    assert [line for line in lines if ">=" not in line] == []


# --- public names -----------------------------------------------------------------


def test_every_error_is_a_public_name() -> None:
    public = {name for name in vars(errors) if not name.startswith("_")}

    assert all(issubclass(getattr(errors, n), errors.JobEngineError) for n in public)
    assert all(getattr(jobengine, n) is getattr(errors, n) for n in public)


def test_what_programs_need_are_public_names() -> None:
    assert jobengine.Client.__module__ == "jobengine.client.client"
    assert jobengine.Job.__module__ == jobengine.NewJob.__module__
    assert jobengine.__version__
    assert all(getattr(jobengine, name) is not None for name in jobengine.__dir__())


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = jobengine.Nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "statement",
    ["import jobengine", "jobengine.Client", "jobengine.Worker", "jobengine.Engine"],
)
def test_importing_it_loads_no_server_and_no_cryptography(statement: str) -> None:
    heavy = ("flask", "gunicorn", "marshmallow", "cryptography", "yaml", "aiohttp")
    program = (
        f"import sys, jobengine; {statement}; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


# --- what nothing may say ---------------------------------------------------------


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    found = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            if FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")

    assert found == []


@pytest.mark.parametrize(
    "line",
    ["--index-url x", "see https://pypi.example/simple", "cd /root/x"],
)
def test_such_a_line_is_found(line: str) -> None:
    assert FORBIDDEN.search(line)
