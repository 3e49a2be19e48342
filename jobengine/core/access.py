"""Who may do what to which queue. Deny by default."""

import hashlib
import hmac
from enum import IntEnum

from msgspec import Struct

from jobengine.core.job import Job
from jobengine.core.queues import MadeQueue, QueueRules, Rulebook


class Caller(Struct, frozen=True):
    """Who is asking: the service name, as api/identity.py has proved it.

    `local`: over loopback or a Unix socket, without a proxy. `key_of` is the queue
    whose access key it has shown, and `digest` what was kept of that key then.
    """

    name: str
    local: bool = False
    key_of: str | None = None
    digest: bytes | None = None


class Right(IntEnum):
    """What a queue's lists grant."""

    READ = 1
    WRITE = 2
    BROWSE = 3  # see its jobs and counts, not their payloads
    MANAGE = 4  # pause, replay, purge


# By name: a member looked up in its class costs more than the rule itself.
READ, WRITE, BROWSE, MANAGE = Right

# By (may read, may write). Who reads sees all there is to see.
_HELD: dict[tuple[bool, bool], frozenset[Right]] = {
    (False, False): frozenset(),
    (True, False): frozenset({READ, BROWSE}),
    (False, True): frozenset({WRITE}),
    (True, True): frozenset({READ, WRITE, BROWSE}),
}
_BY_KEY = _HELD[True, True]
ALL = frozenset(Right)


def by_key(made: MadeQueue) -> Caller:
    """Whoever has shown the access key of a queue. No service can have such a name."""
    return Caller(f"#{made.name}", key_of=made.name, digest=made.digest)


def allows(caller: Caller, rules: QueueRules, right: Right) -> bool:
    """Whether the queue's lists give the caller this right; administrators apart."""
    if caller.key_of is None:
        if right is READ and caller.name in rules.read:
            return True
        if right is WRITE and caller.name in rules.write:
            return True
    return right in rights(caller, rules)


def rights(caller: Caller, rules: QueueRules) -> frozenset[Right]:
    """The caller's rights on the queue; none means it must not learn it exists."""
    name = caller.name
    held = _HELD[name in rules.read, name in rules.write]
    if name in rules.manage:
        held |= {BROWSE, MANAGE}
    if name in rules.browse:
        held |= {BROWSE}
    if caller.key_of is not None:
        # An access key opens its own queue, and the name beside it opens nothing. It
        # may be another queue than when the key was shown, with a key of its own.
        return _BY_KEY if _is_opened(caller, rules) else frozenset()
    return held


def _is_opened(caller: Caller, rules: QueueRules) -> bool:
    made = rules.made
    return (
        made is not None
        and made.digest is not None
        and (made.name, made.digest) == (caller.key_of, caller.digest)
    )


def administers(caller: Caller, rules: Rulebook) -> bool:
    """Whether the caller may do anything to any queue: an admin that is close by."""
    # A name alone proves nothing to somebody far away.
    return caller.local and caller.key_of is None and caller.name in rules.admins


def holds(caller: Caller, job: Job) -> bool:
    """Whether the caller has the job in progress. Replicas of one service are one."""
    return job.lease is not None and job.lease.holder == caller.name


def digest(access_key: str, salt: str) -> bytes:
    """What is kept of an access key.

    Fast on purpose: it is asked for with every request, and what is kept lies in an
    encrypted file.
    """
    return hashlib.blake2b(
        access_key.encode(), digest_size=32, key=salt.encode()
    ).digest()


def opens(access_key: str, made: MadeQueue | None) -> bool:
    """Whether this is the access key of the queue."""
    if made is None or made.salt is None or made.digest is None:
        return False
    return hmac.compare_digest(digest(access_key, made.salt), made.digest)
