#!/usr/bin/python3
"""The sample tasks do what their names say, whatever files are called, and fire as schedules.

    samples_test.py BIN_DIRECTORY
"""
import datetime
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import time
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "scripts/samples")]
import processes  # noqa: E402

BIN = pathlib.Path(sys.argv.pop(1)).resolve()
SAMPLES = ROOT / "scripts/samples"
TIMEOUT_SECONDS = 60
OLD = time.time() - 30 * 24 * 3600
# In bytes: a newline, an option, spaces, a glob, an escape sequence, and what is no UTF-8.
ODD_NAMES = [b"new\nline", b"-rf", b" two  blanks ", b"*", b"\x1b[31mred", b"\xff\xfe", "grüße".encode()]


def run(name, *arguments, code=0, environment=None):
    done = subprocess.run([SAMPLES / name, *arguments], capture_output=True, timeout=TIMEOUT_SECONDS, check=False,
                          env={**os.environ, **(environment or {})})
    assert done.returncode == code, f"{name}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.decode(), done.stderr.decode()


def write(directory, name, data=b"x", changed=None):
    path = os.path.join(os.fsencode(directory), os.fsencode(name))
    with open(path, "wb") as file:
        file.write(data)
    if changed is not None:
        os.utime(path, (changed, changed))


def load(name):
    """The sample as a module, to reach what happens at one moment only."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(SAMPLES / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class Sample(unittest.TestCase):
    def setUp(self):
        scratch = processes.scratch_directory()
        self.top = scratch.__enter__()
        self.addCleanup(scratch.__exit__, None, None, None)
        self.data = self.top / "data"
        self.data.mkdir()

    def test_help_and_wrong_arguments(self):
        for name in ("daily-report", "cleanup-temp-files", "data-backup", "install"):
            self.assertIn(name if name != "install" else "samples/install", run(name, "--help")[0])
            self.assertIn(name, run(name, "--never-heard-of", code=2)[1])
        for name in ("daily-report", "data-backup"):
            self.assertIn("nowhere", run(name, self.top / "nowhere", self.top / "out", code=1)[1])
        self.assertIn("nowhere", run("cleanup-temp-files", self.top / "nowhere", code=1)[1])


class DailyReport(Sample):
    def report(self, *arguments):
        path = run("daily-report", self.data, self.top / "reports", *arguments)[0].strip()
        today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        self.assertIn(path, (str(self.top / f"reports/report-{today}.txt"), str(max(self.top.glob("reports/*")))))
        return pathlib.Path(path).read_text(encoding="utf-8").splitlines()

    def section(self, lines, title):
        rest = lines[lines.index(title) + 1:]
        return rest[:rest.index("")] if "" in rest else rest

    def test_it_counts_sizes_and_names_the_largest_newest_and_oldest(self):
        (self.data / "sub").mkdir()
        write(self.data, "small", b"1", OLD + 1)
        write(self.data, "large", b"1" * 5000, OLD)
        write(self.data, "sub/new", b"1" * 10)
        os.symlink("/etc", self.data / "etc")
        os.symlink("nowhere", self.data / "dangling")
        lines = self.report("--top", "1")
        for line in ("           5,011  bytes", "               3  files", "               1  directories",
                     "               2  symbolic links"):
            self.assertIn(line, lines)
        for title, name in (("Largest files", "large"), ("Newest files", "sub/new"), ("Oldest files", "large")):
            section = self.section(lines, title)
            self.assertEqual(1, len(section))
            self.assertTrue(section[0].endswith("  " + name), section)

    def test_odd_names_are_a_line_each_and_show_no_control_characters(self):
        for name in ODD_NAMES:
            write(self.data, name)
        lines = self.report("--top", "100")
        section = self.section(lines, "Newest files")
        self.assertEqual(len(ODD_NAMES), len(section))
        text = "\n".join(lines)
        self.assertIn("new\\nline", text)
        self.assertIn("grüße", text)
        self.assertNotIn("\x1b", text)

    def test_reports_below_the_directory_are_left_out_and_a_second_one_takes_the_place_of_the_first(self):
        write(self.data, "a")
        for _ in range(2):
            path = run("daily-report", self.data, self.data / "reports")[0].strip()
        self.assertIn("               1  files", pathlib.Path(path).read_text(encoding="utf-8").splitlines())
        self.assertEqual([path], [str(file) for file in (self.data / "reports").iterdir()])


class CleanupTempFiles(Sample):
    def left(self):
        return {path.relative_to(self.top).as_posix() for path in self.top.rglob("*")}

    def test_old_files_that_match_go_and_nothing_else(self):
        (self.data / "sub").mkdir()
        (self.data / "dir.tmp").mkdir()
        for name in ("a.tmp", "sub/b~", "sub/keep.txt", "dir.tmp/c.swp"):
            write(self.data, name, b"12", OLD)
        write(self.data, "young.tmp")
        shown = run("cleanup-temp-files", self.data, "--dry-run")[0]
        self.assertIn("would remove a.tmp\n", shown)
        self.assertIn("3 files, 6 bytes to be removed", shown)
        self.assertIn("data/a.tmp", self.left())
        self.assertIn("3 files, 6 bytes removed", run("cleanup-temp-files", self.data)[0])
        self.assertEqual({"data", "data/sub", "data/sub/keep.txt", "data/dir.tmp", "data/young.tmp"}, self.left())

    def test_links_are_not_followed_and_not_removed(self):
        outside = self.top / "outside"
        outside.mkdir()
        write(outside, "a.tmp", b"", OLD)
        os.symlink(outside, self.data / "out")
        os.symlink(outside / "a.tmp", self.data / "link.tmp")
        os.utime(self.data / "link.tmp", (OLD, OLD), follow_symlinks=False)
        self.assertIn("0 files", run("cleanup-temp-files", self.data)[0])
        os.symlink(self.data, self.top / "data-link")
        run("cleanup-temp-files", self.top / "data-link", code=1)
        self.assertTrue((outside / "a.tmp").exists())
        self.assertTrue(os.path.lexists(self.data / "link.tmp"))

    def test_odd_names_and_patterns_of_ones_own(self):
        for name in ODD_NAMES:
            write(self.data, name + b".tmp", b"", OLD)
            write(self.data, name, b"", OLD)
        self.assertIn(f"{len(ODD_NAMES)} files", run("cleanup-temp-files", self.data)[0])
        self.assertEqual(sorted(ODD_NAMES), sorted(os.listdir(os.fsencode(self.data))))
        run("cleanup-temp-files", self.data, "--pattern=-r*", "--pattern", "[*]")
        self.assertEqual(len(ODD_NAMES) - 2, len(os.listdir(self.data)))
        run("cleanup-temp-files", self.data, "--pattern", "../*", code=2)


class DataBackup(Sample):
    def archives(self):
        return sorted(path.name for path in (self.top / "backups").glob("*.tar.gz"))

    def backup(self, *arguments, code=0):
        return run("data-backup", self.data, self.top / "backups", *arguments, code=code)

    def test_what_is_unpacked_is_what_was_there(self):
        (self.data / "empty").mkdir()
        for name in ODD_NAMES:
            write(self.data, name, os.urandom(3000), OLD)
        os.chmod(self.data / "grüße", 0o640)
        os.symlink("../../somewhere", self.data / "link")
        os.link(self.data / "grüße", self.data / "same")
        self.backup()
        (self.top / "out").mkdir()
        subprocess.run(["tar", "-C", self.top / "out", "-xzpf", self.top / "backups" / self.archives()[0]], check=True)
        for name in [*ODD_NAMES, b"same"]:
            paths = [os.path.join(os.fsencode(self.top), part, b"data", name) if part else
                     os.path.join(os.fsencode(self.data), name) for part in (b"", b"out")]
            first, second = (pathlib.Path(os.fsdecode(path)) for path in paths)
            self.assertEqual(first.read_bytes(), second.read_bytes())
            self.assertEqual(first.stat().st_mode, second.stat().st_mode)
            self.assertEqual(int(first.stat().st_mtime), int(second.stat().st_mtime))
        self.assertEqual("../../somewhere", os.readlink(self.top / "out/data/link"))
        self.assertTrue((self.top / "out/data/empty").is_dir())

    def test_the_last_few_stay_and_files_of_others_too(self):
        self.backup()
        first = self.archives()[0]
        foreign = ["data-x" + first[5:], "data-notes.tar.gz", "other" + first[4:]]
        for name in foreign:
            write(self.top / "backups", name)
        write(self.top / "backups", ".data.partial", b"of a run that was killed")
        for _ in range(3):
            self.backup("--keep", "2")
        left = [name for name in self.archives() if name not in foreign]
        self.assertEqual(2, len(left))
        self.assertNotIn(first, left)
        self.assertEqual(set(foreign), set(self.archives()) - set(left))
        self.assertEqual({".data.lock"}, {path.name for path in (self.top / "backups").glob(".*")})

    def test_what_cannot_be_read_leaves_no_archive_and_removes_none(self):
        self.backup()
        before = self.archives()
        os.mkfifo(self.data / "fifo")  # packed as what it is, and not opened
        self.backup()
        self.assertEqual(2, len(self.archives()))
        before = self.archives()
        self.assertIn("lies in the directory", run("data-backup", self.data, self.data / "backups", code=1)[1])
        if os.geteuid() != 0:  # root reads everything
            write(self.data, "secret")
            os.chmod(self.data / "secret", 0)
            self.assertIn("secret", self.backup("--keep", "1", code=1)[1])
        self.assertEqual(before, self.archives())

    def test_a_file_that_changes_meanwhile_is_noticed(self):
        sample = load("data-backup")
        grow, shrink = (lambda path: write(self.data, path, b"1" * 9000)), (lambda path: os.truncate(self.data / path, 10))
        for change in (grow, shrink):
            write(self.data, "busy", b"1" * 5000)

            class Archive(tarfile.TarFile):
                def addfile(self, member, file=None, change=change):
                    if member.name.endswith("busy"):
                        change("busy")
                    super().addfile(member, file)

            with unittest.mock.patch.object(sample.tarfile, "open", Archive.open):
                with self.assertRaisesRegex(sample.BackupError, "busy: changed while it was read"):
                    sample.backup(self.data, self.top / "backups", 7)
            self.assertEqual([], self.archives())

    def test_an_archive_that_does_not_hold_what_was_read_gets_no_name(self):
        sample = load("data-backup")
        write(self.data, "a", b"1" * 5000)
        self.backup()
        before = self.archives()
        real = sample.add_file

        def lie(archive, path, member):
            return (*real(archive, path, member)[:-1], "another digest")

        with unittest.mock.patch.object(sample, "add_file", lie), self.assertRaises(sample.BackupError):
            sample.backup(self.data, self.top / "backups", 1)
        self.assertEqual(before, self.archives())
        self.assertEqual({".data.lock"}, {path.name for path in (self.top / "backups").glob(".*")})


class Installed(Sample):
    """As schedules, with a real broker and worker."""

    def ctl(self, *arguments):
        done = subprocess.run([BIN / "zsched-ctl", "--brokers", self.address, "-o", "json", *arguments],
                              stdout=subprocess.PIPE, timeout=TIMEOUT_SECONDS, check=True)
        return json.loads(done.stdout)

    def start(self, *arguments):
        with (self.top / "log").open("ab") as log:
            group = processes.ProcessGroup(arguments, stdout=log, stderr=log)
        group.__enter__()
        self.addCleanup(group.__exit__, None, None, None)

    def setUp(self):
        super().setUp()
        self.address = f"127.0.0.1:{processes.free_port_pair()}"
        self.start(BIN / "zsched-broker", "--listen", self.address, "--data", self.top / "broker")
        self.start(BIN / "zsched-worker", "--brokers", self.address, "--enable", "shell")
        processes.wait_for_broker(BIN / "zsched-ctl", self.address)
        self.environment = {"ZSCHED_BROKERS": self.address, "PATH": f"{BIN}:{os.environ['PATH']}"}

    def test_each_fires_and_does_its_work(self):
        top = self.top / "two words; $HOME"
        (top / "data").mkdir(parents=True)
        write(top / "data", "old.tmp", b"", OLD)
        for _ in range(2):  # the second time changes nothing
            shown = run("install", "--tz", "Europe/Berlin", top, environment=self.environment)[0]
        names = ["cleanup-temp-files", "daily-report", "data-backup"]
        self.assertEqual(names, sorted(shown.split()))
        schedules = self.ctl("cron", "list")["schedules"]
        self.assertEqual(names, [schedule["name"] for schedule in schedules])
        self.assertEqual({"Europe/Berlin"}, {schedule["tz"] for schedule in schedules})
        for name in names:
            task = self.ctl("cron", "trigger", name)["id"]
            ended = self.ctl("task", "wait", task, "--timeout", f"{TIMEOUT_SECONDS}s")["tasks"][0]
            self.assertEqual("succeeded", ended["state"], ended)
        self.assertFalse((top / "data/old.tmp").exists())
        self.assertEqual(1, len(list((top / "reports").glob("report-*.txt"))))
        self.assertEqual(1, len(list((top / "backups").glob("data-*.tar.gz"))))
        for _ in range(2):
            run("install", "--remove", environment=self.environment)
        self.assertEqual([], self.ctl("cron", "list")["schedules"])

    def test_what_is_wrong_is_said(self):
        self.assertIn("data is not a directory", run("install", self.top / "none", environment=self.environment, code=2)[1])
        shown = run("install", "--tz", "Europe/Atlantis", self.top, environment=self.environment, code=2)[1]
        self.assertIn("zone", shown)
        self.assertEqual([], self.ctl("cron", "list")["schedules"])


class Pages(unittest.TestCase):
    def test_the_page_names_every_option(self):
        page = (ROOT / "docs/samples.md").read_text(encoding="utf-8")
        for name in ("daily-report", "cleanup-temp-files", "data-backup", "install"):
            for option in re.findall(r"--[a-z][a-z-]+", run(name, "--help")[0]):
                if option not in ("--help", "--enable"):
                    self.assertIn(option, page, name)


if __name__ == "__main__":
    unittest.main()
