"""What an import costs whoever installs the package: of the wheel, in an empty place.

Makes the wheel, and an environment that has it and what it needs, from the registry.
"""

import shutil
import sys
from pathlib import Path

from bench.process import HERE, Missing, output
from bench.table import Rates, show

ROOT = HERE.parent
PACKED = ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE")
STARTS_MIN = 15
# What only the daemon needs, or only those who ask for it.
SERVER = ("flask", "gunicorn", "marshmallow", "cryptography", "click", "aiohttp")
TIMED = """\
import sys, time
began, used = time.perf_counter(), time.process_time()
{imports}
took = time.perf_counter() - began, time.process_time() - used
print(*(each * 1e3 for each in took), *sorted(sys.modules))
"""
ASKED = "150 or less"
IMPORTS = (
    "import jobengine.client",
    "from jobengine import Client; Client()",
    "from jobengine import Client, Worker; Worker(Client())",
)


def main(folder: Path, rounds: int, _seconds: float) -> None:
    """The milliseconds of each import, by processes of their own, in turns."""
    try:
        python = installed(folder)
    except Missing as why:
        print(f"\nno wheel in an empty environment: {why}")
        return
    found: Rates = {}
    dragged: set[str] = set()
    for _ in range(max(rounds, STARTS_MIN)):
        for imports in IMPORTS:
            told = output([python, "-c", TIMED.format(imports=imports)]).split()
            for clock, ms in zip(("", ", of the processor"), told, strict=False):
                found.setdefault(imports + clock, []).append(float(ms))
            dragged.update(set(told).intersection(SERVER))
    show(f"milliseconds of an import, asked: {ASKED}", found)
    print(f"  of what only a daemon needs, imported: {sorted(dragged) or 'nothing'}")


def installed(folder: Path) -> Path:
    """The Python of a new environment with the wheel and what it needs.

    Raises:
        Missing: there is no registry, or the wheel cannot be made.
    """
    # A build leaves its own files beside what it builds.
    source = folder / "source"
    shutil.copytree(ROOT / "jobengine", source / "jobengine")
    for name in PACKED:
        shutil.copy(ROOT / name, source)
    venv = folder / "empty"
    output([sys.executable, "-m", "venv", venv])
    python = venv / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    output([*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheel", source])
    output([*pip, "install", *(folder / "wheel").iterdir()])
    return python
