#!/usr/bin/python3
"""The console blocks of README.md do what they show.

    readme_test.py BIN_DIRECTORY

They run as one shell session, in an empty directory, against ports of their own: the environment says which, so the
commands are run as they stand. Output is compared line by line; only white space, durations and those ports may differ.
"""
import os
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/support"))
import markdown  # noqa: E402
import processes  # noqa: E402

BIN = pathlib.Path(sys.argv.pop(1)).resolve()
TIMEOUT_SECONDS = 120
MARK = "@@ end of step @@"


DURATION = re.compile(r"(?<!\S)-?\d+(ms|s|m|h|d)(?!\S)|(?<!\S)now(?!\S)")


def normalised(lines, port):
    text = [line.replace(f":{port + 1}", ":5571").replace(f":{port}", ":5570") for line in lines]
    return [" ".join(DURATION.sub("AGE", line).split()) for line in text]


class Readme(unittest.TestCase):
    def test_console_blocks(self):
        steps = [step for block in markdown.blocks(ROOT / "README.md", "console") for step in markdown.dialogue(block)]
        self.assertTrue(steps)
        port = processes.free_port_pair()
        address = f"127.0.0.1:{port}"
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ZSCHED_LISTEN": address,
                       "ZSCHED_BROKERS": address}
        script = "".join(f"{command}\nprintf '%s\\n' '{MARK}'\n" for command, _ in steps)
        with processes.scratch_directory() as directory:
            # The output goes to a file: the broker and worker in the background would hold a pipe open.
            with (directory / "out").open("w") as out, processes.ProcessGroup(
                    ["bash", "-c", script], cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=out) as shell:
                shell.wait(timeout=TIMEOUT_SECONDS)
            outputs = (directory / "out").read_text().split(MARK + "\n")
            log = (directory / "broker.log").read_text()
        for (command, expected), output in zip(steps, outputs, strict=False):
            self.assertEqual(normalised(expected, port), normalised(output.splitlines(), port), f"$ {command}\n{log}")
        self.assertEqual(len(steps) + 1, len(outputs))


if __name__ == "__main__":
    unittest.main()
