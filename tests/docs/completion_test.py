#!/usr/bin/python3
"""What bash completes after `zsched-ctl completion bash`.

    completion_test.py BIN_DIRECTORY
"""
import pathlib
import subprocess
import sys
import unittest

CTL = pathlib.Path(sys.argv.pop(1)).resolve() / "zsched-ctl"

# Bash's own `complete -F` calls the function so; compopt has no meaning outside of a completion.
PROBE = """
compopt() { :; }
source <("$1" completion bash) || exit 1
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_zsched_ctl
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(*words):
    """What may stand for the last of the words."""
    run = subprocess.run(["bash", "-uc", PROBE, "bash", CTL, "zsched-ctl", *words], check=True, capture_output=True, text=True)
    assert run.stderr == "", run.stderr
    return run.stdout.split()


class Completion(unittest.TestCase):
    def test_commands(self):
        self.assertEqual(["submit"], complete("sub"))
        self.assertLessEqual({"list", "show", "set", "pause", "resume", "purge"}, set(complete("queue", "")))
        self.assertEqual(["purge"], complete("queue", "pu"))

    def test_flags_of_a_command_and_of_all(self):
        self.assertEqual(["--priority"], complete("submit", "--pri"))
        self.assertIn("--brokers", complete("submit", "--"))
        self.assertNotIn("--priority", complete("task", "list", "--"))

    def test_values(self):
        self.assertEqual({"table", "json", "jsonl", "id"}, set(complete("-o", "")))
        self.assertEqual([], complete("submit", "--queue", ""))

    def test_a_value_is_no_command(self):
        self.assertEqual(["submit"], complete("-o", "json", "sub"))
        self.assertEqual(["--priority"], complete("submit", "--queue", "task", "--pri"))

    def test_what_follows_two_dashes_is_left_to_bash(self):
        self.assertEqual([], complete("submit", "--", "l"))


if __name__ == "__main__":
    unittest.main(verbosity=1)
