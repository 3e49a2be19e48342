"""Which jobs are meant, and which of them a page shows, as the native API says it.

In a query or in a body: one table of filters is read from both.
"""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from marshmallow import Schema, fields, validate
from msgspec import UNSET, Struct

from jobengine.api.forms import Flag, Form, Time, rfc3339_ms
from jobengine.api.query import BadQuery, number, only
from jobengine.api.v2_forms import below, whole
from jobengine.api.v2_heads import truth
from jobengine.api.v2_jobs import STATES
from jobengine.core.job import ATTEMPTS_MAX, Job
from jobengine.core.where import Span, Where
from jobengine.engine import in_one_answer
from jobengine.errors import InvalidJob

# Jobs on one page: each is rendered while others wait for the slow lane.
PAGE_MAX, PAGE_DEFAULT = 1000, 100
# Contents on one page: it is made whole, in memory.
PAGE_BYTES = 8 << 20
# Jobs that one request may name.
UIDS_MAX = 10_000

SPANS = ("created", "updated", "run", "finished")
_INSTANTS = tuple(f"{span}_{side}" for span in SPANS for side in ("after", "before"))
_TEXTS = ("unique_key", "fingerprint", "reason")
_NUMBERS = ("attempts_min", "attempts_max")
_TRUTHS = ("dead", "scheduled")
FILTERS = ("state", *_TRUTHS, *_INSTANTS, *_NUMBERS, *_TEXTS)
_PAGING = ("limit", "cursor", "order")


class FilterBody(Schema):
    """Which jobs are meant: those for which all of this is so."""

    state = fields.List(
        fields.String(required=True, validate=validate.OneOf(list(STATES))),
        validate=validate.Length(min=1),
    )
    dead = Flag()
    scheduled = Flag()
    created_after, created_before = Time(), Time()
    updated_after, updated_before = Time(), Time()
    run_after, run_before = Time(), Time()
    finished_after, finished_before = Time(), Time()
    attempts_min = whole(0, ATTEMPTS_MAX)
    attempts_max = whole(0, ATTEMPTS_MAX)
    unique_key = fields.String()
    fingerprint = fields.String()
    reason = fields.String()
    uids = fields.List(
        fields.String(required=True), validate=validate.Length(max=UIDS_MAX)
    )


_FILTER = Form(FilterBody())


class Page(Struct, frozen=True):
    """A part of the jobs that are meant: those behind the place `after`, in order."""

    where: Where
    limit: int
    newest: bool
    after: int | None
    query: dict[str, str]  # what was said, but for the place

    def cut(self, found: Iterable[list[Job]]) -> tuple[list[Job], str | None]:
        """The jobs of the page, and the cursor of the next one; None: there is none."""
        kept: list[Job] = []
        for part in found:
            kept += [job for job in part if self._is_behind(job)]
            if len(kept) > 2 * PAGE_MAX:
                kept = self._first(kept)
        kept = self._first(kept)
        shown = in_one_answer(kept[: self.limit], PAGE_BYTES)
        if len(shown) == len(kept):
            return shown, None
        return shown, f"{_MARKS[self.newest]}.{shown[-1].seq}"

    def link(self, path: str, cursor: str | None) -> tuple[tuple[str, str], ...]:
        """The header that says where the next page is."""
        if cursor is None:
            return ()
        query = urlencode(self.query | {"cursor": cursor})
        return (("Link", f'<{path}?{query}>; rel="next"'),)

    def _is_behind(self, job: Job) -> bool:
        if self.after is None:
            return True
        return job.seq < self.after if self.newest else job.seq > self.after

    def _first(self, jobs: list[Job]) -> list[Job]:
        """Those of the page, and one more to tell that there is another."""
        jobs.sort(key=lambda job: job.seq, reverse=self.newest)
        return jobs[: self.limit + 1]


