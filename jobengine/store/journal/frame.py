"""Bytes <-> header, frames and watermarks of format 1. Pure: reads and writes nothing.

The layout is that of docs/reference/file-format.md; all integers are big-endian.
"""

import hashlib
import hmac
import struct
from enum import IntEnum
from zlib import crc32

from msgspec import Struct

from jobengine.errors import (
    NewerFormat,
    NotADatabase,
    StoreCorrupt,
    WrongSecret,
)
from jobengine.store.sealer import (
    NONCE,
    TAG,
    Kdf,
    Xaes,
    derive,
    hkdf,
    random_bytes,
)

MAGIC = b"\x89JEQ\r\n\x1a\n"
MAJOR, MINOR = 1, 0
HEADER_BYTES = 512
COPY_AT = 12288
FIRST_FRAME = 16384
MARKS_AT = (4096, 8192)
MARK_BYTES = NONCE + 32 + TAG

_FIXED = struct.Struct(">8sHHI16sQ24xBB6x")  # 72 bytes, before the slots
_SLOT = struct.Struct(">B3xIII16s")  # 32 bytes, then the nonce and the sealed key
_SLOT_BYTES = 104
_DIGEST_AT, _MAC_AT = 448, 480
_AEAD_XAES = 1

FRAME_MAGIC = b"JEF1"
FRAME_HEADER = 64
FRAME_OVERHEAD = FRAME_HEADER + TAG + 4
BODY_MAX = 16 << 20
_FRAME = struct.Struct(">4sBB2xIIQ16s24s")
_MARK = struct.Struct(">QQ16s")
_MARK_AAD = b"JEW1"
_SNAP_END = struct.Struct(">QQ16sQQQQ")


class Type(IntEnum):
    """What a frame is."""

    TXN = 1
    SNAP = 2
    SNAP_END = 3
    OPEN = 4
    CLOSE = 5


class Slot(Struct, frozen=True):
    """One wrapping of the data key: how, and under which derived key."""

    kdf: Kdf
    salt: bytes
    kek: bytes


class Header(Struct, frozen=True):
    """An opened header. `tag` starts the chain of the frames."""

    file_id: bytes
    epoch: int
    data_key: bytes
    slot: Slot
    tag: bytes


class PlainHeader(Struct, frozen=True):
    """What a header says to whoever has no key."""

    major: int
    minor: int
    file_id: bytes
    epoch: int
    kdf: Kdf
    salt: bytes


class FrameHeader(Struct, frozen=True, gc=False):
    """The plain part of a frame, its CRC already found good."""

    type: int
    flags: int
    body_len: int
    seq: int
    prev_tag: bytes
    nonce: bytes
    raw: bytes

    @property
    def size(self) -> int:
        """The bytes of the whole frame."""
        return FRAME_OVERHEAD + self.body_len


class Mark(Struct, frozen=True):
    """A watermark: the frame *seq*, ending at *end* with *tag*, is durable."""

    seq: int
    end: int
    tag: bytes


class SnapEnd(Struct, frozen=True):
    """What SNAP_END says: where the epoch before ended, and what the snapshot holds."""

    epoch: int
    seq: int
    tag: bytes
    counts: tuple[int, int, int, int]  # queues, jobs, bytes of bodies, records

    def pack(self) -> bytes:
        """The body of the frame."""
        return _SNAP_END.pack(self.epoch, self.seq, self.tag, *self.counts)

    @classmethod
    def unpack(cls, body: bytes, offset: int) -> "SnapEnd":
        """Raises: StoreCorrupt."""
        if len(body) != _SNAP_END.size:
            raise StoreCorrupt("SNAP_END has a body of another length", offset=offset)
        epoch, seq, tag, *counts = _SNAP_END.unpack(body)
        return cls(epoch, seq, tag, tuple(counts))


def new_slot(secret: bytes, kdf: Kdf) -> Slot:
    """A wrapping for *secret* under a new salt."""
    salt = random_bytes(16)
    return Slot(kdf, salt, derive(secret, kdf, salt))


