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


def free_port_pair():
    """A port that is free on loopback together with the one after it (clients, workers)."""
    for _ in range(1000):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError("no two free ports in a row")


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
