#!/usr/bin/python3
"""Planted bugs are where they belong: in zsched-sim-planted, in its list and on the page, and nowhere else.

    planted_test.py BIN_DIRECTORY
"""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.argv.pop(1)).resolve()

SITE = re.compile(r'ZS_PLANTED\("([a-z-]+)"\)')
ROW = re.compile(r"^\| `([a-z-]+)` \|")
TRACE = re.compile(r"trace [0-9a-f]{16}")
# The variable that says which bug is active: what has it can have a bug.
MARK = b"planted_bug"
PRODUCTS = ["zsched-broker", "zsched-worker", "zsched-ctl", "zsched-bench", "zsched-sim"]


def output_of(*arguments):
    return subprocess.run([str(BIN / arguments[0]), *arguments[1:]], check=True, capture_output=True, text=True).stdout


def listed():
    return output_of("zsched-sim-planted", "--planted", "list").splitlines()


class Planted(unittest.TestCase):
    def test_page_has_the_list(self):
        page = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
        section = page[page.index("### Planted bugs"):]
        section = section[:section.index("\n## ")]
        rows = [line for line in section.splitlines() if ROW.match(line)]
        self.assertEqual(listed(), rows)

    def test_list_has_what_stands_in_the_code(self):
        sites = set()
        for folder in ("base", "broker", "client", "schemas", "worker"):
            for path in (ROOT / folder).rglob("*.cc"):
                sites.update(SITE.findall(path.read_text(encoding="utf-8")))
            for path in (ROOT / folder).rglob("*.h"):
                if path != ROOT / "base/planted.h":
                    self.assertNotIn("ZS_PLANTED", path.read_text(encoding="utf-8"), path)
        self.assertEqual({ROW.match(row)[1] for row in listed()}, sites)

    def test_only_the_simulation_has_bugs(self):
        self.assertIn(MARK, (BIN / "zsched-sim-planted").read_bytes())
        for product in PRODUCTS:
            with self.subTest(product=product):
                self.assertNotIn(MARK, (BIN / product).read_bytes())

    def test_without_a_bug_the_runs_are_those_of_the_simulation(self):
        for seed in ("1", "2", "3"):
            with self.subTest(seed=seed):
                normal = TRACE.findall(output_of("zsched-sim", "--seed", seed))
                self.assertEqual(1, len(normal))
                planted = output_of("zsched-sim-planted", "--planted", "none", "--first", seed)
                self.assertEqual(normal, TRACE.findall(planted))


if __name__ == "__main__":
    unittest.main()
