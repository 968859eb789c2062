"""Real zsched processes for tests written in Python: free ports, a directory each, nothing left behind."""
import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import ports

START_SECONDS = 90
STOP_SECONDS = 30

_taken = []


def free_ports(count):
    """A port that is free on loopback together with those after it, `count` in all; nobody else's until this process ends."""
    _taken.append(ports.Ports(count))
    return _taken[-1].first


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
