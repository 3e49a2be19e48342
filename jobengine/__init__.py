"""JobEngine's public names: the client, the worker, the embedded engine, every error.

All but the errors are loaded when they are first asked for (PEP 562). So a client loads
neither the web server nor the cryptography.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from jobengine._version import __version__ as __version__
from jobengine.errors import *  # noqa: F403 it holds nothing but the errors

if TYPE_CHECKING:
    from jobengine.client.aio import AsyncClient as AsyncClient
    from jobengine.client.backoff import constant as constant
    from jobengine.client.backoff import delays as delays
    from jobengine.client.backoff import exponential as exponential
    from jobengine.client.backoff import linear as linear
    from jobengine.client.client import Client as Client
    from jobengine.client.handle import AsyncJobHandle as AsyncJobHandle
    from jobengine.client.handle import JobHandle as JobHandle
    from jobengine.client.jobs import Job as Job
    from jobengine.client.jobs import NewJob as NewJob
    from jobengine.client.retry import Retry as Retry
    from jobengine.core.backoff import Backoff as Backoff
    from jobengine.embedded import Engine as Engine
    from jobengine.embedded import open as open
    from jobengine.worker.handlers import Context as Context
    from jobengine.worker.handlers import Handler as Handler
    from jobengine.worker.held import AsyncHeldJob as AsyncHeldJob
    from jobengine.worker.held import Held as Held
    from jobengine.worker.held import HeldJob as HeldJob
    from jobengine.worker.outcomes import Cancel as Cancel
    from jobengine.worker.outcomes import Critical as Critical
    from jobengine.worker.outcomes import Failed as Failed
    from jobengine.worker.outcomes import Outcome as Outcome
    from jobengine.worker.outcomes import RescheduleAt as RescheduleAt
    from jobengine.worker.outcomes import RetryAt as RetryAt
    from jobengine.worker.outcomes import Success as Success
    from jobengine.worker.outcomes import Unprocessable as Unprocessable
    from jobengine.worker.strategy import Done as Done
    from jobengine.worker.strategy import Drop as Drop
    from jobengine.worker.strategy import Grant as Grant
    from jobengine.worker.strategy import Later as Later
    from jobengine.worker.strategy import Strategy as Strategy
    from jobengine.worker.strategy import Wait as Wait
    from jobengine.worker.worker import Worker as Worker

_NAMES = {
    "client.aio": ("AsyncClient",),
    "client.backoff": ("constant", "delays", "exponential", "linear"),
    "client.client": ("Client",),
    "client.handle": ("AsyncJobHandle", "JobHandle"),
    "worker.handlers": ("Context", "Handler"),
    "worker.held": ("AsyncHeldJob", "Held", "HeldJob"),
    "client.jobs": ("Job", "NewJob"),
    "worker.outcomes": (
        *("Cancel", "Critical", "Failed", "Outcome", "RescheduleAt", "RetryAt"),
        *("Success", "Unprocessable"),
    ),
    "client.retry": ("Retry",),
    "worker.strategy": ("Done", "Drop", "Grant", "Later", "Strategy", "Wait"),
    "worker.worker": ("Worker",),
    "core.backoff": ("Backoff",),
    "embedded": ("Engine", "open"),
}
_HOME = {
    name: f"jobengine.{module}" for module, names in _NAMES.items() for name in names
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
