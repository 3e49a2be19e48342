"""The attacks, as data: a name, and the bytes that one connection sends.

Most end with a request that must not be seen by anybody who was told that it belongs to
the body, or that the connection is over. It makes a job, so it leaves a trace.
"""

from following import FOLLOWING
from framing import FRAMING
from heads import HEADS

ATTACKS: dict[str, bytes] = {**FRAMING, **HEADS, **FOLLOWING}
