#!/usr/bin/python3
"""An installed zsched is complete: README's project builds against it, with CMake and with pkg-config, and runs.

    install_test.py BUILD_DIRECTORY

Installs the build into a scratch prefix, writes the CMake and C++ blocks of README.md to files, builds them there, and
runs the two programs against the installed broker.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/support"))
import markdown  # noqa: E402
import processes  # noqa: E402

BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
RUN_SECONDS = 60
WARNINGS = "-Wall -Wextra -Wpedantic -Werror -Wno-maybe-uninitialized"


def cache(name):
    """A value of the build's CMakeCache.txt, so that the user's project is built as zsched was."""
    found = re.search(rf"^{name}(?::\w+)?=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.MULTILINE)
    return found[1] if found else ""


def run(arguments, **options):
    done = subprocess.run([str(argument) for argument in arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def write_readme_project(directory):
    for language, mark in (("cmake", "#"), ("cpp", "//")):
        for body in markdown.blocks(ROOT / "README.md", language):
            name = re.match(rf"{mark} (\S+?)[:\n]", body)[1]
            (directory / name).write_text(body, encoding="utf-8")


class Install(unittest.TestCase):
    def setUp(self):
        scratch = processes.scratch_directory()
        self.directory = scratch.__enter__()
        self.addCleanup(scratch.__exit__, None, None, None)
        self.prefix = self.directory / "prefix"
        run(["cmake", "--install", BUILD, "--prefix", self.prefix])
        self.source = self.directory / "source"
        self.source.mkdir()
        write_readme_project(self.source)
        sanitize = cache("ZSCHED_SANITIZE")
        self.flags = f"{WARNINGS} -fsanitize={sanitize}" if sanitize else WARNINGS

    def test_readme_project(self):
        self.check_programs()
        self.build_with_cmake()
        self.build_with_pkg_config()
        self.run_readme_programs()

    def check_programs(self):
        for program in ("zsched-broker", "zsched-worker", "zsched-ctl", "zsched-gateway"):
            self.assertRegex(run([self.prefix / "bin" / program, "--version"]), r"\b\d+\.\d+\.\d+\b")

    def build_with_cmake(self):
        build = self.directory / "build"
        run(["cmake", "-S", self.source, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}",
             f"-DCMAKE_CXX_FLAGS={self.flags}", f"-DCMAKE_CXX_COMPILER={cache('CMAKE_CXX_COMPILER')}"])
        run(["cmake", "--build", build, "-j", "2"])
        self.client, self.worker = build / "hello_client", build / "hello_worker"

    def build_with_pkg_config(self):
        pc_directory = next(self.prefix.rglob("zsched.pc")).parent
        environment = {**os.environ, "PKG_CONFIG_PATH": str(pc_directory)}
        flags = run(["pkg-config", "--cflags", "--libs", "zsched"], env=environment).split()
        program = self.directory / "hello_pkg_config"
        run([cache("CMAKE_CXX_COMPILER"), "-std=c++20", *self.flags.split(), self.source / "hello_client.cc", "-o", program,
             *flags])
        self.clients = [self.client, program]

    def run_readme_programs(self):
        address = f"127.0.0.1:{processes.free_port_pair()}"
        environment = {**os.environ, "ZSCHED_BROKERS": address}
        with processes.ProcessGroup([self.prefix / "bin/zsched-broker", "--data", self.directory / "data", "--listen",
                                     address, "--log-level", "warn"]):
            processes.wait_for_broker(self.prefix / "bin/zsched-ctl", address)
            with processes.ProcessGroup([self.worker], env=environment) as worker:
                for client in self.clients:
                    self.assertEqual("hello world\n", run([client], env=environment, timeout=RUN_SECONDS))
                worker.terminate()
                self.assertEqual(0, worker.wait(timeout=RUN_SECONDS))


if __name__ == "__main__":
    unittest.main()
