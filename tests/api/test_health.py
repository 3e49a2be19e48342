"""Whether the daemon lives and is ready."""

from typing import Any

import pytest

from jobengine._version import __version__
from jobengine.core.queues import Rulebook
from jobengine.errors import StoreFailed
from jobengine.testing import SimDisk, sim_house

PATHS = ["/livez", "/readyz", "/startupz", "/healthz", "/version"]


@pytest.mark.parametrize("path", PATHS)
def test_a_healthy_daemon_says_so_to_anybody(api: Any, path: str) -> None:
    answer = api.ask("GET", path, environ={"REMOTE_ADDR": "192.0.2.1"}, Via="1.1 p")

    assert answer.status_code == 200
    assert api.ask("HEAD", path).status_code == 200


def test_the_version_is_ours(api: Any) -> None:
    assert api.ask("GET", "/version").json == {"version": __version__}


@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
def test_a_draining_daemon_is_alive_and_not_ready(api: Any, path: str) -> None:
    api.status.draining = True

    assert api.ask("GET", path).status_code == 503
    assert "serving: draining" in api.ask("GET", path + "?verbose").text
    assert api.ask("GET", "/livez").status_code == 200


def test_a_rejected_configuration_shows_and_does_no_harm(api: Any) -> None:
    assert "config: ok\n" in api.ask("GET", "/readyz?verbose").text

    api.status.config_error = 'config.yml:3: queue "q1" has no read'

    answer = api.ask("GET", "/readyz?verbose")
    assert answer.status_code == 200
    assert "config: rejected\n" in answer.text
    assert "q1" not in answer.text
    assert "config" not in api.ask("GET", "/readyz").text


def test_a_daemon_whose_disk_failed_is_alive_and_not_ready(new_api: Any) -> None:
    api, disk = new_api(), SimDisk()
    house = sim_house(Rulebook(), disk=disk)
    api.app.extensions["jobengine"].house = house
    assert api.ask("GET", "/readyz").status_code == 200

    disk.fail = lambda call: 5 if call == "sync" else None
    with pytest.raises(StoreFailed), house.store.transaction() as tx:
        tx.put_record(_removed())

    answer = api.ask("GET", "/readyz?verbose")
    assert answer.status_code == 503
    assert "store: failed" in answer.text
    assert api.ask("GET", "/livez").status_code == 200


def _removed() -> Any:
    from jobengine.core.queues import RemovedQueue

    return RemovedQueue("old", 1, None)
