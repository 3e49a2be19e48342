"""The kinds of values that config.yml holds: each checked, none changed.

Knows no key, and not what a value means.
"""

import re
from typing import Any

from marshmallow import ValidationError, fields, missing, validate

from jobengine.core.backoff import DELAY_MS_MAX, DELAYS_MAX

# Whoever tries a job more often than this means: without limit.
COUNT_MAX = 1_000_000


class Texts(fields.Field[list[str]]):
    """A list of texts of one *pattern*."""

    def __init__(self, pattern: re.Pattern[str], wrong: str, **options: Any) -> None:
        super().__init__(**options)
        self._pattern, self._wrong = pattern, wrong

    def _deserialize(self, value: object, *_: Any, **__: Any) -> list[str]:
        if not isinstance(value, list):
            raise self.make_error("null")
        faults = {
            index: [fault]
            for index, each in enumerate(value)
            if (fault := text_fault(each, self._pattern, self._wrong))
        }
        if faults:
            raise ValidationError(faults)
        return value


class Flag(fields.Field[bool]):
    """true or false, and nothing that merely looks like it."""

    default_error_messages = {"invalid": "must be true or false"}  # noqa: RUF012

    def _deserialize(self, value: object, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class CountOr(fields.Field[int | str]):
    """A whole number from 1, or the *word* for: without limit."""

    def __init__(self, word: str, **options: Any) -> None:
        wrong = f"must be a whole number from 1 to {COUNT_MAX}, or {word}"
        super().__init__(error_messages={"invalid": wrong, "null": wrong}, **options)
        self._word = word

    def _deserialize(self, value: object, *_: Any, **__: Any) -> int | str:
        if value == self._word:
            return self._word
        if type(value) is int and 1 <= value <= COUNT_MAX:
            return value
        raise self.make_error("invalid")


class Number(fields.Field[int | float]):
    """A number, fraction or not, from *least* to *most*."""

    def __init__(self, least: int, most: float, **options: Any) -> None:
        wrong = f"must be a number from {least} to {most:.15g}"
        super().__init__(error_messages={"invalid": wrong, "null": wrong}, **options)
        self._least, self._most = least, most

    def _deserialize(self, value: object, *_: Any, **__: Any) -> int | float:
        # Not a number is in no range.
        if type(value) in (int, float) and self._least <= value <= self._most:  # type: ignore[operator]
            return value  # type: ignore[return-value]
        raise self.make_error("invalid")


class Seconds(Number):
    """A time in seconds that is whole milliseconds."""

    default_error_messages = {"fine": "must be whole milliseconds"}  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        super().__init__(0, DELAY_MS_MAX // 1000, **options)

    def _deserialize(self, value: object, *_: Any, **__: Any) -> int | float:
        seconds = super()._deserialize(value)
        if round(seconds * 1000) / 1000 != seconds:
            raise self.make_error("fine")
        return seconds


class Delays(fields.Field[list[int | float]]):
    """Some times in seconds."""

    default_error_messages = {  # noqa: RUF012
        "invalid": f"must be a list of 1 to {DELAYS_MAX} seconds, as in [5, 10, 60]",
    }

    def _deserialize(self, value: object, *_: Any, **__: Any) -> list[int | float]:
        if not isinstance(value, list) or not 1 <= len(value) <= DELAYS_MAX:
            raise self.make_error("invalid")
        seconds, faults = Seconds(), {}
        for index, each in enumerate(value):
            try:
                seconds.deserialize(each)
            except ValidationError as error:
                faults[index] = error.messages
        if faults:
            raise ValidationError(faults)
        return value


class Version(fields.Field[int]):
    """The version of the configuration's form."""

    default_error_messages = {"invalid": "must be 1"}  # noqa: RUF012

    def _deserialize(self, value: object, *_: Any, **__: Any) -> int:
        # 1.0 is what the original's examples say; "1.0" in quotes it refused too.
        if isinstance(value, bool) or not isinstance(value, int | float) or value != 1:
            raise self.make_error("invalid")
        return 1


def whole(least: int, most: int, default: object = missing) -> fields.Integer:
    """A whole number from *least* to *most*."""
    wrong = f"must be a whole number from {least} to {most}"
    return fields.Integer(
        strict=True,
        load_default=default,
        validate=validate.Range(least, most, error=wrong),
        error_messages={"invalid": wrong, "null": wrong},
    )


def text(pattern: re.Pattern[str], wrong: str, **options: Any) -> fields.String:
    """A text of one *pattern*; *wrong* is said of any other."""

    def must_match(found: str) -> None:
        if not pattern.fullmatch(found):
            raise ValidationError(wrong)

    return fields.String(
        validate=must_match,
        error_messages={"required": "is missing", "invalid": wrong, "null": wrong},
        **options,
    )


def text_fault(found: object, pattern: re.Pattern[str], wrong: str) -> str | None:
    """What is wrong with a text in a list, or a key: None where nothing is."""
    if not isinstance(found, str):
        return "must be text: put it in quotes"
    return None if pattern.fullmatch(found) else wrong
