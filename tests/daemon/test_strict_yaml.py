"""The strict YAML reader: what it takes, what it refuses, and that it never breaks."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobengine.daemon import strict_yaml
from jobengine.daemon.strict_yaml import quoted, read


@pytest.fixture(params=["libyaml", "pure Python"], autouse=True)
def scanner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every promise holds with and without the C library in PyYAML."""
    if request.param == "pure Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)


def faults(text: str) -> list[tuple[int, str]]:
    return [tuple(fault) for fault in read(text.encode()).faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30:00", "12:30:00"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("010", 10),
        ("-7", -7),
        ("0o17", 15),
        ("0xff", 255),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  12", "12"),
    ],
)
def test_scalars_mean_what_the_core_schema_of_yaml_1_2_says(
    text: str, value: object
) -> None:
    document = read(f"key: {text}".encode())

    assert document.value == {"key": value}
    assert type(document.value["key"]) is type(value)  # type: ignore[index]
    assert document.faults == ()


def test_nan_is_a_number() -> None:
    value = read(b"[.nan]").value

    assert repr(value) == "[nan]"


def test_every_key_and_item_keeps_its_line() -> None:
    document = read(
        b"# a comment\nqueues:\n  mail:\n    read:\n      - a\n\n      - b\n"
    )

    assert document.lines == {
        ("queues",): 2,
        ("queues", "mail"): 3,
        ("queues", "mail", "read"): 4,
        ("queues", "mail", "read", 0): 5,
        ("queues", "mail", "read", 1): 7,
    }


def test_a_key_given_twice_is_a_fault_with_both_lines_and_the_first_stands() -> None:
    document = read(b"port: 1\nhost: a\nport: 2\n")

    assert document.value == {"port": 1, "host": "a"}
    assert document.faults == ((3, '"port" is given twice, first on line 1'),)


def test_keys_that_are_not_text_are_faults_and_reading_goes_on() -> None:
    document = read(b"1: a\n? [b]\n: c\n~: d\nok: e\n")

    assert document.value == {"ok": "e"}
    assert [fault.line for fault in document.faults] == [1, 2, 4]
    assert "put it in quotes" in document.faults[0].message


def test_nothing_at_all_is_none_without_a_fault() -> None:
    assert read(b"") == (None, {}, ())
    assert read(b"# only a comment\n").value is None


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read(b"\xef\xbb\xbfa: 1").value == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: &x [1]\nb: *x", 2, "aliases"),
        ("a: 1\nb: !!python/object/apply:os.system [id]", 2, "tags"),
        ("a: !mine 1", 1, "tags"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("a: [1,\nb: 2", 2, "not YAML"),
        ("a: 1\n\tb: 2", 2, "not YAML"),
        ("a: " + "9" * 33, 1, "too long"),
        ("a: 1\nb: \x07", 2, "control character"),
        ("\n" + "[" * 100_000, 2, "deep"),
        ("? " * 100_000, 1, "deep"),
        (r'"\U00110000"', 1, "not YAML"),
    ],
)
def test_what_cannot_be_read_is_a_fault_with_its_line(
    text: str, line: int, words: str
) -> None:
    document = read(text.encode())

    assert document.value is None
    assert document.faults[-1].line == line
    assert words in document.faults[-1].message


def test_bytes_that_are_not_utf_8_are_a_fault_with_its_line() -> None:
    assert read(b"a: 1\nb: \xff\n").faults == ((2, "the text is not UTF-8"),)


def test_a_file_that_is_too_large_is_not_even_parsed() -> None:
    document = read(b"#" * (strict_yaml.BYTES_MAX + 1))

    assert document.faults == ((1, "the file is over 1048576 bytes"),)


@given(
    st.text("ab:-?[]{},&*!|>'\"%@` \n\t#0159.~\\xuU", max_size=60)
    | st.binary(max_size=60)
)
def test_no_bytes_at_all_make_the_reader_raise(text: str | bytes) -> None:
    document = read(text if isinstance(text, bytes) else text.encode())

    assert all(fault.line >= 1 and fault.message for fault in document.faults)


def test_quoted_text_is_short_and_harmless_on_a_terminal() -> None:
    assert quoted("a\x1b[31m\n\u00e9") == r'"a\x1b[31m\x0a\xe9"'
    assert len(quoted("a" * 1000)) == 62
