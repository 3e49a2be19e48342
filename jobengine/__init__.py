"""JobEngine's public names: every error, and Engine, Job and NewJob.

The three are loaded when they are first asked for (PEP 562). So importing the package
loads neither the web server nor the cryptography.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from jobengine._version import __version__ as __version__
from jobengine.errors import *  # noqa: F403 it holds nothing but the errors

if TYPE_CHECKING:
    from jobengine.core.job import Job as Job
    from jobengine.core.job import NewJob as NewJob
    from jobengine.engine import Engine as Engine

_HOME = {
    "Engine": "jobengine.engine",
    "Job": "jobengine.core.job",
    "NewJob": "jobengine.core.job",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value
