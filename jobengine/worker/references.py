"""How one process names to another what stands at the top of a module. Imports what it
is told, and knows nothing of jobs.

A name is `module:qualname`; `module:Class().method` is that of an object made anew.
"""

import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

# Under this name another process imports the script that this one was started with:
# not as __main__, so that it does not start all over again.
SCRIPT = "__jobengine_script__"


def reference(thing: Any) -> str:
    """The name under which another process finds it.

    Raises:
        ValueError: no other process can.
    """
    owner = getattr(thing, "__self__", None)
    if inspect.ismethod(thing) and not isinstance(owner, type):
        return f"{_of_class(type(owner))}().{thing.__name__}"
    module = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", None)
    if not module or not name or _found(module, name) is not thing:
        raise ValueError(
            f"{module}:{name or thing!r} cannot be found by another process: what runs "
            "in processes stands under its own name at the top of a module"
        )
    return f"{_importable(module)}:{name}"


def resolved(name: str) -> Any:
    """What stands under the name that `reference` gave.

    Raises:
        Exception: whatever its module raises when it is imported.
    """
    module, _, path = name.partition(":")
    thing: Any = importlib.import_module(module)
    for part in path.split("."):
        thing = getattr(thing, part.removesuffix("()"))
        if part.endswith("()"):
            thing = thing()
    return thing


def script() -> str | None:
    """The file of the script that this process was started with, if it is one."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    return (
        None if main.__spec__ is not None or file is None else str(Path(file).resolve())
    )


def load_script(file: str) -> None:
    """Import the script of another process, so that `resolved` finds what is in it.

    Raises:
        Exception: whatever it raises.
    """
    # It may have any suffix, or none.
    loader = importlib.machinery.SourceFileLoader(SCRIPT, file)
    spec = importlib.util.spec_from_loader(SCRIPT, loader)
    assert spec is not None, "there is a loader"
    module = sys.modules[SCRIPT] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)


def _of_class(kind: type) -> str:
    name = reference(kind)
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise ValueError(
            f"{name} cannot be made by another process, which gives it no arguments: "
            f"{error}"
        ) from error
    return name


def _found(module: str, name: str) -> Any:
    thing: ModuleType | Any = sys.modules.get(module)
    for part in name.split("."):
        thing = getattr(thing, part, None)
    return thing


def _importable(module: str) -> str:
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name
    if script() is None:
        raise ValueError("what was not read from a file cannot run in processes")
    return SCRIPT
