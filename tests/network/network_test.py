#!/usr/bin/python3
"""A pair of brokers on hosts of their own (network namespaces), with a third for the arbiter: whatever the network does, at
most one of the two acknowledges, nothing acknowledged is lost, and the pair heals. Without an arbiter both may: what they did
is merged.

    network_test.py BIN_DIRECTORY [WithWitness|WithEtcd|WithoutArbiter[.TEST]]

Skipped, and it says why, where namespaces cannot be made: it needs root, iproute2 and nftables.
"""
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests/support")]
import processes  # noqa: E402

BIN = pathlib.Path(sys.argv.pop(1)).resolve()
HEAL_SECONDS = 60
TROUBLE_SECONDS = 5
# Of one zsched-ctl: a client that gets no answer in time has not been acknowledged, and says so by printing nothing.
SUBMIT_SECONDS = 4
HOSTS = {"primary": "10.77.0.1", "backup": "10.77.0.2", "arbiter": "10.77.0.3", "client": "10.77.0.4"}
PRIMARY, BACKUP = HOSTS["primary"] + ":5570", HOSTS["backup"] + ":5570"
BOTH = f"{PRIMARY},{BACKUP}"

Ack = collections.namedtuple("Ack", "began ended epochs")


def call(*arguments, **options):
    return subprocess.run([str(a) for a in arguments], check=True, capture_output=True, text=True, **options).stdout


