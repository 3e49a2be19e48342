"""Bodies of requests: a schema says what one may be, and from it comes a decoder for
those that are plainly fine.

The schema is the authority. The decoder is fifty times as fast and never takes what
the schema would not: whatever it doubts it leaves to the schema.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
from marshmallow import RAISE, Schema, ValidationError, fields, validate
from msgspec import UNSET, Meta, UnsetType

from jobengine.api import strict_json
from jobengine.errors import InvalidJob, Refused

# What is decoded at a glance: a larger body is a millisecond's work, and everybody on
# the event loop would wait for it.
GLANCE_BYTES_MAX = 64 << 10
# Of many, a thousand jobs of 300 bytes are what clients send at a time, and take a few
# milliseconds; in smaller parts they would take all of us longer.
GLANCE_MANY_BYTES_MAX = 512 << 10
GLANCE_MANY_MAX = 2000

# The levels that are left for what stands in a member of the body.
_ROOM = strict_json.DEPTH_MAX - 1
# A text shorter than this has no room for brackets nested too deep.
_SHALLOW = 2 * _ROOM
# How an escape begins that may stand for a colon.
_ESCAPE = ord("\\")
_ESCAPED = b"\\u003"


class Doubt(Exception):
    """Not plainly fine: somebody with more time has to look."""


class TooMany(Refused):
    """The array in the body has more elements than are taken at once."""

    code = "too_many"


class AnyJson(fields.Field[bytes]):
    """Any JSON, null too, kept byte for byte."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bytes:
        return bytes(value)


