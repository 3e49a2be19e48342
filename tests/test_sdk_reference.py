"""docs/sdk/reference.md names all that a program can use, with its default."""

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from test_docs import first_column, named_first, section

import jobengine
from jobengine import (
    AsyncClient,
    AsyncHeldJob,
    Client,
    Handler,
    HeldJob,
    Job,
    JobHandle,
    NewJob,
    Strategy,
    Worker,
    errors,
    pytest_plugin,
    testing,
)
from jobengine.client import environment, jobs
from jobengine.worker.tally import Counts

REFERENCE = Path(__file__).parents[1] / "docs/sdk/reference.md"
TEXT = REFERENCE.read_text()


def plain(call: Callable[..., Any], name: str) -> str:
    """How it is called, as the page has it: its parameters and defaults."""
    shown = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in inspect.signature(call).parameters.values()
        if each.name != "self"
    ]
    return name + str(inspect.Signature(shown))


def methods(kind: type) -> set[str]:
    """Each public method, and how it is called."""
    names = [name for name in dir(kind) if not name.startswith("_")]
    found = [(name, getattr(kind, name)) for name in names]
    return {plain(each, name) for name, each in found if callable(each)}


def defaults(call: Callable[..., Any]) -> list[tuple[str, str]]:
    return [
        (name, repr(each.default))
        for name, each in inspect.signature(call).parameters.items()
        if each.default is not inspect.Parameter.empty
    ]


def names_in(title: str) -> set[str]:
    return named_first(section(REFERENCE, title))


def calls_in(title: str) -> set[str]:
    return {each for each in names_in(title) if "(" in each}


def words_of(code: Iterable[str]) -> set[str]:
    return {word for each in code for word in re.findall(r"\w+", each)}


def test_every_public_name_is_in_the_reference() -> None:
    named = words_of(re.findall(r"`([^`\n]+)`", TEXT))

    assert {name for name in jobengine._HOME if name not in named} == set()
    assert "__version__" in named


@pytest.mark.parametrize("call", [Client, Worker], ids=lambda each: each.__name__)
def test_every_option_is_in_the_reference_with_its_default(call: type) -> None:
    title = call.__name__
    rows = re.findall(
        r"^\| `([a-z_]+)` \| `([^`]+)` \|", section(REFERENCE, title), re.M
    )

    assert rows == defaults(call)


def test_the_awaiting_client_takes_what_the_blocking_one_takes() -> None:
    assert defaults(AsyncClient) == defaults(Client)


def test_every_verb_is_in_the_reference_with_its_parameters() -> None:
    told = calls_in("Verbs") | calls_in("Client") | {"from_env(**options)"}

    assert told == methods(Client)


def test_the_awaiting_client_has_the_verbs_of_the_blocking_one() -> None:
    assert calls_in("Verbs") <= methods(AsyncClient)


def test_every_variable_is_in_the_reference() -> None:
    read = {*environment.VARIABLES.values(), environment.TOKEN_FILE}

    assert {each for each in names_in("Client") if each.isupper()} == read


@pytest.mark.parametrize(
    ("title", "options"),
    [
        ("A new job", {*jobs.EnqueueOptions.__annotations__, "queue"}),
        (
            "A new job",
            {*NewJob.__struct_fields__, *jobs.EnqueueOptions.__annotations__},
        ),
        ("Which jobs", {*jobs.Listing.__annotations__}),
        ("Schedules", {*jobs.NewScheduleOptions.__annotations__}),
    ],
    ids=["enqueue", "NewJob", "Filter", "Schedule"],
)
def test_every_option_of_a_job_is_in_the_reference(
    title: str, options: set[str]
) -> None:
    told = {each for each in names_in(title) if "(" not in each}

    assert told == options - {"content"}


@pytest.mark.parametrize("name", ["constant", "linear", "exponential", "delays"])
def test_every_back_off_is_in_the_reference(name: str) -> None:
    assert plain(getattr(jobengine, name), name) in calls_in("A new job")


