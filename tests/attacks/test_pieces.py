"""However a request is cut on its way, it is answered as if it had come whole."""

import re

import pytest
from corpus import ATTACKS
from indoors import Indoors

# Longer ones are runs of the same, and every cut of them would take minutes.
ATTACK_BYTES_MAX = 700
CUT = {name: data for name, data in ATTACKS.items() if 1 < len(data) < ATTACK_BYTES_MAX}
# Attacks are alike but for a few bytes: each is cut at every seventh place, and not all
# at the same ones.
STRIDE = 7
# What differs from one answer to the next of the same. Whether a
# client is told to go on depends on what it has sent by then.
OWN = re.compile(
    rb"HTTP/1\.1 100 Continue\r\n\r\n|"
    rb'"[0-9a-f-]{32,36}"|X-Request-Id: [0-9a-f]+|Date: [^\r]+'
)


def answered(house: Indoors, *pieces: bytes) -> bytes:
    """What goes back when each piece comes in a turn of its own, then the end."""
    line = house.connect()
    for piece in (*pieces, b""):
        line.send(piece)
        house.loop.rest()
    house.loop.advance(4)
    assert line.gone
    house.check_nothing_is_left()
    return OWN.sub(b"", bytes(line.got))


@pytest.fixture(scope="module")
def house() -> Indoors:
    return Indoors(lightly=True)


@pytest.mark.parametrize("name", CUT)
def test_a_request_cut_anywhere_is_answered_as_if_it_were_whole(
    house: Indoors, name: str
) -> None:
    data = CUT[name]

    whole = answered(house, data)

    first = sum(name.encode()) % STRIDE
    for at in range(1 + first, len(data), STRIDE):
        assert answered(house, data[:at], data[at:]) == whole, at


@pytest.mark.parametrize("name", CUT)
def test_a_request_that_drips_is_answered_as_if_it_were_whole(
    house: Indoors, name: str
) -> None:
    data = CUT[name]

    dripped = answered(house, *(data[at : at + 1] for at in range(len(data))))

    assert dripped == answered(house, data)
