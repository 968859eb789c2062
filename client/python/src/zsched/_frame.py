"""Frames: the header of 40 bytes that every message travels in (docs/protocol.md, section 2).

Ours carry CRC-32 checksums, which Python's standard library computes; a broker answers in kind.

Example:
    data = seal(MessageType.HEARTBEAT, number=5, epoch=4, session=session)
    frame = open_frame(data)                # magic, version, flags, size and checksum hold

Threads: any.
"""
from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from zsched._wire.constants import ErrorCode, MessageType
from zsched.errors import MalformedFrame

MAGIC = b"ZSCH"
VERSION = 1
FLAG_CRC32 = 1
HEADER_BYTES = 40

_HEADER = struct.Struct("<4sBBHIIQQ")  # what the checksum covers
_CHECKSUM = struct.Struct("<Q")
_COVERED = _HEADER.size
_LAST_NUMBER = 0xFFFFFFFF

# XXH3-64 of header and body, seeded as the protocol says; given by who has one.
Xxh3 = Callable[[bytes, bytes], int]


class Frame(NamedTuple):
    """A frame whose header holds. The body is not looked into."""

    type: int
    number: int
    epoch: int
    session: int
    body: bytes


def seal(type_: MessageType, body: bytes = b"", *, number: int = 0, epoch: int = 0, session: int = 0) -> bytes:
    """Header and body as one frame."""
    header = _HEADER.pack(MAGIC, VERSION, type_, FLAG_CRC32, len(body), number, epoch, session)
    return b"".join((header, _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(header))), body))


def open_frame(data: bytes, xxh3: Xxh3 | None = None) -> Frame:
    """Checks a frame in the order of the protocol. MalformedFrame has the code of what is wrong first.

    A frame with an XXH3 checksum is BAD_CHECKSUM without `xxh3`: a broker sends none to who greeted it with CRC-32.
    """
    if len(data) < HEADER_BYTES:
        raise MalformedFrame(f"a frame of {len(data)} bytes is shorter than its header", ErrorCode.TRUNCATED)
    magic, version, type_, flags, body_bytes, number, epoch, session = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MalformedFrame("not a frame of zsched: it does not begin with ZSCH", ErrorCode.BAD_MAGIC)
    if version != VERSION:
        raise MalformedFrame(f"protocol version {version} is not supported; this side speaks {VERSION}",
                             ErrorCode.UNSUPPORTED_VERSION)
    if flags & ~FLAG_CRC32:
        raise MalformedFrame("unknown flags in the header")
    body = data[HEADER_BYTES:]
    if body_bytes != len(body):
        raise MalformedFrame(f"the header announces a body of {body_bytes} bytes, the frame has {len(body)}",
                             ErrorCode.TRUNCATED)
    expected = _checksum(data[:_COVERED], body, bool(flags & FLAG_CRC32), xxh3)
    if _CHECKSUM.unpack_from(data, _COVERED)[0] != expected:
        raise MalformedFrame("the checksum does not match the bytes", ErrorCode.BAD_CHECKSUM)
    return Frame(type_, number, epoch, session, body)


def _checksum(header: bytes, body: bytes, crc: bool, xxh3: Xxh3 | None) -> int | None:
    if crc:
        return zlib.crc32(body, zlib.crc32(header))
    return xxh3(header, body) if xxh3 is not None else None


def number_after(last: int) -> int:
    """The number of the frame that follows number `last`; 0 is skipped."""
    return 1 if last == _LAST_NUMBER else last + 1


def is_repeat(last: int, number: int) -> bool:
    """Whether a frame that is not the next one was here before. Half of all numbers are before `last`."""
    return not 0 < (number - last) & _LAST_NUMBER < 1 << 31
