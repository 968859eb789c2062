"""docs/python-tasks.md, run from top to bottom: blocks of Python that begin with a file's name are that file, the others run one
after the other in one namespace; workers run beside them, other commands must succeed."""
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from cluster import Cluster, await_
from conftest import ROOT

import zsched

PAGE = ROOT / "docs/python-tasks.md"
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")
FILES = ["shop.py", "flaky.py", "importer.py", "crawler.py"]


class Tutorial(Cluster):
    """A directory with the files of the page, and a broker."""

    def start_command(self, command, env):
        """A worker goes on; anything else is run to its end."""
        words = shlex.split(command)
        if words[:4] != ["python", "-m", "zsched", "worker"]:
            done = subprocess.run(words, env=env, cwd=self.path, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 0, (command, done.stderr)
            return
        name = words[4]
        with open(self.path / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen([sys.executable, "-B", *words[1:]], env=env, cwd=self.path, stdout=log,
                                                    stderr=log, stdin=subprocess.DEVNULL)
        await_(lambda: "connected to the active broker" in self.log(name) or self.processes[name].poll() is not None, command)
        assert self.processes[name].poll() is None, self.log(name)


@pytest.fixture
def tutorial(programs, monkeypatch):
    with Tutorial(programs) as tutorial:
        tutorial.start_broker()
        monkeypatch.setenv("ZSCHED_BROKERS", tutorial.brokers)
        monkeypatch.syspath_prepend(str(tutorial.path))
        yield tutorial
        for file in FILES:
            module = sys.modules.pop(pathlib.Path(file).stem, None)
            if module is not None:
                module.app.close()


def test_the_tutorial_runs(tutorial, programs):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "client/python/src"), "PATH": f"{programs}:{os.environ['PATH']}"}
    names = {"zsched": zsched, "__name__": "tutorial"}
    files = []
    for kind, text in BLOCKS:
        if kind == "sh":
            for line in text.splitlines():
                tutorial.start_command(line, env)
        elif file := FILE.match(text):
            (tutorial.path / file[1]).write_text(text, encoding="utf-8")
            files.append(file[1])
        else:
            line = PAGE.read_text(encoding="utf-8").partition(text)[0].count("\n")
            exec(compile("\n" * line + text, str(PAGE), "exec"), names)
            # As a reader has it at the prompt.
            import shop
            names["app"] = shop.app
            names.update({name: sys.modules[name] for name in ("flaky",) if name in sys.modules})
    assert files == FILES


def test_every_name_of_the_context_is_there():
    section = PAGE.read_text(encoding="utf-8").partition("It also has `id`")[2].partition("Tasks that a task")[0]
    assert all(hasattr(zsched.TaskContext, name) for name in re.findall(r"`(\w+)`", section))