class Payload(AnyJson):
    """A JSON object, kept byte for byte."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bytes:
        if not value.startswith(b"{"):
            raise ValidationError("Not a JSON object.")
        return bytes(value)


class Flag(fields.Field[bool]):
    """true or false, and no word or number that may mean it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class Real(fields.Field[float]):
    """A number, whole or not."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Must be a number.")
        return float(value)


class Instant(fields.Field[int]):
    """RFC 3339, or whole seconds since 1970; read as milliseconds."""

    takes = "RFC 3339, as 2026-01-31T08:00:00Z, or seconds since 1970"

    @staticmethod
    def ms(said: Any) -> int:
        """Raises: ValueError, of what is no instant."""
        return instant_ms(said)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        try:
            return self.ms(value)
        except ValueError:
            raise ValidationError(f"Must be {self.takes}.") from None


class Time(Instant):
    """RFC 3339 and nothing else; read as milliseconds."""

    takes = "RFC 3339, as 2026-01-31T08:00:00Z, from 1970 on"

    @staticmethod
    def ms(said: Any) -> int:
        return rfc3339_ms(said)


_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)


def instant_ms(said: Any) -> int:
    """Milliseconds of the epoch.

    Raises:
        ValueError: it is no instant.
    """
    if isinstance(said, str):
        if _INSTANT.fullmatch(said):
            return _read_instant(said)
        if not _SECONDS.fullmatch(said):
            raise ValueError(said)
        return int(said) * 1000
    if isinstance(said, bool) or not isinstance(said, int):
        raise ValueError(said)
    return said * 1000


def rfc3339_ms(said: Any) -> int:
    """The same of RFC 3339 alone, from 1970 on.

    Raises:
        ValueError: it is anything else.
    """
    if not isinstance(said, str) or not _INSTANT.fullmatch(said):
        raise ValueError(said)
    found = _read_instant(said)
    if found < 0:
        raise ValueError(said)
    return found


def _read_instant(said: str) -> int:
    # No part of a millisecond is kept, and no more digits are understood.
    found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", said.upper()))
    return int(found.timestamp()) * 1000 + found.microsecond // 1000


_TYPES: dict[type[fields.Field[Any]], Any] = {
    AnyJson: msgspec.Raw,
    Flag: bool,
    Time: str,
    Instant: int | str,
    Real: float,
    fields.Integer: int,
    fields.String: str,
}


class Form:
    """The shape of one kind of body: an object.

    Of an `optional` one there may be none: it is read as None.
    """

    optional = False

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        known = sorted(schema.fields.items(), key=lambda item: not item[1].required)
        members = [
            (name, _type(field), *(() if field.required else (UNSET,)))
            for name, field in known
        ]
        # A member that nobody knows may be there twice: the decoder would not tell.
        self.shape = msgspec.defstruct(
            type(schema).__name__, members, gc=False, forbid_unknown_fields=True
        )
        self._decode = msgspec.json.Decoder(self.shape).decode
        # Where the members are, by how they are settled.
        places = list(enumerate(known))
        self._texts = [
            at for at, (_, f) in places if isinstance(f, fields.String | Instant)
        ]
        self._instants = [(n, f.ms) for n, f in known if isinstance(f, Instant)]
        self._strict = schema.unknown == RAISE
        self._raws = [
            (at, name, type(field) is Payload)
            for at, (name, field) in places
            if isinstance(field, AnyJson)
        ]

    def read(self, body: bytes, *, then: Callable[[], object] = lambda: None) -> Any:
        """The body in its shape, with unset members UNSET.

        *then* is asked once it is known to be JSON, and before its fields.

        Raises:
            NotJson: it is not one JSON object that we let through.
            InvalidJob: naming every field that is wrong.
        """
        members = strict_json.members(body)
        then()
        return self.load(members)

    def load(self, members: Mapping[str, bytes]) -> Any:
        """The members that the schema knows, in its shape.

        Raises:
            NotJson: a value is one that no field could hold.
            InvalidJob: naming every field that is wrong.
        """
        values = {
            name: text if isinstance(field, AnyJson) else strict_json.value(text)
            for name, text in members.items()
            if (field := self.schema.fields.get(name))
        }
        faults: list[tuple[str, str]] = []
        if self._strict:
            faults = _unknown(members.keys() - self.schema.fields.keys())
        try:
            loaded: dict[str, Any] = self.schema.load(values)
        except ValidationError as error:
            for name, why in error.messages_dict.items():
                faults += _told(name, why)
        if faults:
            raise InvalidJob(*faults)
        return self.shape(**loaded)

    def within(self, body: bytes) -> dict[str, Any]:
        """What is set in a body that is a member of another.

        Raises:
            NotJson, InvalidJob: as `read`.
        """
        try:
            found = self.glance(body)
        except Doubt:
            found = self.read(body)
        said = msgspec.structs.asdict(found)
        return {name: value for name, value in said.items() if value is not UNSET}

    def glance(self, body: bytes) -> Any:
        """The same of a body that is plainly fine.

        Raises:
            Doubt: it may be fine or not.
        """
        if len(body) > GLANCE_BYTES_MAX:
            raise Doubt
        found = _decoded(self._decode, body)
        if self.settle(found) != _colons(body):
            raise Doubt
        return found

    def settle(self, found: Any) -> int:
        """Finish what was decoded; give the colons that the members read have.

        Of a key that is there twice some read the first and others the last. The body
        has more colons then: at least that of the member that was not read.

        Raises:
            Doubt: a member is not plainly fine.
        """
        values = msgspec.structs.astuple(found)
        colons = len(values) - values.count(UNSET)
        for at in self._texts:
            if type(values[at]) is str:
                colons += values[at].count(":")
        for at, name, objects in self._raws:
            if values[at] is not UNSET:
                text = bytes(values[at])
                setattr(found, name, _checked(text, objects=objects))
                colons += _colons(text)
        if self._instants:
            _settle_instants(found, self._instants)
        return colons


class Many(Form):
    """An array of such objects, *most* of them."""

    def __init__(self, schema: Schema, *, most: int) -> None:
        super().__init__(schema)
        self._most = most
        self._decode_all = msgspec.json.Decoder(list[self.shape]).decode  # type: ignore[name-defined]

    def read(self, body: bytes, *, then: Callable[[], object] = lambda: None) -> Any:
        """The elements, each in its shape.

        Raises:
            NotJson: it is not one JSON array of objects that we let through.
            TooMany: they are more than are taken.
            InvalidJob: naming every field that is wrong in the first that is.
        """
        elements = strict_json.elements(body)
        if len(elements) > self._most:
            raise TooMany(
                f"the body has {len(elements)} elements: send {self._most} at most"
            )
        then()
        return [self._read_one(at, text) for at, text in enumerate(elements)]

    def glance(self, body: bytes) -> Any:
        if len(body) > GLANCE_MANY_BYTES_MAX:
            raise Doubt
        found = _decoded(self._decode_all, body)
        if len(found) > min(self._most, GLANCE_MANY_MAX):
            raise Doubt
        # None has fewer than it was read with, so no two can make up for each other.
        if self._settle_all(found) != _colons(body):
            raise Doubt
        return found

    def _settle_all(self, found: list[Any]) -> int:
        """What `settle` does with each, in half the time: a member of all at once."""
        values = list(chain.from_iterable(map(msgspec.structs.astuple, found)))
        colons = len(values) - values.count(UNSET)
        width = len(self.shape.__struct_fields__)
        for at in self._texts:
            texts = [text for text in values[at::width] if type(text) is str]
            colons += "".join(texts).count(":")
        for at, name, objects in self._raws:
            raws = values[at::width]
            said = [
                (one, bytes(raw))
                for one, raw in zip(found, raws, strict=True)
                if raw is not UNSET
            ]
            for one, text in said:
                setattr(one, name, _checked(text, objects=objects))
            colons += _colons(b"".join([text for _, text in said]))
        for one in found if self._instants else ():
            _settle_instants(one, self._instants)
        return colons

    def _read_one(self, at: int, text: bytes) -> Any:
        try:
            # The schema takes as long as twenty of these.
            return super().glance(text)
        except Doubt:
            pass
        try:
            return self.load(strict_json.members(text))
        except InvalidJob as error:
            told = [(f"{at}/{field}", what) for field, what in error.errors]
            raise InvalidJob(*told) from None


class Maybe(Form):
    """Such an object, or no body: that is one without members."""

    optional = True

    def read(self, body: bytes, *, then: Callable[[], object] = lambda: None) -> Any:
        return super().read(body or b"{}", then=then)

    def glance(self, body: bytes) -> Any:
        return super().glance(body or b"{}")


class Anything(Form):
    """Any JSON as its bytes, or no body."""

    optional = True

    def __init__(self) -> None:
        super().__init__(Schema())

    def read(self, body: bytes, *, then: Callable[[], object] = lambda: None) -> Any:
        """The bytes of the one value; None where there is no body.

        Raises:
            NotJson: it is anything else.
        """
        found = strict_json.whole(body) if body else None
        then()
        return found

    def glance(self, body: bytes) -> Any:
        if len(body) > GLANCE_BYTES_MAX:
            raise Doubt
        try:
            return self.read(body)
        except strict_json.NotJson:
            raise Doubt from None


def _decoded(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """Raises: Doubt, where it is not plainly JSON of the shape."""
    try:
        if not body.isascii():
            body.decode()
        found = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Doubt from None
    # Looking for the one byte first takes a tenth of the time.
    if _ESCAPE in body and _ESCAPED in body:
        raise Doubt
    return found


def _checked(text: bytes, *, objects: bool) -> bytes:
    """Raises: Doubt, of JSON that may be too deep, or may have to be an object."""
    if objects and text[:1] != b"{":
        raise Doubt
    if len(text) > _SHALLOW and _is_deep(text):
        raise Doubt
    return text


def _is_deep(text: bytes) -> bool:
    """Whether it is nested too deep for a member of the body."""
    without = len(text.replace(b"{", b"")) + len(text.replace(b"[", b""))
    if 2 * len(text) - without <= _ROOM:
        return False
    return strict_json.depth(text) > _ROOM


def _colons(text: bytes) -> int:
    # Counting them takes twice as long.
    return len(text) - len(text.replace(b":", b""))


# Unknown members that are named in a refusal, and how much of each.
_UNKNOWN_MAX = 16
_NAME_CHARS_MAX = 64


def _unknown(names: Iterable[str]) -> list[tuple[str, str]]:
    """The faults of members that nobody knows."""
    first = sorted(names)[:_UNKNOWN_MAX]
    return [(_pointed(name), "There is no such member.") for name in first]


def _pointed(name: str) -> str:
    """A member's name as a JSON pointer has it."""
    return name[:_NAME_CHARS_MAX].replace("~", "~0").replace("/", "~1")