# The order is in the cursor: it makes no sense in the other.
_MARKS = {False: "o", True: "n"}
_CURSOR = re.compile(r"([on])\.([0-9]{1,18})")


def read_page(query: str, *, dead: bool = False) -> Page:
    """The page that the query asks for; *dead*: of dead letters alone.

    Raises:
        BadQuery: it makes no sense.
    """
    filters = FILTERS
    if dead:
        filters = tuple(name for name in FILTERS if name not in _OF_THE_LIVING)
    said = only(query, *filters, *_PAGING, lists=("state",))
    newest = _newest(said)
    where = _where(_read(said) | ({"dead": True} if dead else {}))
    kept = {name: text for name, text in said.items() if name != "cursor"}
    return Page(where, _limit(said), newest, _after(said, newest), kept)


# What every dead letter is, or is not.
_OF_THE_LIVING = ("state", "dead", "scheduled")


def where_of(raw: bytes | Any) -> Where:
    """The jobs that *raw*, a member of a body, means; all where it is UNSET.

    Raises:
        InvalidJob: it makes no sense.
    """
    if raw is UNSET:
        return Where()
    try:
        return _where(_FILTER.within(raw))
    except InvalidJob as error:
        raise below("filter", error) from None


def _where(said: dict[str, Any]) -> Where:
    """The jobs that are meant by values that are read."""
    plain: dict[str, Any] = {
        name: said.get(name) for name in (*_TRUTHS, *_NUMBERS, *_TEXTS)
    }
    spans: dict[str, Any] = {
        span: Span(said.get(f"{span}_after"), said.get(f"{span}_before"))
        for span in SPANS
    }
    return Where(
        states=frozenset(STATES[word] for word in said.get("state", ())),
        uids=frozenset(said["uids"]) if "uids" in said else None,
        **spans,
        **plain,
    )


# --- of a query ---------------------------------------------------------------------


def _read(said: dict[str, str]) -> dict[str, Any]:
    """The filters in the query, each in its kind."""
    found: dict[str, Any] = {name: said[name] for name in _TEXTS if name in said}
    if "state" in said:
        found["state"] = _states(said["state"])
    found |= {name: truth(said, name) for name in _TRUTHS if name in said}
    found |= {name: _at(said, name) for name in _INSTANTS if name in said}
    return found | {name: _count(said, name) for name in _NUMBERS if name in said}


def _count(said: dict[str, str], name: str) -> int:
    if not _COUNT.fullmatch(said[name]) or int(said[name]) > ATTEMPTS_MAX:
        raise BadQuery(f"?{name}= must be from 0 to {ATTEMPTS_MAX}")
    return int(said[name])


_COUNT = re.compile("[0-9]{1,10}")


def _states(text: str) -> list[str]:
    words = text.split(",")
    if not STATES.keys() >= set(words):
        raise BadQuery(f"?state= must be of {', '.join(STATES)}, parted by commas")
    return words


def _at(said: dict[str, str], name: str) -> int:
    try:
        return rfc3339_ms(said[name])
    except ValueError:
        raise BadQuery(f"?{name}= must be {Time.takes}") from None


def _limit(said: dict[str, str]) -> int:
    limit = number(said, "limit", PAGE_DEFAULT)
    if not 1 <= limit <= PAGE_MAX:
        raise BadQuery(f"?limit= must be from 1 to {PAGE_MAX}")
    return limit


def _newest(said: dict[str, str]) -> bool:
    order = said.get("order", "oldest")
    if order not in _ORDERS:
        raise BadQuery(f"?order= must be one of {', '.join(_ORDERS)}")
    return _ORDERS[order]


_ORDERS = {"oldest": False, "newest": True}


def _after(said: dict[str, str], newest: bool) -> int | None:
    text = said.get("cursor")
    if text is None:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None or found[1] != _MARKS[newest]:
        raise BadQuery("?cursor= must be the `next` of a page in the same order")
    return int(found[2])
