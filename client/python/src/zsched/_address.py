"""Addresses of brokers as people write them.

Example:
    parse_brokers("10.0.0.1:5570,10.0.0.2:5570")

Threads: any.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zsched._wire.constants import MAX_BROKERS
from zsched.errors import InvalidArgument


class HostPort(NamedTuple):
    """Where a socket connects to."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """As ZeroMQ wants it."""
        return f"tcp://{self}"


def parse_address(text: str, allow_empty_host: bool = False) -> HostPort:
    """"host:port", "[::1]:port"; ":port" when the host may be empty. InvalidArgument shows what is meant."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not colon or not 0 <= number <= 65535 or (not host and not allow_empty_host):
        raise InvalidArgument(f"'{text}' is not an address; write it like 127.0.0.1:5570")
    return HostPort(host, number)


def parse_brokers(brokers: str | Sequence[str]) -> list[HostPort]:
    """A list of base addresses, or one text with commas. InvalidArgument for none, too many, or one twice."""
    texts = brokers.split(",") if isinstance(brokers, str) else list(brokers)
    found: list[HostPort] = []
    for text in texts:
        address = parse_address(text.strip())
        if address in found:
            raise InvalidArgument(f"broker {address} is listed twice")
        found.append(address)
    if not found:
        raise InvalidArgument("the list of brokers is empty")
    if len(found) > MAX_BROKERS:
        raise InvalidArgument(f"more than {MAX_BROKERS} brokers are listed")
    return found
