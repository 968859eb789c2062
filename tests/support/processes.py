"""Real zsched processes for tests written in Python: free ports, a directory each, nothing left behind."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

START_SECONDS = 30
STOP_SECONDS = 30


def free_ports(count):
    """A port that is free on loopback together with those after it, `count` in all."""
    for _ in range(1000):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            sockets[0].bind(("127.0.0.1", 0))
            port = sockets[0].getsockname()[1]
            try:
                for i, one in enumerate(sockets[1:], 1):
                    one.bind(("127.0.0.1", port + i))
            except (OSError, OverflowError):
                continue
            return port
    raise RuntimeError(f"no {count} free ports in a row")


def free_port_pair():
    """Of a broker alone: clients, workers."""
    return free_ports(2)


@contextlib.contextmanager
def scratch_directory():
    with tempfile.TemporaryDirectory(prefix="zsched-test-") as directory:
        yield pathlib.Path(directory)


class ProcessGroup:
    """A child and everything it starts; all of it is gone when the context ends."""

    def __init__(self, arguments, **options):
        self.process = subprocess.Popen(arguments, start_new_session=True, **options)

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self._alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _alive(self):
        self.process.poll()
        return self._signal(0)

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
            return True
        except ProcessLookupError:
            return False


def wait_for_broker(ctl, address):
    subprocess.run([ctl, "--brokers", address, "cluster", "wait", "--timeout", f"{START_SECONDS}s"], check=True,
                   stdout=subprocess.DEVNULL)
