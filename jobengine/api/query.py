"""What follows the question mark, and for how long to wait. Knows no route."""

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from jobengine.api.exchange import Sent
from jobengine.errors import Refused


class BadQuery(Refused):
    """What follows the question mark says nothing that can be used."""

    code = "bad_query"


def parameters(query: str, *names: str) -> dict[str, str]:
    """Those of *names* that the query has, decoded as forms are. Others are ignored.

    Raises:
        BadQuery: one of them is there twice, or is not UTF-8.
    """
    found: dict[str, str] = {}
    for name, text in _pairs(query):
        if name in names:
            if name in found:
                raise BadQuery(f"the query has {name} twice")
            found[name] = text
    return found


def only(query: str, *names: str, lists: tuple[str, ...] = ()) -> dict[str, str]:
    """The same where there must be no others. Those of *lists* may be there more than
    once: what they say is joined by commas.

    Raises:
        BadQuery: it has one that is not known here; and as `parameters`.
    """
    found: dict[str, str] = {}
    for name, text in _pairs(query) if query else ():
        if name not in names:
            known = f"known here: {', '.join(names)}"
            raise BadQuery(f"the query has {name[:_NAME_CHARS_MAX]!r}; {known}")
        if name in found and name not in lists:
            raise BadQuery(f"the query has {name} twice")
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def none(query: str) -> None:
    """Nothing: an endpoint that has no parameters must not be taken to heed one.

    Raises:
        BadQuery: there is something.
    """
    for name, _ in _pairs(query):
        raise BadQuery(f"the query has {name[:_NAME_CHARS_MAX]!r}; none is known here")


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    coded = _CODED.search(query)
    for part in filter(None, query.split("&")):
        name, _, text = part.partition("=")
        yield (name, text) if coded is None else (_decoded(name), _decoded(text))


def needed(found: dict[str, str], *names: str) -> list[str]:
    """The parameters of these names.

    Raises:
        BadQuery: one is missing or empty.
    """
    if missing := [name for name in names if not found.get(name)]:
        raise BadQuery(f"the query must say {' and '.join(missing)}")
    return [found[name] for name in names]


def number(found: dict[str, str], name: str, default: int) -> int:
    """The parameter as a number, 0 or more.

    Raises:
        BadQuery: it is none.
    """
    text = found.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise BadQuery(f"?{name}= must be a whole number, 0 or more")
    return int(text)


def preferred_wait(sent: Sent) -> int:
    """How many seconds the header Prefer asks to wait. What is not understood is no
    preference (RFC 7240)."""
    return _preferred(sent, _PREFER_WAIT)


def preferred_keep(sent: Sent) -> int:
    """For how many seconds the header Prefer asks to remember the answer; 0: it does
    not, or not in a way that is understood."""
    return _preferred(sent, _PREFER_KEEP)


def _preferred(sent: Sent, preference: re.Pattern[str]) -> int:
    found = preference.search(sent.header("Prefer") or "")
    return int(found[1]) if found else 0


def prefers_minimal(sent: Sent) -> bool:
    """Whether the header Prefer wants no body that can be done without (RFC 7240)."""
    return _PREFER_MINIMAL.search(sent.header("Prefer") or "") is not None


# Of a name that is told back.
_NAME_CHARS_MAX = 64

_CODED = re.compile(r"[%+\x80-\xff]")
_NUMBER = re.compile("[0-9]{1,9}")
_PREFER_WAIT, _PREFER_KEEP = (
    re.compile(rf"(?:^|[,;])\s*{name}\s*=\s*\"?([0-9]{{1,9}})\"?\s*(?=$|[,;])", re.I)
    for name in ("wait", "keep-answer")
)
_PREFER_MINIMAL = re.compile(
    r"(?:^|[,;])\s*return\s*=\s*\"?minimal\"?\s*(?=$|[,;])", re.I
)


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise BadQuery("the query is not UTF-8") from None
