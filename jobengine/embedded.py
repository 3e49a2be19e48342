"""An engine within a program: the client's verbs, without a daemon.

Knows no house: what is behind the verbs is loaded when an engine is opened.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobengine.client.client import Client

if TYPE_CHECKING:
    from jobengine.local import Site


class Engine(Client):
    """A database of this process alone. Made by `open`.

    Its verbs are those of the Client, and a Worker takes it in the place of one. A verb
    returns when what it tells is on the disk. Nothing is tried again: what is refused
    for now is raised at once.

    Any number of threads may use it. A process that is forked from this one may not,
    and opens nothing while this one has the file: its calls raise Unreachable.
    """

    def __init__(self, site: "Site", name: str) -> None:
        from jobengine.local import Local

        super().__init__(name=name, transport=Local(site), retry=None)
        self._site = site
        site.engine = self

    def close(self) -> None:
        """Let go of the file, with all that was told in it.

        Who waits for a job, in any thread, gets Unreachable, and so does every call
        from now on. Stop a Worker before.
        """
        self._site.close()
        super().close()


def open(
    path: str | os.PathLike[str],
    *,
    secret: str | bytes,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    name: str = "app",
) -> Engine:
    """The engine of the database at *path*, which is made where there is none.

    *secret* opens it, as SECRET does for a daemon: a passphrase, or `base64:` and a key
    of 32 bytes. *name* is the service that this program is.

    *config* is a mapping of what config.yml would say, or the path of one; what is said
    there of ports is not heeded, and a change takes effect with the next opening.
    Without it a queue comes into being with its first job, and every name that
    `as_caller` is given may do everything to every queue, for there is nobody to keep
    them from: names only say who holds a job.

    A program that has told neither `structlog` nor `logging` what to do with lines sees
    warnings of the engine on stderr, from the logger "jobengine".

    Raises:
        StoreError: the file cannot be opened, and has not been changed; StoreBusy where
            a daemon or another engine has it.
        ConfigError: the configuration, the secret or the name cannot be used.
    """
    from jobengine.residence import on_file

    return Engine(
        on_file(Path(path), secret=secret, config=said(config), name=name), name
    )


def said(
    config: str | os.PathLike[str] | Mapping[str, Any] | None,
) -> Path | Mapping[str, Any] | None:
    """The configuration as it is, or the path of one."""
    return Path(config) if isinstance(config, str | os.PathLike) else config


def engine_of(client: Client | None) -> object:
    """The engine of this process that the client asks; None: it asks a daemon."""
    site = getattr(getattr(client, "_transport", None), "site", None)
    return None if site is None else site.engine
