"""TNS packets on a socket, and the readers and writers of TTC's basic values."""

from __future__ import annotations

import select
import socket
import struct

from kpcluigi.rehearsal.oracle.encode import long_value

CONNECT, ACCEPT, REFUSE, DATA, MARKER = 1, 2, 4, 6, 12
BREAK, RESET, INTERRUPT = 1, 2, 3
SDU = 8192
MAX_SDU = 65535
END_OF_FILE = 0x40


class Closed(Exception):
    """The client has gone."""


class Short(Exception):
    """The request goes on in the next packet."""


class Writer(bytearray):
    """Builds a message."""

    def byte(self, *values: int) -> Writer:
        self.extend(v & 0xFF for v in values)
        return self

    def uint16(self, value: int) -> Writer:
        self += struct.pack(">H", value)
        return self

    def uint32(self, value: int) -> Writer:
        self += struct.pack(">I", value)
        return self

    def number(self, *values: int) -> Writer:
        """Unsigned integers, each as the count of its bytes and the bytes."""
        for value in values:
            size = (value.bit_length() + 7) // 8
            self.append(size)
            self += value.to_bytes(size, "big")
        return self

    def value(self, data: bytes) -> Writer:
        """A length and bytes; the long form when there are many."""
        self += long_value(data)
        return self

    def sized(self, data: bytes) -> Writer:
        """The count of bytes, then, unless it is zero, the value."""
        self.number(len(data))
        return self.value(data) if data else self


class Reader:
    """Reads a request; raises `Short` where it goes on in the next packet."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def raw(self, count: int) -> bytes:
        if self.left < count:
            raise Short
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.raw(1)[0]

    def peek(self) -> int:
        """The next byte, which stays to be read."""
        if not self.left:
            raise Short
        return self.data[self.at]

    def skip(self, count: int) -> None:
        self.raw(count)

    def number(self) -> int:
        size = self.byte()
        value = int.from_bytes(self.raw(size & 0x7F), "big")
        return -value if size & 0x80 else value

    def numbers(self, count: int) -> list[int]:
        return [self.number() for _ in range(count)]

    def value(self) -> bytes | None:
        size = self.byte()
        if size in (0, 255):
            return None
        if size != 254:
            return self.raw(size)
        pieces = []
        while length := self.number():
            pieces.append(self.raw(length))
        return b"".join(pieces)

    def sized(self) -> bytes:
        return (self.value() or b"") if self.number() else b""


class Wire:
    """A client's socket, packet by packet."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.large = False
        self.sdu = SDU
        self._wake_in, self._wake_out = socket.socketpair()

    def close(self) -> None:
        for one in (self._socket, self._wake_in, self._wake_out):
            one.close()

    def shut(self) -> None:
        """End the connection without a word."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def _exactly(self, count: int) -> bytes:
        out = bytearray()
        while len(out) < count:
            try:
                piece = self._socket.recv(count - len(out))
            except OSError as error:
                raise Closed from error
            if not piece:
                raise Closed
            out += piece
        return bytes(out)

    def read(self) -> tuple[int, bytes]:
        """The next packet's type and body."""
        head = self._exactly(8)
        size = struct.unpack(">I", head[:4])[0] if self.large else struct.unpack(">H", head[:2])[0]
        return head[4], self._exactly(size - 8)

    def send(self, kind: int, body: bytes) -> None:
        self._send_all(self._packet(kind, body))

    def _packet(self, kind: int, body: bytes) -> bytes:
        size = len(body) + 8
        head = struct.pack(">I", size) if self.large else struct.pack(">HH", size, 0)
        return head + bytes([kind, 0, 0, 0]) + body

    def _send_all(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Closed from error

    def send_data(self, message: bytes) -> None:
        """A message in as many data packets as it takes."""
        step = self.sdu - 10
        view = bytes(message)
        packets = [
            self._packet(DATA, b"\0\0" + view[at : at + step])
            for at in range(0, max(len(view), 1), step)
        ]
        self._send_all(b"".join(packets))

    def wake(self) -> None:
        """End another thread's `wait`."""
        self._wake_in.send(b"x")

    def wait_woken(self, seconds: float) -> str:
        """Wait for `wake` alone: "woken" or "late"."""
        ready, _, _ = select.select([self._wake_out], [], [], seconds)
        if not ready:
            return "late"
        self._wake_out.recv(1)
        return "woken"

    def wait(self, seconds: float | None) -> str:
        """Wait for the client or for `wake`: "client", "woken" or "late"."""
        ready, _, _ = select.select([self._socket, self._wake_out], [], [], seconds)
        if self._wake_out in ready:
            self._wake_out.recv(1)
            return "woken"
        return "client" if ready else "late"
