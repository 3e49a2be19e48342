"""Keys and sealing for the file: the only user of `cryptography` and of os.urandom.

XAES-256-GCM (C2SP) because its 192-bit nonces may be random: there is no counter that a
crash, a restored backup or a cloned machine could repeat.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from jobengine.errors import ConfigError, KdfUnavailable, StoreCorrupt

NONCE, TAG, KEY = 24, 16, 32
LEGACY_NONCE = 12

_BLOCK = (1 << 128) - 1
_CMAC_POLYNOMIAL = 0x87


class Xaes:
    """XAES-256-GCM under one 32-byte key. Not to be shared between threads."""

    def __init__(self, key: bytes) -> None:
        # The spec derives keys by AES-CMAC over single blocks, which is one ECB call.
        self._ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        head = int.from_bytes(self._ecb.update(bytes(16)), "big")
        shifted = (head << 1) & _BLOCK
        subkey = shifted ^ _CMAC_POLYNOMIAL if head >> 127 else shifted
        self._first = (int.from_bytes(b"\x00\x01X\x00", "big") << 96) ^ subkey
        self._second = (int.from_bytes(b"\x00\x02X\x00", "big") << 96) ^ subkey

    def seal(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """The ciphertext and its 16-byte tag."""
        return self._gcm(nonce).encrypt(nonce[12:], plaintext, aad)

    def open(self, nonce: bytes, sealed: bytes, aad: bytes) -> bytes | None:
        """The plaintext; None when it was not sealed so."""
        try:
            return self._gcm(nonce).decrypt(nonce[12:], sealed, aad)
        except InvalidTag:
            return None

    def _gcm(self, nonce: bytes) -> AESGCM:
        half = int.from_bytes(nonce[:12], "big")
        blocks = ((self._first ^ half) << 128) | (self._second ^ half)
        return AESGCM(self._ecb.update(blocks.to_bytes(32, "big")))


class Kdf(Struct, frozen=True):
    """How a key is derived from SECRET. `memory` is KiB, as Argon2 counts it."""

    kind: int
    memory: int = 0
    passes: int = 0
    lanes: int = 0


RAW, ARGON2ID = 0, 1
RESERVED_KDFS = {2: "scrypt", 3: "PBKDF2"}

# RFC 9106, second recommended option.
KDF_DEFAULT = Kdf(ARGON2ID, memory=64 << 10, passes=3, lanes=4)
# A hostile header must not make us allocate terabytes or compute for hours.
KDF_MEMORY_MAX, KDF_PASSES_MAX, KDF_LANES_MAX = 256 << 10, 10, 8


def derive(secret: bytes, kdf: Kdf, salt: bytes) -> bytes:
    """The key that *secret* stands for.

    Raises:
        StoreCorrupt: the parameters are out of bounds.
        KdfUnavailable: this build cannot compute it.
    """
    if kdf.kind == RAW:
        return hkdf(raw_key(secret) or secret, salt, b"jobengine/v1/raw")
    if kdf.kind != ARGON2ID:
        name = RESERVED_KDFS.get(kdf.kind, f"number {kdf.kind}")
        raise KdfUnavailable(
            f"the file's key derivation is {name}, which this version cannot compute"
        )
    if not _in_bounds(kdf):
        raise StoreCorrupt(f"the header asks for a key derivation out of bounds: {kdf}")
    try:
        return Argon2id(
            salt=salt,
            length=KEY,
            iterations=kdf.passes,
            lanes=kdf.lanes,
            memory_cost=kdf.memory,
        ).derive(secret)
    except UnsupportedAlgorithm as error:
        raise KdfUnavailable(
            "the file's key derivation is Argon2id, which the OpenSSL of this "
            "installation lacks (3.2 or newer has it)"
        ) from error


def raw_key(secret: bytes, *, name: str = "SECRET") -> bytes | None:
    """The 32 bytes of a `base64:` SECRET; None for any other SECRET.

    Raises:
        ConfigError: it says base64: and is not exactly 32 bytes so written.
    """
    if not secret.startswith(b"base64:"):
        return None
    try:
        key = base64.b64decode(secret[7:], validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY:
        raise ConfigError(
            f"{name} says base64: and must then be exactly 32 bytes in base64 "
            "(make one with: openssl rand -base64 32)"
        )
    return key


def kdf_for(secret: bytes) -> Kdf:
    """The derivation a new file gets: none is needed for 32 random bytes."""
    return KDF_DEFAULT if raw_key(secret) is None else Kdf(RAW)


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256, 32 bytes."""
    return HKDF(hashes.SHA256(), KEY, salt, info).derive(key)


def open_legacy(secret: bytes, data: bytes) -> bytes | None:
    """What a file of the first JobEngine holds: a nonce, then AES-256-GCM.

    None when *secret* does not open it, or it is no such file.
    """
    # MD5 because that file has it so; nothing of ours is sealed under such a key.
    key = hashlib.md5(secret, usedforsecurity=False).hexdigest().encode()
    nonce, sealed = data[:LEGACY_NONCE], data[LEGACY_NONCE:]
    try:
        return AESGCM(key).decrypt(nonce.ljust(LEGACY_NONCE), sealed, None)
    except InvalidTag:
        return None


def random_bytes(count: int) -> bytes:
    """From the system's generator, asked anew each time.

    No pool: a forked, restored or cloned process would hand its bytes out again.
    """
    # os.urandom lets go of the interpreter's lock. In the committer that is a queue of
    # other threads to wait for, and under the store's lock it stops them all.
    return _system_random(count)


_system_random = getattr(os, "getrandom", os.urandom)


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_uid() -> str:
    """A random UUID (version 4) in its usual writing."""
    return _uid(random_bytes(16).hex())


def new_uids() -> Iterator[str]:
    """The same again and again, for one transaction: the system is asked seldom."""
    while True:
        # More than 256 bytes at once the system need not give.
        digits = random_bytes(256).hex()
        for at in range(0, 512, 32):
            yield _uid(digits[at : at + 32])


def _uid(digits: str) -> str:
    variant = _VARIANT[digits[16]]
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}"
        f"-{variant}{digits[17:20]}-{digits[20:]}"
    )


def _in_bounds(kdf: Kdf) -> bool:
    return (
        1 <= kdf.lanes <= KDF_LANES_MAX
        and 1 <= kdf.passes <= KDF_PASSES_MAX
        and 8 * kdf.lanes <= kdf.memory <= KDF_MEMORY_MAX
    )
