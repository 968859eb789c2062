"""Real brokers and workers for tests: ports of their own, a directory that goes away, and no process left behind.

A deadline only bounds how long a broken program can hold up the tests; no test passes because of it.
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from ports import Ports  # noqa: E402

PATIENCE = 90.0
LOOK = 0.01


def await_(happened, what, patience=PATIENCE):
    """Waits until `happened()` is true, and returns what it was."""
    deadline = time.monotonic() + patience
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(LOOK)
    return found


class Cluster:
    """A broker, or a pair, and workers. A context manager; its logs are printed at the end, which pytest shows of a test that
    failed."""

    def __init__(self, programs, root=None):
        self._programs = programs
        self._directory = tempfile.TemporaryDirectory(prefix="zsched-test-", dir=root or os.environ.get("ZSCHED_TEST_DIR"))
        self.path = pathlib.Path(self._directory.name)
        self._ports = {}
        self.processes = {}
        self.quiet = False  # prints no logs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        for process in self.processes.values():
            process.wait()
        for log in sorted(self.path.glob("*.log")) if not self.quiet else ():
            print(f"---- {log.name}", log.read_text(errors="replace")[-5000:], sep="\n")
        for ports in self._ports.values():
            ports.release()
        self._directory.cleanup()

    @property
    def brokers(self):
        """What clients and workers are told."""
        return ",".join(ports.address for node, ports in self._ports.items() if node != "witness")

    def address(self, node):
        if node not in self._ports:
            self._ports[node] = Ports()
        return self._ports[node].address

    def log(self, name):
        path = self.path / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _start(self, name, program, ready, *arguments):
        before = len(self.log(name))
        with open(self.path / f"{name}.log", "ab") as log:
            process = subprocess.Popen([self._programs / program, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes[name] = process
        await_(lambda: ready in self.log(name)[before:] or process.poll() is not None, f"the start of {name}")
        assert process.poll() is None, self.log(name)
        return process

    def start_broker(self, *flags, node="broker"):
        return self._start(node, "zsched-broker", " ready  ", "--data", self.path / node, "--listen",
                           self.address(node), *flags)

    def start_witness(self):
        """The third vote; returns what the brokers are told of it."""
        self._start("witness", "zsched-broker", " ready  ", "--data", self.path / "witness", "--node", "witness", "--listen",
                    self.address("witness"))
        return ("--arbiter", f"witness={self.address('witness')}")

    def start_pair(self, *flags):
        """Two brokers as one service; returns when the standby has everything that the active has."""
        for node, other in (("primary", "backup"), ("backup", "primary")):
            self.start_broker("--node", node, "--peer", self.address(other), *flags, node=node)
        self.await_sync()

    def await_sync(self):
        """Until the standby may take over. To be asked right before a kill: a moment of waiting may drop a standby."""
        await_(lambda: sorted(map(self.role, ("primary", "backup"))) == ["kActiveSync", "kStandby"], "a pair in sync")

    def role(self, node):
        """The role that a broker says it has."""
        return self.log(node).rpartition(" role  role=")[2].split(maxsplit=1)[0] if " role  role=" in self.log(node) else ""

    def active(self):
        return await_(lambda: next((node for node in ("primary", "backup")
                                    if self.processes[node].poll() is None and self.role(node).startswith("kActive")), None),
                      "an active broker")

    def start_worker(self, name="w", *flags):
        return self._start(name, "zsched-worker", "connected to the active broker", "--brokers", self.brokers, "--name", name,
                           *flags)

    def kill(self, name):
        """As the machine would: no goodbye."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()
