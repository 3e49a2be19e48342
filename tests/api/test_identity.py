"""Whose X-Name counts: level 4 of the security page."""

from typing import Any

import pytest


def asked(api: Any, caller: str = "writer", address: str = "127.0.0.1", **headers: str):
    return api.create(caller=caller, environ={"REMOTE_ADDR": address}, **headers)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", ""]
)
def test_x_name_counts_from_this_machine(api: Any, address: str) -> None:
    assert asked(api, address=address).status_code == 201


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0"]
)
def test_x_name_counts_from_nowhere_else(api: Any, address: str) -> None:
    answer = asked(api, address=address)

    assert answer.status_code == 401
    assert answer.json["code"] == "unauthenticated"
    assert "X-Name" in answer.headers["WWW-Authenticate"]
    assert "auth: {mode: names}" in answer.json["detail"]
    assert "from the machine it runs on" in answer.json["detail"]
    assert api.list().status_code == 204


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "Via", "X_Forwarded_For", "x_forwarded_proto", "X_Forwarded_Any"],
)
def test_what_a_proxy_passed_on_is_never_local(api: Any, header: str) -> None:
    assert asked(api, **{header: "for=127.0.0.1"}).status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:6010",
        "127.0.0.1:6010",
        "[::1]:6010",
        "[::1]",
        "10.1.2.3",
    ],
)
def test_a_host_of_this_machine_is_answered(api: Any, host: str) -> None:
    assert asked(api, Host=host).status_code == 201


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:6010",
        "jobs.example:6010",
        "localhost:6010:6010",
        "[localhost]",
    ],
)
def test_a_page_that_renamed_itself_to_this_machine_is_refused(
    api: Any, host: str
) -> None:
    answer = asked(api, Host=host)

    assert answer.status_code == 421
    assert answer.json["code"] == "wrong_host"


def test_a_listed_host_is_answered(new_api: Any) -> None:
    api = new_api(hosts=("jobs.example",))

    assert asked(api, Host="Jobs.Example:6010").status_code == 201
    assert asked(api, Host="other.example").status_code == 421


def test_with_mode_names_x_name_counts_from_everywhere(new_api: Any) -> None:
    api = new_api(auth_mode="names")

    answer = asked(api, address="192.0.2.1", Host="any.example", Via="1.1 proxy")

    assert answer.status_code == 201


def test_a_reload_changes_who_is_trusted(new_api: Any) -> None:
    from jobengine.api.app import use_settings

    api, open_api = new_api(), new_api(auth_mode="names")
    assert asked(api, address="192.0.2.1").status_code == 401

    use_settings(api.app, open_api.app.extensions["jobengine"].settings)

    assert asked(api, address="192.0.2.1").status_code == 201


@pytest.mark.parametrize(
    "name", ["reader,writer", "writer, writer", "wri/ter", "é", "w" * 256, "a\tb"]
)
@pytest.mark.parametrize("header", ["caller", "queue"])
def test_what_is_not_one_name_matches_nothing(api: Any, header: str, name: str) -> None:
    answer = api.create(**{header: name})

    assert answer.status_code == 400
    assert answer.json["code"] == "bad_header"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:6010"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("auth_mode", [None, "names"])
def test_no_web_page_is_answered(
    new_api: Any, headers: dict[str, str], auth_mode: str | None
) -> None:
    api = new_api(auth_mode=auth_mode)

    answers = [
        api.create(**headers),
        api.next(**headers),
        api.ask("GET", "/api/v1/test", **headers),
        api.ask("OPTIONS", "/api/v1/jobs/create", **headers),
        api.ask("GET", "/nowhere", **headers),
    ]

    assert {answer.status_code for answer in answers} <= {403, 405}
    assert answers[0].json["code"] == "cross_site"
    assert not any(
        name.lower().startswith("access-control")
        for answer in answers
        for name, _ in answer.headers
    )
    assert api.ask("GET", "/livez", **headers).status_code == 200


def test_a_request_of_our_own_site_is_no_cross_site(api: Any) -> None:
    assert api.create(Sec_Fetch_Site="none").status_code == 201
