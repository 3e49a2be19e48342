"""The daemon does what its OpenAPI document says: as schemathesis finds by trying.

FUZZ_CASES is how many requests each operation is sent of each kind: as the document
has them, and not quite so. FUZZ_SEED repeats a run.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.generation import GenerationMode
from staged import ADMIN, Stage, path_at

from jobengine.api.docs_page import described
from jobengine.api.openapi import document

# So few that all operations take some seconds: `make schemathesis` sends more.
CASES = int(os.environ.get("FUZZ_CASES", "3"))
SEED = int(os.environ.get("FUZZ_SEED", "6"))

DOCUMENT = document(described())
OPERATIONS = {
    f"{method.upper()} {path}": said
    for path, item in DOCUMENT["paths"].items()
    for method, said in item.items()
    if method != "parameters"
}
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# What is too large is refused by that first, whatever else is wrong with it.
SCHEMA.config.checks.negative_data_rejection.expected_statuses = ["4xx"]
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
KIND = "application/problem+json"


def operations(*, taking: bool = False) -> list[Any]:
    """Every operation; *taking*: that takes anything but what is in its path."""
    found = [each.ok() for each in SCHEMA.get_all_operations()]
    if not taking:
        return found
    parts = {"parameters", "requestBody"}
    return [each for each in found if OPERATIONS[each.label].keys() & parts]


# The same shapes, of which nothing has a member that is not told.
STRICT = {
    name: {"additionalProperties": False, **shape}
    for name, shape in DOCUMENT["components"]["schemas"].items()
}


def check_fits(shape: Any, value: Any) -> None:
    """Raises: ValidationError, where the value is not all as the document says."""
    whole = {**shape, "components": {"schemas": STRICT}}
    Draft202012Validator(whole).validate(value)


# --- as its examples say ----------------------------------------------------------


def examples(said: Any, place: str, *, all_of_them: bool) -> dict[str, str]:
    """What the document shows as parameters, in the words of a request."""
    return {
        each["name"]: _word(each["example"])
        for each in said.get("parameters", ())
        if each["in"] == place
        and "example" in each
        and (all_of_them or each["required"])
    }


def _word(shown: Any) -> str:
    if isinstance(shown, list):
        return ",".join(map(_word, shown))
    return str(shown).lower() if isinstance(shown, bool) else str(shown)


@pytest.mark.parametrize("all_of_them", [False, True], ids=["needed", "all"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_succeeds_as_its_example_says(
    stage: Stage, operation: str, all_of_them: bool
) -> None:
    method, path = operation.split()
    said = OPERATIONS[operation]
    query = examples(said, "query", all_of_them=all_of_them)
    headers = examples(said, "header", all_of_them=all_of_them)
    if "Idempotency-Key" in headers:
        # What is sent with it is never the same twice.
        headers["Idempotency-Key"] = stage.new_name()
    ready = stage.ready(operation)
    body = None
    if "requestBody" in said:
        (content,) = said["requestBody"]["content"].values()
        body = ready.put_into(content["example"])

    answer = stage.ask(
        method,
        f"{path_at(path, ready.variables)}?{urlencode(query)}",
        body,
        **headers,
    )

    told = said["responses"][str(answer.status)]
    assert answer.status in (200, 201, 204), answer
    if answer.body and answer.headers["Content-Type"].startswith("application/json"):
        check_fits(told["content"]["application/json"]["schema"], answer.json)
    assert "content" in told or not answer.body


# --- as nobody would send it ------------------------------------------------------


def check(case: Any, response: Any, checks: Sequence[Any]) -> None:
    """The answer is as the document says; a refusal is a problem."""
    case.validate_response(response, checks=checks)
    if response.status_code >= 400:
        assert response.headers["content-type"] == [KIND]
        assert response.json()["status"] == response.status_code


def tried(strategy: Any, **more: Any) -> Callable[[Callable[..., None]], Any]:
    """Call what is decorated with CASES cases, the same each time."""

    def decorate(attempt: Callable[..., None]) -> Any:
        how = settings(
            max_examples=CASES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        return seed(SEED)(how(given(case=strategy, **more)(attempt)))

    return decorate


@pytest.mark.parametrize("operation", operations(), ids=lambda each: each.label)
def test_what_the_document_allows_is_answered_as_it_says(
    stage: Stage, operation: Any
) -> None:
    base = f"http://127.0.0.1:{stage.daemon.port}"

    @tried(operation.as_strategy(GenerationMode.POSITIVE), staged=st.booleans())
    def attempt(case: Any, staged: bool) -> None:
        if staged:
            ready = stage.ready(operation.label)
            case.path_parameters = dict(ready.variables)
            if isinstance(case.body, dict | list):
                case.body = ready.put_into(case.body)
        response = case.call(base_url=base, headers={"X-Name": ADMIN})
        check(case, response, CHECKS)

    attempt()


@pytest.mark.parametrize(
    "operation", operations(taking=True), ids=lambda each: each.label
)
def test_what_the_document_does_not_allow_is_refused(
    stage: Stage, operation: Any
) -> None:
    base = f"http://127.0.0.1:{stage.daemon.port}"
    amiss = operation.as_strategy(
        GenerationMode.NEGATIVE,
        path_parameters=stage.ready(operation.label).variables,
        headers={"X-Name": ADMIN},
    )

    @tried(amiss)
    def attempt(case: Any) -> None:
        check(case, case.call(base_url=base), (*CHECKS, negative_data_rejection))

    attempt()


@pytest.mark.skipif(
    "FUZZ_CASES" not in os.environ, reason="`make schemathesis` tries the edges too"
)
def test_the_edges_of_all_that_is_allowed_are_answered_as_the_document_says(
    stage: Stage,
) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    checks = ",".join(each.__name__ for each in CHECKS)

    done = subprocess.run(
        [
            *(program, "run", f"http://127.0.0.1:{stage.daemon.port}/openapi.json"),
            *("-H", f"X-Name: {ADMIN}", "--phases", "examples,coverage"),
            *("--checks", checks, "--seed", str(SEED)),
        ],
        cwd=stage.daemon.config.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
