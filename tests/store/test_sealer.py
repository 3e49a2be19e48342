"""Keys and sealing: the published vectors, and the limits of what a header may ask."""

import base64
import hashlib
from collections.abc import Iterator
from uuid import UUID

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from jobengine.errors import ConfigError, KdfUnavailable, StoreCorrupt
from jobengine.store import sealer
from jobengine.store.sealer import (
    ARGON2ID,
    KDF_DEFAULT,
    RAW,
    Kdf,
    Xaes,
    derive,
    kdf_for,
    new_uid,
    random_bytes,
    raw_key,
)

SALT = bytes(16)
SMALL = Kdf(ARGON2ID, memory=64, passes=1, lanes=1)

# https://c2sp.org/XAES-256-GCM, "Test vectors": MSB(L) is 0 in the first, 1 in the
# second. Nonce and plaintext are the same.
VECTORS = [
    (1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
    (
        3,
        b"c2sp.org/XAES-256-GCM",
        "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
    ),
]
NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
# The same page, "Accumulated randomized tests", 10 000 iterations.
ACCUMULATED = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@pytest.mark.parametrize(("byte", "aad", "sealed"), VECTORS)
def test_the_published_vectors_come_out(byte: int, aad: bytes, sealed: str) -> None:
    xaes = Xaes(bytes([byte]) * 32)

    assert xaes.seal(NONCE, b"XAES-256-GCM", aad).hex() == sealed
    assert xaes.open(NONCE, bytes.fromhex(sealed), aad) == b"XAES-256-GCM"


def test_the_accumulated_vector_comes_out() -> None:
    rounds = 10_000
    stream = hashlib.shake_128().digest(rounds * (32 + 24 + 256 + 256))
    seen = hashlib.shake_128()

    for key, nonce, plaintext, aad in _read(stream, rounds):
        sealed = Xaes(key).seal(nonce, plaintext, aad)
        assert Xaes(key).open(nonce, sealed, aad) == plaintext
        seen.update(sealed)

    assert seen.hexdigest(32) == ACCUMULATED


def _read(stream: bytes, rounds: int) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        return stream[at - count : at]

    for _ in range(rounds):
        yield take(32), take(24), take(take(1)[0]), take(take(1)[0])


def test_what_was_sealed_otherwise_does_not_open() -> None:
    xaes = Xaes(bytes(32))
    sealed = xaes.seal(NONCE, b"text", b"aad")

    assert xaes.open(NONCE, sealed, b"other") is None
    assert xaes.open(NONCE[::-1], sealed, b"aad") is None
    assert xaes.open(NONCE, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"aad") is None
    assert xaes.open(NONCE, b"short", b"aad") is None
    assert Xaes(b"k" * 32).open(NONCE, sealed, b"aad") is None


# The tests of Argon2's reference implementation (test.c, Argon2id of version 0x13).
@pytest.mark.parametrize(
    ("kdf", "key"),
    [
        (
            Kdf(ARGON2ID, memory=65536, passes=2, lanes=1),
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7",
        ),
        (
            Kdf(ARGON2ID, memory=256, passes=2, lanes=2),
            "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037",
        ),
    ],
)
def test_argon2id_gives_the_keys_of_its_reference(kdf: Kdf, key: str) -> None:
    assert derive(b"password", kdf, b"somesalt").hex() == key


def test_another_secret_or_salt_gives_another_key() -> None:
    keys = {
        derive(secret, kdf, salt)
        for secret in (b"one", b"two")
        for salt in (SALT, b"s" * 16)
        for kdf in (SMALL, Kdf(RAW))
    }

    assert len(keys) == 8


@pytest.mark.parametrize(
    "kdf",
    [
        Kdf(ARGON2ID, memory=(256 << 10) + 1, passes=1, lanes=1),
        Kdf(ARGON2ID, memory=64, passes=11, lanes=1),
        Kdf(ARGON2ID, memory=128, passes=1, lanes=9),
        Kdf(ARGON2ID, memory=64, passes=0, lanes=1),
        Kdf(ARGON2ID, memory=64, passes=1, lanes=0),
        Kdf(ARGON2ID, memory=31, passes=1, lanes=4),
        Kdf(ARGON2ID, memory=2**32 - 1, passes=2**32 - 1, lanes=2**32 - 1),
    ],
)
def test_parameters_out_of_bounds_are_refused_before_anything_is_derived(
    kdf: Kdf,
) -> None:
    with pytest.raises(StoreCorrupt, match="out of bounds"):
        derive(b"secret", kdf, SALT)


@pytest.mark.parametrize(
    ("kind", "name"), [(2, "scrypt"), (3, "PBKDF2"), (77, "number 77")]
)
def test_a_derivation_this_build_lacks_is_named(kind: int, name: str) -> None:
    with pytest.raises(KdfUnavailable, match=name):
        derive(b"secret", Kdf(kind), SALT)


def test_an_openssl_without_argon2id_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(**_parameters: object) -> None:
        raise UnsupportedAlgorithm("not in this OpenSSL")

    monkeypatch.setattr(sealer, "Argon2id", lacking)

    with pytest.raises(KdfUnavailable, match="OpenSSL"):
        derive(b"secret", SMALL, SALT)


def test_a_base64_secret_is_a_key_and_needs_no_derivation() -> None:
    key = bytes(range(32))
    secret = b"base64:" + base64.b64encode(key)

    assert raw_key(secret) == key
    assert kdf_for(secret) == Kdf(RAW)


def test_any_other_secret_is_derived_with_the_default() -> None:
    assert raw_key(b"a plain secret") is None
    assert kdf_for(b"a plain secret") == KDF_DEFAULT == Kdf(ARGON2ID, 65536, 3, 4)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        base64.b64encode(bytes(31)),
        base64.b64encode(bytes(33)),
        base64.b64encode(bytes(32))[:-1],
        base64.b64encode(bytes(32)) + b"\n",
        b"!" * 44,
    ],
)
def test_a_base64_secret_that_is_no_key_is_the_operators_fault(text: bytes) -> None:
    with pytest.raises(ConfigError, match="exactly 32 bytes"):
        kdf_for(b"base64:" + text)


def test_random_bytes_do_not_repeat() -> None:
    assert len({random_bytes(24) for _ in range(1000)}) == 1000


def test_a_uid_is_a_random_uuid_in_its_usual_writing() -> None:
    uids = {new_uid() for _ in range(1000)}

    assert len(uids) == 1000
    for uid in uids:
        assert str(UUID(uid)) == uid
        assert UUID(uid).version == 4
        assert UUID(uid).variant == "specified in RFC 4122"
