"""Free ports on loopback for tests written in Python, in the way of tests/harness."""
import os
import socket

# Below those that the kernel gives to outgoing connections: one of them must not sit where a broker comes back.
FIRST_PORT, LAST_PORT = 20_000, 32_000
BLOCK = 4


class Ports:
    """Neighbouring free ports. Names in the kernel say that they are taken, to the C++ tests too, until release()."""

    def __init__(self, count=BLOCK):
        blocks = -(-count // BLOCK)
        ranges = (LAST_PORT - FIRST_PORT) // BLOCK
        start = os.getpid() * 7919 % ranges
        for index in range(ranges):
            self.first = FIRST_PORT + BLOCK * ((start + index) % (ranges - blocks + 1))
            self._reservations = []
            try:
                for block in range(blocks):
                    self._reserve(self.first + BLOCK * block)
                if all(map(is_free, range(self.first, self.first + count))):
                    return
            except OSError:
                pass
            self.release()
        raise AssertionError("no free ports on 127.0.0.1")

    def _reserve(self, port):
        reservation = socket.socket(socket.AF_UNIX)
        self._reservations.append(reservation)
        reservation.bind(f"\0zsched-test-port-{port}")

    @property
    def address(self):
        return f"127.0.0.1:{self.first}"

    def release(self):
        for reservation in self._reservations:
            reservation.close()


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