def pack_header(*, file_id: bytes, epoch: int, data_key: bytes, slot: Slot) -> bytes:
    """The first 16384 bytes of a file: both header copies, no watermark yet."""
    fixed = _FIXED.pack(MAGIC, MAJOR, MINOR, FIRST_FRAME, file_id, epoch, _AEAD_XAES, 1)
    kdf = slot.kdf
    terms = _SLOT.pack(kdf.kind, kdf.memory, kdf.passes, kdf.lanes, slot.salt)
    nonce = random_bytes(NONCE)
    sealed = Xaes(slot.kek).seal(nonce, data_key, fixed + terms)
    head = (fixed + terms + nonce + sealed).ljust(_DIGEST_AT, b"\0")
    head += hashlib.sha256(head).digest()
    head += _header_mac(data_key, file_id, head)
    return head.ljust(COPY_AT, b"\0") + head.ljust(FIRST_FRAME - COPY_AT, b"\0")


def header_copies(front: bytes) -> list[bytes]:
    """The intact header copies among a file's first 16384 bytes, first copy first.

    Of two intact ones, one may still have a damaged MAC: `open_header` tells.

    Raises:
        NotADatabase: neither copy starts with the magic.
        NewerFormat: told before any checksum, which a newer format may define anew.
        StoreCorrupt: both copies are damaged, or bytes that must be zero are not.
    """
    if not front:
        raise NotADatabase("the file is empty: delete it to create a new one")
    copies = [
        front[at : at + HEADER_BYTES].ljust(HEADER_BYTES, b"\0") for at in (0, COPY_AT)
    ]
    named = [copy for copy in copies if copy.startswith(MAGIC)]
    if not named:
        raise NotADatabase("the file does not start as a .queuedb does")
    intact = [copy for copy in named if _digest_good(copy)]
    _refuse_newer(intact or named)
    if len(front) < FIRST_FRAME:
        raise StoreCorrupt("the file ends within its header", offset=len(front))
    if not intact:
        raise StoreCorrupt("both copies of the header are damaged", offset=0)
    _refuse_reserved(front)
    if len({copy[:_MAC_AT] for copy in intact}) > 1:
        raise StoreCorrupt("the two copies of the header differ", offset=COPY_AT)
    return intact


def read_header(head: bytes) -> PlainHeader:
    """What one intact copy says. Raises: StoreCorrupt, when it says what it cannot."""
    _, major, minor, first, file_id, epoch, aead, slots = _FIXED.unpack_from(head)
    if first != FIRST_FRAME or aead != _AEAD_XAES or slots != 1:
        raise StoreCorrupt(
            "the header has values that format 1.0 does not know", offset=8
        )
    kind, memory, passes, lanes, salt = _SLOT.unpack_from(head, _FIXED.size)
    kdf = Kdf(kind, memory, passes, lanes)
    return PlainHeader(major, minor, file_id, epoch, kdf, salt)


def chain_starts(copies: list[bytes]) -> set[bytes]:
    """What the first frame is chained to: one tag, or one of two if a MAC is bad."""
    return {copy[_MAC_AT : _MAC_AT + 16] for copy in copies}


def open_header(copies: list[bytes], secret: bytes) -> Header:
    """The header, opened with *secret*. The copies are those of `header_copies`.

    Raises:
        WrongSecret: no key slot opens.
        StoreCorrupt: the header says what it cannot, or is not authentic.
        KdfUnavailable: this build cannot compute the key derivation.
    """
    head = copies[0]
    plain = read_header(head)
    slot = Slot(plain.kdf, plain.salt, derive(secret, plain.kdf, plain.salt))
    nonce_at = _FIXED.size + _SLOT.size
    nonce = head[nonce_at : nonce_at + NONCE]
    sealed = head[nonce_at + NONCE : _FIXED.size + _SLOT_BYTES]
    data_key = Xaes(slot.kek).open(nonce, sealed, head[:nonce_at])
    if data_key is None:
        raise WrongSecret(
            "SECRET does not open this database; the file has not been touched"
        )
    mac = _header_mac(data_key, plain.file_id, head[:_MAC_AT])
    if not any(hmac.compare_digest(mac, copy[_MAC_AT:]) for copy in copies):
        raise StoreCorrupt(
            "the header is not authentic: it was tampered with", offset=0
        )
    return Header(plain.file_id, plain.epoch, data_key, slot, mac[:16])