class Hosts:
    """Namespaces that see each other through a bridge in one more."""

    def __init__(self):
        self.prefix = f"zs{os.getpid()}"
        self.made = []

    def __enter__(self):
        switch = self.add("switch")
        call("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        call("ip", "-n", switch, "link", "set", "br0", "up")
        for number, (host, address) in enumerate(HOSTS.items()):
            name = self.add(host)
            call("ip", "-n", switch, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            call("ip", "-n", switch, "link", "set", f"p{number}", "master", "br0", "up")
            call("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for link in ("eth0", "lo"):
                call("ip", "-n", name, "link", "set", link, "up")
        return self

    def __exit__(self, *_):
        for name in reversed(self.made):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def add(self, host):
        name = self.name(host)
        call("ip", "netns", "add", name)
        self.made.append(name)
        return name

    def name(self, host):
        return f"{self.prefix}-{host}"

    def on(self, host, *arguments):
        """The command line that runs there."""
        return ["ip", "netns", "exec", self.name(host), *map(str, arguments)]

    def drop(self, host, rules):
        """What `host` does not get: nftables rules, without their verdict."""
        lines = ["add table ip t", "flush table ip t", "table ip t {", "chain in {", "type filter hook input priority 0",
                 *(f"{rule} drop" for rule in rules), "}", "}"]
        call(*self.on(host, "nft", "-f", "-"), input="\n".join(lines) + "\n")

    def deafen(self, host):
        self.drop(host, [f"ip saddr {address}" for other, address in HOSTS.items() if other != host])

    def cut_off(self, host):
        self.deafen(host)
        for other in HOSTS:
            if other != host:
                self.drop(other, [f"ip saddr {HOSTS[host]}"])

    def heal(self):
        for host in HOSTS:
            self.drop(host, [])


def why_not():
    """Why namespaces cannot be used here; "" when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        with Hosts() as hosts:
            call(*hosts.on("client", "nft", "list", "ruleset"))
    except subprocess.CalledProcessError as error:
        return f"the kernel does not let us make hosts: {error.cmd}: {error.stderr.strip()}"
    return ""


class Load(threading.Thread):
    """Submits from one host to these brokers until it is told to stop, and remembers what was acknowledged when."""

    def __init__(self, hosts, host, brokers):
        super().__init__()
        self.command = hosts.on(host, "timeout", SUBMIT_SECONDS, BIN / "zsched-ctl", "--brokers", brokers, "-o", "id", "submit",
                                "--type", "noop", "--count", 5)
        self.stop = threading.Event()
        self.ids, self.acks = [], []

    def run(self):
        while not self.stop.is_set():
            began = time.monotonic()
            done = subprocess.run(self.command, capture_output=True, text=True, check=False)
            ids = done.stdout.split()
            self.ids += ids
            if ids:
                self.acks.append(Ack(began, time.monotonic(), [int(task.split("-")[0]) for task in ids]))
            self.stop.wait(0.02)


class Pair:
    def __init__(self, test, hosts, arbiter):
        self.test, self.hosts = test, hosts
        scratch = processes.scratch_directory()
        self.directory = scratch.__enter__()
        test.addCleanup(scratch.__exit__, None, None, None)
        self.logs = {}
        if arbiter is not None:
            self.start_arbiter(arbiter)
        where = {"witness": f"witness={HOSTS['arbiter']}:5570", "etcd": f"etcd=http://{HOSTS['arbiter']}:2379", None: "none"}[arbiter]
        for node, peer in (("primary", "backup"), ("backup", "primary")):
            self.start(node, BIN / "zsched-broker", "--data", self.directory / node, "--node", node, "--listen",
                       f"{HOSTS[node]}:5570", "--peer", f"{HOSTS[peer]}:5570", "--arbiter", where)
        self.await_health()

    def start(self, host, *arguments):
        self.logs[host] = self.directory / f"{host}.log"
        log = open(self.logs[host], "ab")
        self.test.addCleanup(log.close)
        child = processes.ProcessGroup(self.hosts.on(host, *arguments), stdout=log, stderr=log)
        child.__enter__()
        self.test.addCleanup(child.__exit__, None, None, None)

    def start_arbiter(self, kind):
        if kind == "witness":
            self.start("arbiter", BIN / "zsched-broker", "--data", self.directory / "witness", "--node", "witness", "--listen",
                       f"{HOSTS['arbiter']}:5570")
            return
        url = f"http://{HOSTS['arbiter']}:2379"
        self.start("arbiter", shutil.which("etcd"), "--data-dir", self.directory / "etcd", "--listen-client-urls", url,
                   "--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:2380")

    def ctl(self, *arguments):
        return call(*self.hosts.on("client", BIN / "zsched-ctl", "--brokers", BOTH, *arguments))

    def await_health(self):
        try:
            self.ctl("cluster", "wait", "--role", "active_sync", "--timeout", f"{HEAL_SECONDS}s")
        except subprocess.CalledProcessError as error:
            logs = "".join(f"---- {host}\n{log.read_text()[-3000:]}" for host, log in self.logs.items())
            raise AssertionError(f"the pair has not healed: {error.stderr}\n{logs}") from None


class Network(unittest.TestCase):
    """Each test is one trouble; `arbiter` is set by the classes below."""
    arbiter = None

    def setUp(self):
        if self.arbiter == "etcd" and shutil.which("etcd") is None:
            self.skipTest("etcd is not installed")
        hosts = Hosts()
        self.hosts = hosts.__enter__()
        self.addCleanup(hosts.__exit__, None, None, None)
        self.pair = Pair(self, self.hosts, self.arbiter)

    def run_through(self, trouble):
        """Under load from everywhere: the trouble, then none; and what must hold."""
        # Those on a broker's own host are cut off with it.
        loads = [Load(self.hosts, "client", BOTH), Load(self.hosts, "client", f"{BACKUP},{PRIMARY}"),
                 Load(self.hosts, "primary", PRIMARY), Load(self.hosts, "backup", BACKUP)]
        for load in loads:
            load.start()
        try:
            time.sleep(1)
            trouble()
            self.hosts.heal()
            self.pair.await_health()
            time.sleep(1)
        finally:
            for load in loads:
                load.stop.set()
            for load in loads:
                load.join()
        self.check([ack for load in loads for ack in load.acks])
        acknowledged = {task for load in loads for task in load.ids}
        there = set(self.pair.ctl("-o", "id", "task", "list", "--limit", "0").split())
        self.assertGreater(len(acknowledged), 50)
        self.assertEqual(acknowledged - there, set(), "acknowledged and lost")
        return loads

    def check(self, acks):
        """What was asked for after somebody was served in an epoch is not served in an earlier one."""
        ended = sorted(acks, key=lambda a: a.ended)
        newest, at = 0, 0
        for ack in sorted(acks, key=lambda a: a.began):
            while ended[at].ended < ack.began:
                newest = max(newest, *ended[at].epochs)
                at += 1
            self.assertGreaterEqual(min(ack.epochs), newest, "an old active has acknowledged after a new one")

    def run_with(self, begin, settle_seconds=2):
        """Runs through what `begin` begins. The loads, and whether one of some was acknowledged once that had settled."""
        window = []

        def trouble():
            begin()
            time.sleep(settle_seconds)
            window.append(time.monotonic())
            time.sleep(TROUBLE_SECONDS)
            window.append(time.monotonic())

        loads = self.run_through(trouble)

        def served(some):
            return any(window[0] <= ack.began and ack.ended <= window[1] for load in some for ack in load.acks)

        return loads, served

    def active(self):
        """The node that is; and the other one."""
        lines = self.pair.ctl("cluster", "wait", "--role", "active_sync").splitlines()
        active = next(line.split()[0] for line in lines if " active_" in line)
        return active, "backup" if active == "primary" else "primary"

    def test_the_active_is_cut_off_from_all(self):
        active, _ = self.active()
        loads, served = self.run_with(lambda: self.hosts.cut_off(active))
        self.assertTrue(served(loads[:2]), "the standby has not taken over")
        inside = [load for load, node in ((loads[2], "primary"), (loads[3], "backup")) if node == active]
        self.assertEqual(served(inside), self.arbiter is None, "a broker that is cut off acknowledges where nobody can know better")

    def test_the_standby_is_cut_off_from_all(self):
        _, standby = self.active()
        loads, served = self.run_with(lambda: self.hosts.cut_off(standby))
        self.assertTrue(served(loads[:2]), "the active has not gone on alone")

    def test_one_hears_nobody_and_is_heard(self):
        for who in (0, 1):
            deaf = self.active()[who]
            with self.subTest(deaf=deaf, active=who == 0):
                # Until what it sends does not arrive any more either, as nobody's acknowledgements come through.
                loads, served = self.run_with(lambda deaf=deaf: self.hosts.deafen(deaf), settle_seconds=6)
                self.assertTrue(served(loads[:2]), "the other one does not serve")

    def test_only_the_link_between_them_is_cut(self):
        def trouble():
            self.hosts.drop("primary", [f"ip saddr {HOSTS['backup']}"])
            self.hosts.drop("backup", [f"ip saddr {HOSTS['primary']}"])
            time.sleep(TROUBLE_SECONDS)

        self.run_through(trouble)

    def test_the_link_is_cut_one_way(self):
        for deaf, mute in (("primary", "backup"), ("backup", "primary")):
            with self.subTest(deaf=deaf):
                def trouble(deaf=deaf, mute=mute):
                    self.hosts.drop(deaf, [f"ip saddr {HOSTS[mute]}"])
                    time.sleep(TROUBLE_SECONDS)

                self.run_through(trouble)

    def test_a_third_of_all_packets_is_lost(self):
        def trouble():
            for host in ("primary", "backup", "arbiter"):
                self.hosts.drop(host, ["ip saddr 10.77.0.0/24 numgen random mod 100 < 30"])
            time.sleep(2 * TROUBLE_SECONDS)

        self.run_through(trouble)

    def test_the_link_flaps(self):
        def trouble():
            for _ in range(8):
                self.hosts.drop("primary", [f"ip saddr {HOSTS['backup']}"])
                time.sleep(0.6)
                self.hosts.drop("primary", [])
                time.sleep(0.5)

        self.run_through(trouble)

    def test_all_is_late(self):
        for host in ("primary", "backup"):
            done = subprocess.run(self.hosts.on(host, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "300ms"),
                                  capture_output=True, text=True, check=False)
            if done.returncode != 0:
                self.skipTest(f"the kernel cannot delay packets (netem): {done.stderr.strip()}")

        def trouble():
            time.sleep(2 * TROUBLE_SECONDS)
            for host in ("primary", "backup"):
                call(*self.hosts.on(host, "tc", "qdisc", "del", "dev", "eth0", "root"))

        self.run_through(trouble)


class WithWitness(Network):
    arbiter = "witness"


class WithEtcd(Network):
    arbiter = "etcd"


class WithoutArbiter(Network):
    """Both may serve; nothing that either acknowledged is lost."""

    def setUp(self):
        super().setUp()
        self.merged = 0

    def run_through(self, trouble):
        loads = super().run_through(trouble)
        self.assertEqual(len({task for load in loads for task in load.ids}), sum(len(load.ids) for load in loads),
                         "one id was given twice")
        return loads

    def check(self, acks):
        """What one did alone is merged, before anybody looks for what was acknowledged."""
        until = time.monotonic() + HEAL_SECONDS
        while True:
            merges = json.loads(self.pair.ctl("cluster", "status", "-o", "json"))["merges"]
            pending = [node for node in ("primary", "backup") if self.unmerged(node)]
            if not pending and all(merge["done"] for merge in merges):
                break
            self.assertLess(time.monotonic(), until, f"{pending} has not handed over what it did alone: {merges}")
            time.sleep(0.2)
        self.merged = len(merges)

    def unmerged(self, node):
        archives = (self.pair.directory / node / "archive").glob("*")
        return [archive for archive in archives if not (archive / "merged").exists()]

    def test_the_active_is_cut_off_from_all(self):
        super().test_the_active_is_cut_off_from_all()
        self.assertGreaterEqual(self.merged, 1, "both have served, and nothing was merged")


def run_all():
    """One process for each arbiter, side by side: most of the time is spent waiting."""
    runs = [subprocess.Popen([sys.executable, __file__, str(BIN), case.__name__], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True) for case in (WithWitness, WithEtcd, WithoutArbiter)]
    outputs = [run.communicate()[0] for run in runs]
    print("".join(outputs))
    return 0 if all(run.returncode == 0 for run in runs) else 1


if __name__ == "__main__":
    if reason := why_not():
        print(f"network_test: skipped: {reason}")
        sys.exit(0)
    if len(sys.argv) == 1:
        sys.exit(run_all())
    unittest.main(verbosity=2)