def _told(name: str, why: Any) -> Iterator[tuple[str, str]]:
    """What marshmallow has to say; of the elements of a list, by their numbers."""
    if isinstance(why, list):
        yield name, " ".join(why)
        return
    for at, each in why.items():
        yield from _told(f"{name}/{at}", each)


def _settle_instants(
    found: Any, instants: Iterable[tuple[str, Callable[[Any], int]]]
) -> None:
    for name, ms in instants:
        value = getattr(found, name)
        if value is not UNSET and value is not None:
            try:
                setattr(found, name, ms(value))
            except ValueError:
                raise Doubt from None


def _type(field: fields.Field[Any]) -> Any:
    """What the decoder may take for *field*: no more than the schema would."""
    found: Any
    if isinstance(field, fields.List):
        found = list[_type(field.inner)]  # type: ignore[misc]
    else:
        found = next(_TYPES[kind] for kind in type(field).__mro__ if kind in _TYPES)
    for rule in field.validators:
        found = _ruled(found, rule)
    if field.allow_none:
        found = found | None
    return found if field.required else found | UnsetType


def _ruled(type_: Any, rule: object) -> Any:
    if isinstance(rule, validate.OneOf):
        return Literal[tuple(rule.choices)]
    if isinstance(rule, validate.Range):
        return Annotated[type_, Meta(ge=rule.min, le=rule.max)]
    if isinstance(rule, validate.Length):
        return Annotated[type_, Meta(min_length=rule.min, max_length=rule.max)]
    raise AssertionError(f"no decoder knows the rule {rule!r}")
