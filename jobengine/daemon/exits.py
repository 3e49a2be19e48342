"""Exit codes: what an error makes of the process. As sysexits.h where it has a code."""

from collections.abc import Mapping

from jobengine.errors import (
    ConfigError,
    JobEngineError,
    KdfUnavailable,
    NewerFormat,
    StoreBusy,
    StoreCorrupt,
    StoreFailed,
    StoreUnreadable,
    Unavailable,
    WrongSecret,
)

# The nearest class of an error decides.
EXIT_CODES: Mapping[type[BaseException], int] = {
    StoreCorrupt: 65,
    NewerFormat: 65,
    KdfUnavailable: 69,
    Unavailable: 69,
    StoreFailed: 74,
    StoreUnreadable: 74,
    StoreBusy: 75,
    WrongSecret: 77,
    ConfigError: 78,
    JobEngineError: 1,
}


def exit_code(error: BaseException) -> int:
    """The code that the process ends with because of *error*."""
    known = (EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
    return next(known, 1)