def context(file_id: bytes, epoch: int) -> bytes:
    """What binds frames and marks to one file and one epoch."""
    return file_id + epoch.to_bytes(8, "big")


class Keys:
    """Seals and opens the frames and marks of one epoch. For one thread."""

    def __init__(self, file_id: bytes, epoch: int, data_key: bytes) -> None:
        self.ctx = context(file_id, epoch)
        self._frames = Xaes(hkdf(data_key, self.ctx, b"jobengine/v1/frames"))
        self._marks = Xaes(hkdf(data_key, self.ctx, b"jobengine/v1/mark"))
        self._ctx_crc = crc32(self.ctx)

    def seal_frame(
        self, type_: Type, seq: int, prev_tag: bytes, body: bytes
    ) -> tuple[bytes, bytes]:
        """The bytes of a frame, and its tag for the chain."""
        assert len(body) <= BODY_MAX, "nobody could read this frame again"
        nonce = random_bytes(NONCE)
        head = _FRAME.pack(FRAME_MAGIC, type_, 0, len(body), 0, seq, prev_tag, nonce)
        crc = crc32(head, self._ctx_crc).to_bytes(4, "big")
        head = head[:12] + crc + head[16:]
        sealed = self._frames.seal(nonce, body, head + self.ctx)
        return head + sealed + crc32(sealed).to_bytes(4, "big"), sealed[-TAG:]

    def open_frame(self, header: FrameHeader, sealed: bytes) -> bytes | None:
        """The body of a frame; None when it is not authentic."""
        return self._frames.open(header.nonce, sealed, header.raw + self.ctx)

    def seal_mark(self, mark: Mark) -> bytes:
        """The 72 bytes of a watermark."""
        nonce = random_bytes(NONCE)
        plain = _MARK.pack(mark.seq, mark.end, mark.tag)
        return nonce + self._marks.seal(nonce, plain, _MARK_AAD + self.ctx)

    def open_mark(self, raw: bytes) -> Mark | None:
        """The watermark; None when it is torn, empty or another epoch's."""
        plain = self._marks.open(raw[:NONCE], raw[NONCE:], _MARK_AAD + self.ctx)
        return None if plain is None else Mark(*_MARK.unpack(plain))


def frame_header(raw: bytes, ctx: bytes) -> FrameHeader | None:
    """The frame header in these 64 bytes; None when there is no intact one."""
    if len(raw) < FRAME_HEADER or not raw.startswith(FRAME_MAGIC):
        return None
    raw = raw[:FRAME_HEADER]
    _, type_, flags, body_len, crc, seq, prev_tag, nonce = _FRAME.unpack(raw)
    if crc != crc32(raw[:12] + b"\0\0\0\0" + raw[16:], crc32(ctx)):
        return None
    return FrameHeader(type_, flags, body_len, seq, prev_tag, nonce, raw)


def body_intact(sealed: bytes, crc: bytes) -> bool:
    """Whether sealed bytes are as they were written: needs no key."""
    return crc32(sealed).to_bytes(4, "big") == crc


def _digest_good(head: bytes) -> bool:
    return hashlib.sha256(head[:_DIGEST_AT]).digest() == head[_DIGEST_AT:_MAC_AT]


def _refuse_reserved(front: bytes) -> None:
    for start, end in (
        (HEADER_BYTES, MARKS_AT[0]),
        (COPY_AT + HEADER_BYTES, FIRST_FRAME),
    ):
        zeros = front[start:end].lstrip(b"\0")
        if zeros:
            raise StoreCorrupt("a reserved byte is not zero", offset=end - len(zeros))


def _refuse_newer(copies: list[bytes]) -> None:
    for copy in copies:
        major, minor = struct.unpack_from(">HH", copy, 8)
        if (major, minor) > (MAJOR, MINOR):
            raise NewerFormat(
                f"the file has format {major}.{minor}, newer than this version of "
                f"JobEngine knows ({MAJOR}.{MINOR}): it has not been touched"
            )


def _header_mac(data_key: bytes, file_id: bytes, head: bytes) -> bytes:
    key = hkdf(data_key, file_id, b"jobengine/v1/header")
    return hmac.digest(key, head, "sha256")
