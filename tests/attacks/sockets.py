"""One connection to a real daemon, that says all it has to say and reads to the end."""

import select
import socket
from collections.abc import Sequence

from daemons import PATIENCE_S


def exchange(port: int, pieces: Sequence[bytes]) -> bytes:
    """What comes back, until the other side is done with us.

    Reads while it sends: whoever only sends would be cut off before it has read why.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _talk(wire, [piece for piece in pieces if piece])


def _talk(wire: socket.socket, unsent: list[bytes]) -> bytes:
    got = bytearray()
    if not unsent:
        wire.shutdown(socket.SHUT_WR)
    while True:
        readable, writable, _ = select.select(
            [wire], [wire] if unsent else [], [], PATIENCE_S
        )
        assert readable or writable, "nobody answers, and nobody hangs up"
        try:
            if writable:
                count = wire.send(unsent[0])
                unsent[:1] = [unsent[0][count:]] if count < len(unsent[0]) else []
                if not unsent:
                    wire.shutdown(socket.SHUT_WR)
            if readable:
                data = wire.recv(1 << 16)
                if not data:
                    return bytes(got)
                got += data
        except (BrokenPipeError, ConnectionResetError):
            unsent.clear()  # it was refused; why is still to be read
            if not readable:
                continue
            return bytes(got)
