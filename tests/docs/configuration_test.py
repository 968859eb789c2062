#!/usr/bin/python3
"""docs/configuration.md names every flag that the programs' --help shows, and none that is gone; its files work.

    configuration_test.py BIN_DIRECTORY
"""
import json
import pathlib
import re
import subprocess
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/support"))
import markdown  # noqa: E402
import processes  # noqa: E402

BIN = pathlib.Path(sys.argv.pop(1)).resolve()

# Program → heading of its section in the page.
SECTIONS = {program: f"## {program}" for program in ["zsched-broker", "zsched-worker", "zsched-gateway", "zsched-ctl", "zsched-bench"]}
OPTION = re.compile(r"^  (?:-\w,)?(--[a-z][a-z-]*)", re.MULTILINE)
COMMAND = re.compile(r"^  ([a-z]+) {2,}\S", re.MULTILINE)
DOCUMENTED = re.compile(r"^\| `(?:-\w, ?)?(--[a-z][a-z-]*)", re.MULTILINE)
# Every program has them; the page says so once.
COMMON = {"--help", "--version", "--config"}


def help_of(arguments):
    return subprocess.run([str(BIN / arguments[0]), *arguments[1:], "--help"], check=True, capture_output=True,
                          text=True).stdout


def flags_of(arguments):
    """Flags of a program or command and of all its commands."""
    text = help_of(arguments)
    flags = set(OPTION.findall(text))
    _, _, commands = text.partition("\nCommands:\n")
    for command in COMMAND.findall(commands.partition("\n\n")[0]):
        flags |= flags_of([*arguments, command])
    return flags


def section(page, heading):
    start = page.index(heading + "\n") + len(heading)
    end = page.find("\n## ", start)
    return page[start:end if end >= 0 else None]


class Configuration(unittest.TestCase):
    def test_page_and_help_name_the_same_flags(self):
        page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
        for program, heading in SECTIONS.items():
            with self.subTest(program=program):
                documented = set(DOCUMENTED.findall(section(page, heading)))
                self.assertEqual(flags_of([program]) - COMMON, documented)

    def test_files_are_taken(self):
        broker_file, worker_file = markdown.blocks(ROOT / "docs/configuration.md", "ini")
        with processes.scratch_directory() as directory:
            # Flags beat the file, so what differs here is given as flags.
            address = f"127.0.0.1:{processes.free_port_pair()}"
            (directory / "broker.conf").write_text(broker_file)
            (directory / "worker.conf").write_text(worker_file)
            with (directory / "log").open("w") as log, processes.ProcessGroup(
                    [BIN / "zsched-broker", "--config", "broker.conf", "--data", "data", "--listen", address],
                    cwd=directory, stderr=log):
                processes.wait_for_broker(BIN / "zsched-ctl", address)
                with processes.ProcessGroup([BIN / "zsched-worker", "--config", "worker.conf", "--brokers", address],
                                            cwd=directory, stderr=log):
                    listed = self.wait_for_worker(address)
            self.assertEqual('{"', (directory / "log").read_text()[:2], "log-format = json is not in force")
        self.assertEqual("worker with # in its name", listed["name"])
        self.assertEqual(["mail", "images"], listed["queues"])
        self.assertIn("shell", listed["types"])

    def wait_for_worker(self, address):
        deadline = time.monotonic() + processes.START_SECONDS
        while time.monotonic() < deadline:
            listed = subprocess.run([BIN / "zsched-ctl", "--brokers", address, "-o", "json", "worker", "list"],
                                    check=True, capture_output=True, text=True).stdout
            if workers := json.loads(listed)["workers"]:
                return workers[0]
            time.sleep(0.05)
        self.fail("the worker did not connect")


if __name__ == "__main__":
    unittest.main()
