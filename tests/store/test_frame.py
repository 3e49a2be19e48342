"""The layout of format 1, read back byte by byte as the page of the format gives it."""

import hashlib
import hmac
import struct
from zlib import crc32

import pytest
from drafts import DATA_KEY, FILE_ID, Draft, added, job

from jobengine.errors import NewerFormat, NotADatabase, StoreCorrupt, WrongSecret
from jobengine.store.journal.frame import (
    BODY_MAX,
    COPY_AT,
    FIRST_FRAME,
    Keys,
    Mark,
    SnapEnd,
    Type,
    context,
    frame_header,
    header_copies,
    new_slot,
    open_header,
    pack_header,
)
from jobengine.store.sealer import ARGON2ID, Kdf, Xaes, derive, hkdf
from jobengine.testing import CHEAP_KDF, SECRET

SMALL = Kdf(ARGON2ID, memory=64, passes=2, lanes=1)
CTX = FILE_ID + struct.pack(">Q", 7)


def front(kdf: Kdf = CHEAP_KDF) -> bytes:
    slot = new_slot(SECRET, kdf)
    return pack_header(file_id=FILE_ID, epoch=7, data_key=DATA_KEY, slot=slot)


def with_bytes(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def both_copies(data: bytes, at: int, new: bytes) -> bytes:
    return with_bytes(with_bytes(data, at, new), COPY_AT + at, new)


def test_the_header_stands_as_the_format_has_it() -> None:
    data = front(SMALL)

    assert len(data) == FIRST_FRAME == 16384
    assert data[:512] == data[12288:12800]
    assert not any(data[512:12288] + data[12800:])
    assert data[:8] == bytes.fromhex("894A45510D0A1A0A")
    assert struct.unpack(">HHI", data[8:16]) == (1, 0, 16384)
    assert data[16:40] == CTX
    assert not any(data[40:64])
    assert data[64:66] == b"\1\1"
    assert not any(data[66:72])
    assert struct.unpack(">IIII", data[72:88]) == (1 << 24, 64, 2, 1)
    salt, nonce, sealed = data[88:104], data[104:128], data[128:176]
    kek = derive(SECRET, SMALL, salt)
    assert Xaes(kek).open(nonce, sealed, data[:72] + data[72:104]) == DATA_KEY
    assert not any(data[176:448])
    assert data[448:480] == hashlib.sha256(data[:448]).digest()
    mac_key = hkdf(DATA_KEY, FILE_ID, b"jobengine/v1/header")
    assert data[480:512] == hmac.digest(mac_key, data[:480], "sha256")


def test_a_frame_stands_as_the_format_has_it() -> None:
    keys = Keys(FILE_ID, 7, DATA_KEY)

    frame, tag = keys.seal_frame(Type.TXN, 9, b"p" * 16, b"the body")

    head, sealed, crc = frame[:64], frame[64:-4], frame[-4:]
    assert len(frame) == 84 + 8
    assert head[:8] == b"JEF1\x01\0\0\0"
    assert struct.unpack(">I", head[8:12]) == (8,)
    plain = head[:12] + bytes(4) + head[16:]
    assert struct.unpack(">I", head[12:16]) == (crc32(CTX + plain),)
    assert struct.unpack(">Q", head[16:24]) == (9,)
    assert head[24:40] == b"p" * 16
    assert crc == struct.pack(">I", crc32(sealed))
    assert tag == sealed[-16:]
    key = hkdf(DATA_KEY, CTX, b"jobengine/v1/frames")
    assert Xaes(key).open(head[40:64], sealed, head + CTX) == b"the body"


def test_a_mark_stands_as_the_format_has_it() -> None:
    raw = Keys(FILE_ID, 7, DATA_KEY).seal_mark(Mark(9, 20000, b"t" * 16))

    key = hkdf(DATA_KEY, CTX, b"jobengine/v1/mark")
    assert len(raw) == 72
    plain = Xaes(key).open(raw[:24], raw[24:], b"JEW1" + CTX)
    assert plain == struct.pack(">QQ", 9, 20000) + b"t" * 16


def test_a_header_opens_with_its_secret_alone() -> None:
    copies = header_copies(front())

    header = open_header(copies, SECRET)

    assert (header.file_id, header.epoch) == (FILE_ID, 7)
    assert header.data_key == DATA_KEY
    assert header.tag == copies[0][480:496]
    with pytest.raises(WrongSecret, match="has not been touched"):
        open_header(copies, SECRET + b"x")


def test_two_headers_of_one_database_share_no_nonce_and_no_salt() -> None:
    one, two = front(), front()

    assert one[88:128] != two[88:128]


@pytest.mark.parametrize(("at", "length"), [(0, 8), (20, 4), (100, 1), (460, 1)])
def test_one_damaged_copy_of_the_header_leaves_the_other(at: int, length: int) -> None:
    good = front()

    for copy in (0, COPY_AT):
        bad = with_bytes(good, copy + at, b"\xff" * length)
        assert header_copies(bad) == [good[:512]]


@pytest.mark.parametrize("copy", [0, COPY_AT])
def test_a_copy_whose_mac_alone_is_damaged_leaves_the_other(copy: int) -> None:
    good = front()
    copies = header_copies(with_bytes(good, copy + 490, b"\xff\xff"))

    header = open_header(copies, SECRET)

    assert header == open_header([good[:512]], SECRET)


def test_two_damaged_copies_are_damage() -> None:
    with pytest.raises(StoreCorrupt, match="both copies"):
        header_copies(both_copies(front(), 100, b"\xff\xff"))


def test_two_intact_copies_that_differ_are_damage() -> None:
    mixed = front()[:COPY_AT] + front()[COPY_AT:]

    with pytest.raises(StoreCorrupt, match="differ"):
        header_copies(mixed)


def test_a_header_made_without_the_key_is_not_authentic() -> None:
    forged = front()[:512]
    forged = forged[:176] + b"x" + forged[177:448]
    forged += hashlib.sha256(forged).digest() + bytes(32)

    with pytest.raises(StoreCorrupt, match="tampered"):
        open_header([forged], SECRET)


@pytest.mark.parametrize(
    ("at", "new"), [(12, b"\0\0\x50\0"), (64, b"\2"), (65, b"\2"), (65, b"\0")]
)
def test_values_that_the_format_does_not_know_are_refused(at: int, new: bytes) -> None:
    with pytest.raises(StoreCorrupt, match="does not know"):
        open_header([with_bytes(front()[:512], at, new)], SECRET)


@pytest.mark.parametrize("version", [(2, 0), (1, 1), (65535, 65535)])
@pytest.mark.parametrize("digest", ["ours", "theirs"])
def test_a_newer_format_is_told_before_any_checksum(
    version: tuple[int, int], digest: str
) -> None:
    data = both_copies(front(), 8, struct.pack(">HH", *version))
    if digest == "ours":
        data = both_copies(data, 448, hashlib.sha256(data[:448]).digest())

    with pytest.raises(NewerFormat, match=rf"{version[0]}\.{version[1]}.*not been"):
        header_copies(data)


def test_a_version_damaged_in_one_copy_is_not_a_newer_format() -> None:
    good = front()

    assert header_copies(with_bytes(good, 8, b"\0\x09")) == [good[:512]]


def test_an_empty_file_says_what_to_do() -> None:
    with pytest.raises(NotADatabase, match="empty: delete it"):
        header_copies(b"")


def test_what_has_the_magic_in_no_copy_is_not_a_database() -> None:
    with pytest.raises(NotADatabase):
        header_copies(b"SQLite format 3\0" * 2000)
    with pytest.raises(NotADatabase):
        header_copies(b"short")


@pytest.mark.parametrize("size", [8, 11, 512, 12288, 16383])
def test_a_file_that_ends_within_its_header_is_damaged(size: int) -> None:
    with pytest.raises(StoreCorrupt, match="ends") as refusal:
        header_copies(front()[:size])

    assert refusal.value.offset == size


@pytest.mark.parametrize("at", [512, 4095, 12800, 16383])
def test_reserved_bytes_must_be_zero(at: int) -> None:
    with pytest.raises(StoreCorrupt, match="reserved") as refusal:
        header_copies(with_bytes(front(), at, b"\1"))

    assert refusal.value.offset == at


def test_what_lies_beside_the_marks_is_not_read() -> None:
    data = front()

    for start, end in ((4096, 8192), (8192, 12288)):
        data = with_bytes(data, start, b"\xff" * (end - start))

    assert len(header_copies(data)) == 2


def test_a_frame_opens_under_its_own_file_epoch_and_head_only() -> None:
    keys = Keys(FILE_ID, 7, DATA_KEY)
    frame, _ = keys.seal_frame(Type.TXN, 0, bytes(16), b"body")
    header = frame_header(frame, keys.ctx)
    assert header is not None
    assert header.size == len(frame)

    assert keys.open_frame(header, frame[64:-4]) == b"body"
    for other in (
        Keys(FILE_ID, 8, DATA_KEY),
        Keys(bytes(16), 7, DATA_KEY),
        Keys(FILE_ID, 7, bytes(32)),
    ):
        assert other.open_frame(header, frame[64:-4]) is None


def test_a_frame_head_that_is_not_intact_is_none() -> None:
    ctx = context(FILE_ID, 7)
    frame, _ = Keys(FILE_ID, 7, DATA_KEY).seal_frame(Type.TXN, 0, bytes(16), b"")

    assert frame_header(frame, ctx) is not None
    assert frame_header(frame, context(FILE_ID, 8)) is None
    assert frame_header(frame[:63], ctx) is None
    for at in range(64):
        assert frame_header(with_bytes(frame, at, bytes([frame[at] ^ 1])), ctx) is None


def test_no_two_nonces_of_a_file_are_the_same() -> None:
    draft = Draft()
    for number in range(50):
        draft.add(Type.TXN, added(job(number)))
    nonces = [frame[40:64] for frame in draft.frames]
    nonces += [bytes(draft.mark(0).front[4096:4120]) for _ in range(50)]

    assert len(set(nonces)) == 100


def test_the_end_of_a_snapshot_comes_back() -> None:
    end = SnapEnd(3, 44, b"t" * 16, (1, 2, 3, 4))

    assert SnapEnd.unpack(end.pack(), 0) == end
    assert len(end.pack()) == 64


def test_the_end_of_a_snapshot_has_one_length() -> None:
    with pytest.raises(StoreCorrupt) as refusal:
        SnapEnd.unpack(bytes(63), 99)

    assert refusal.value.offset == 99


def test_the_body_limit_is_that_of_the_format() -> None:
    assert BODY_MAX == 16 * 1024 * 1024
