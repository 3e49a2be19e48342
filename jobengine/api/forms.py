"""Bodies of requests: a schema says what one may be, and from it comes a decoder for
those that are plainly fine.

The schema is the authority. The decoder is fifty times as fast and never takes what
the schema would not: whatever it doubts it leaves to the schema.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from marshmallow import Schema, ValidationError, fields, validate
from msgspec import UNSET, Meta, UnsetType

from jobengine.api import strict_json
from jobengine.errors import InvalidJob


class Doubt(Exception):
    """Not plainly fine: somebody with more time has to look."""


class Payload(fields.Field[bytes]):
    """A JSON object, kept byte for byte."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bytes:
        if not value.startswith(b"{"):
            raise ValidationError("Not a JSON object.")
        return bytes(value)


_TYPES: dict[type[fields.Field[Any]], Any] = {
    Payload: msgspec.Raw,
    fields.Integer: int,
    fields.String: str,
}


class Form:
    """The shape of one kind of body."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        members = [
            (name, _type(field), *(() if field.required else (UNSET,)))
            for name, field in sorted(
                schema.fields.items(), key=lambda item: not item[1].required
            )
        ]
        name = type(schema).__name__
        # A member that nobody knows may be there twice: the decoder would not tell.
        self._shape = msgspec.defstruct(
            name, members, gc=False, forbid_unknown_fields=True
        )
        self._decode = msgspec.json.Decoder(self._shape).decode
        self._payload: str | None = next(
            (n for n, f in schema.fields.items() if isinstance(f, Payload)), None
        )
        least = {n: _least_bytes(n, f) for n, f in schema.fields.items()}
        self._least = sum(least[n] for n, f in schema.fields.items() if f.required)
        self._optional = [
            (n, least[n]) for n, f in schema.fields.items() if not f.required
        ]
        # A member that is there twice takes no less than this.
        self._twice = min(least.values())

    def load(self, members: Mapping[str, bytes]) -> Any:
        """The members that the schema knows, in its shape.

        Raises:
            NotJson: a value is one that no field could hold.
            InvalidJob: naming every field that is wrong.
        """
        values = {
            name: text if isinstance(field, Payload) else strict_json.value(text)
            for name, text in members.items()
            if (field := self.schema.fields.get(name))
        }
        try:
            loaded: dict[str, Any] = self.schema.load(values)
        except ValidationError as error:
            raise InvalidJob(
                *((name, " ".join(why)) for name, why in error.messages_dict.items())
            ) from None
        return self._shape(**loaded)

    def glance(self, body: bytes) -> Any:
        """The same of a whole body that is plainly fine.

        Raises:
            Doubt: it may be fine or not.
        """
        try:
            # What has no escapes, and no room for deep nesting, needs no closer look.
            plain = _ESCAPE not in body and (
                len(body) < _SHALLOW or _few_brackets(body)
            )
            if not plain:
                strict_json.members(body)
            elif not body.isascii():
                body.decode()
            found = self._decode(body)
            roomy = len(body) - self._kept(found) >= self._twice
            if plain and roomy:
                strict_json.members(body)
        except (msgspec.DecodeError, UnicodeDecodeError, strict_json.NotJson):
            raise Doubt from None
        return found

    def _kept(self, found: Any) -> int:
        """The least bytes that a body has from which *found* was read.

        Of a key that is there twice some read the first and others the last. Where a
        body has no room for that, nobody has to look.
        """
        least = self._least
        for name, size in self._optional:
            if getattr(found, name) is not UNSET:
                least += size
        if self._payload is not None:
            value = getattr(found, self._payload)
            if value is not UNSET:
                payload = bytes(value)
                if payload[:1] != b"{":
                    raise Doubt
                setattr(found, self._payload, payload)
                least += len(payload) - 2
        return least


_ESCAPE = ord("\\")
# A body shorter than this has no room for brackets nested too deep.
_SHALLOW = 2 * strict_json.DEPTH_MAX


def _few_brackets(body: bytes) -> bool:
    """Whether there are too few for the body to be nested too deep."""
    most = strict_json.DEPTH_MAX
    # Counting them takes twice as long.
    without = len(body.replace(b"{", b"")) + len(body.replace(b"[", b""))
    return 2 * len(body) - without <= most


def _least_bytes(name: str, field: fields.Field[Any]) -> int:
    """What the member takes at least, its comma included: `"name":0,`."""
    return len(name) + 4 + (1 if isinstance(field, fields.Integer) else 2)


def _type(field: fields.Field[Any]) -> Any:
    """What the decoder may take for *field*: no more than the schema would."""
    found = next(_TYPES[kind] for kind in type(field).__mro__ if kind in _TYPES)
    for rule in field.validators:
        found = _ruled(found, rule)
    return found if field.required else found | UnsetType


def _ruled(type_: Any, rule: object) -> Any:
    if isinstance(rule, validate.OneOf):
        return Literal[tuple(rule.choices)]
    if isinstance(rule, validate.Range):
        return Annotated[type_, Meta(ge=rule.min, le=rule.max)]
    raise AssertionError(f"no decoder knows the rule {rule!r}")