def test_everything_of_a_handle_is_in_the_reference() -> None:
    assert calls_in("The handle") == methods(JobHandle)
    assert set(vars(JobHandle(None, "", ""))) - {"_client"} <= words_of(  # type: ignore[arg-type]
        re.findall(r"`([^`]+)`", section(REFERENCE, "The handle"))
    )


def test_every_member_of_a_job_is_in_the_reference() -> None:
    told = words_of(re.findall(r"`([^`\n]+)`", section(REFERENCE, "The job")))

    assert {*Job.__struct_fields__, *jobs.Lease.__struct_fields__, "ended"} <= told


def test_everything_of_a_worker_is_in_the_reference() -> None:
    told = section(REFERENCE, "Worker")

    assert calls_in("Worker") == methods(Worker)
    assert set(Counts.__struct_fields__) <= words_of(re.findall(r"`([^`\n]+)`", told))


def test_every_option_of_a_handler_is_in_the_reference() -> None:
    told = section(REFERENCE, "A handler")
    rows = re.findall(r"^\| `(\w+)` \| `([A-Z]+)` \|", told, re.M)

    there = {name for name in vars(Handler) if name.isupper()}
    assert [name for name, _ in rows] == [
        name for name, _ in defaults(Worker().handler)
    ]
    assert {name for _, name in rows} == there
    assert "`QUEUE`" in told


@pytest.mark.parametrize(
    "kind", [HeldJob, AsyncHeldJob], ids=lambda each: each.__name__
)
def test_what_a_handler_is_given_is_in_the_reference(kind: type) -> None:
    told = {
        re.sub(r"\(.*", "", each)
        for each in named_first(
            section(REFERENCE, "A handler").split("`job`, a `HeldJob`")[1]
        )
    }
    there = {name for name in dir(kind) if not name.startswith("_")}
    asked = {name for name in there if isinstance(getattr(kind, name), property)}

    assert asked <= told
    assert told - there <= {"wait_cancelled"}


def test_every_outcome_and_every_word_of_a_strategy_is_in_the_reference() -> None:
    for title, names in (
        (
            "What a handler returns",
            {*jobengine._NAMES["worker.outcomes"]} - {"Outcome"},
        ),
        ("Strategies", ("Grant", "Wait", "Later", "Drop", "Done")),
    ):
        there = {plain(getattr(jobengine, name), name) for name in names}
        assert {each for each in calls_in(title) if each[0].isupper()} == there
    assert methods(Strategy) <= set(
        re.findall(r"`([^`]+)`", section(REFERENCE, "Strategies"))
    )


def test_what_is_there_for_tests_is_in_the_reference() -> None:
    told = names_in("For tests")
    fixtures = {name for name in vars(pytest_plugin) if name.startswith("job_")}

    for name in ("memory_engine", "run_until_idle"):
        assert plain(getattr(testing, name), name) in told
    for name in ("advance", "run_until_idle"):
        call = plain(getattr(testing.TestEngine, name), f"engine.{name}")
        assert call in told
    assert fixtures <= told
    assert plain(jobengine.open, "jobengine.open") in section(
        REFERENCE, "In one process"
    )


def test_every_error_is_in_the_reference_with_its_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", section(REFERENCE, "Errors"), re.M)
    families = {"JobEngineError", "Refused", "Unavailable", "StoreError"}

    there = {
        (name, kind.code)
        for name, kind in vars(errors).items()
        if inspect.isclass(kind)
        and kind.__module__ == errors.__name__
        and name not in families
    }
    assert set(rows) == there
    assert families <= set(re.findall(r"`(\w+)`", TEXT))


def test_no_row_of_the_reference_is_there_twice() -> None:
    for title in ("Client", "Worker", "Verbs", "A new job", "Which jobs", "Errors"):
        rows = first_column(section(REFERENCE, title))
        assert len(rows) == len(set(rows)), title
