"""A house that lives within a program: opened with its chores, closed in order.

Knows no client, and reads no environment.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from jobengine.build import House, furnish, open_house
from jobengine.core.queues import NAME, NAME_CHARS_MAX, WRONG_NAME, Rulebook
from jobengine.daemon.clock import SystemClock
from jobengine.daemon.compactor import Compacting
from jobengine.daemon.settings import Settings, within
from jobengine.daemon.sweeper import Sweeper
from jobengine.errors import ConfigError
from jobengine.local import Site
from jobengine.store.memory import MemoryStore
from jobengine.store.port import Clock
from jobengine.telemetry import logs

# What config.yml would say, or where one is.
Config = Path | Mapping[str, Any] | None

log = logging.getLogger("jobengine")


def on_file(path: Path, *, secret: str | bytes, config: Config, name: str) -> Site:
    """The house of a file, with the threads that see to it.

    Raises:
        StoreError: the file cannot be opened, and has not been changed.
        ConfigError: the configuration, or the secret, cannot be used.
    """
    settings = _settings(config, name, db_path=path.absolute(), secret=secret)
    logs.to_logging()
    for warning in settings.warnings:
        log.warning(warning)
    clock, opened = SystemClock(), list[House]()

    def failed(error: BaseException) -> None:
        log.critical("storage failed", exc_info=error)
        for house in opened:
            house.doorbell.ring_all()  # they are told

    house = open_house(
        db_path=settings.db_path,
        secret=settings.secret,
        rules=_rules(settings, config, name),
        clock=clock,
        on_failure=failed,
    )
    opened.append(house)
    return _with_chores(house, settings, clock)


def in_memory(clock: Clock, *, config: Config, name: str) -> tuple[Site, House]:
    """A house without a file and without threads: time passes when it is swept."""
    settings = _settings(config, name, db_path=Path(), secret=None)
    logs.to_logging()
    house = furnish(MemoryStore(clock), _rules(settings, config, name))
    return Site(house, settings, down=house.close), house


def _settings(config: Config, name: str, **where: Any) -> Settings:
    if not NAME.fullmatch(name):
        raise ConfigError(f"the name {name[:NAME_CHARS_MAX]!r} {WRONG_NAME}")
    return within(config, **where)


def _with_chores(house: House, settings: Settings, clock: Clock) -> Site:
    assert house.compactor is not None, "there is a file"
    sweeper = Sweeper(house.upkeep, house.store, clock)
    compacting = Compacting(house.compactor)

    def down() -> None:
        compacting.stop()
        sweeper.stop()
        house.close()

    site = Site(house, settings, down=down)
    sweeper.start()
    compacting.start()
    return site


def _rules(settings: Settings, config: Config, name: str) -> Rulebook:
    """Those of the configuration; without one nothing is kept from anybody in the
    program, and a queue comes into being with its first job."""
    if config is not None:
        return settings.rules
    everyone = Everyone({name})
    lists = replace(settings.rules.template, read=everyone, write=everyone)
    # A file that has queues from elsewhere is to lose none of their jobs.
    return replace(settings.rules, admins=everyone, dynamic=lists, removed_keep_ms=None)


class Everyone(frozenset[str]):
    """A list of services that has every name in it, though it shows only its own."""

    def __contains__(self, _name: object) -> bool:
        return True
