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
        self._keys = [f'"{name}"'.encode() for name in schema.fields]
        self._payloads = [
            name for name, f in schema.fields.items() if isinstance(f, Payload)
        ]

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
            if b"\\u" in body or body.count(b"{") + body.count(b"[") > _BRACKETS:
                strict_json.members(body)
            elif not body.isascii():
                body.decode()
            found = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, strict_json.NotJson):
            raise Doubt from None
        # A key twice is read by some as the first and by others as the last.
        for key in self._keys:
            if body.count(key) > 1:
                raise Doubt
        for name in self._payloads:
            value = getattr(found, name)
            if value is not UNSET:
                payload = bytes(value)
                if payload[:1] != b"{":
                    raise Doubt
                setattr(found, name, payload)
        return found


# Fewer brackets than this cannot be nested deeper than is allowed.
_BRACKETS = strict_json.DEPTH_MAX


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
