#!/usr/bin/python3
"""Builds the wheel and installs it into an environment of its own, without a network, and uses it there as a user would.

    tests/python/wheel_test.py BIN
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EXPECTED = {"zsched/__init__.py", "zsched/py.typed", "zsched/_wire/schema.py", "zsched/_wire/layouts.py"}
USE = """
import pathlib, sys, zsched
assert pathlib.Path(zsched.__file__).is_relative_to(sys.prefix), zsched.__file__
with zsched.Client(sys.argv[1]) as client:
    assert client.submit("echo", json={"a": 1}).result(60) == {"a": 1}
print("used", zsched.__version__)
"""
# What a user's own type checker sees.
TYPED = """
import zsched
client = zsched.Client()
reveal_type(client.submit("mail", json={}, delay=5).id)
client.submit("mail", delay="soon")
"""


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], check=True, **options)


def main():
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    from cluster import Cluster
    with tempfile.TemporaryDirectory(prefix="zsched-wheel-") as directory:
        directory = pathlib.Path(directory)
        # A copy: a build leaves files in the tree that it builds.
        source = directory / "source"
        shutil.copytree(ROOT / "client/python", source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
        run(sys.executable, "-m", "venv", "--system-site-packages", directory / "env")
        python = directory / "env/bin/python"
        offline = ("--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "-q")
        run(python, "-m", "pip", "wheel", *offline, "-w", directory, source)
        [wheel] = directory.glob("zsched-*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
        assert EXPECTED <= names, EXPECTED - names
        modules = {path.relative_to(source / "src").as_posix() for path in (source / "src").rglob("*.py")}
        assert modules <= names, modules - names
        run(python, "-m", "pip", "install", *offline, wheel)
        with Cluster(pathlib.Path(sys.argv[1])) as cluster:
            cluster.start_broker()
            cluster.start_worker()
            run(python, "-c", USE, cluster.brokers, cwd=directory)
        (directory / "user.py").write_text(TYPED, encoding="utf-8")
        checked = subprocess.run([python, "-m", "mypy", "--strict", "--enable-incomplete-feature=Unpack", "--cache-dir",
                                  directory / "mypy", "user.py"], cwd=directory, capture_output=True, text=True, check=False)
        assert 'Revealed type is "zsched.types.TaskId"' in checked.stdout, checked.stdout + checked.stderr
        assert 'Argument "delay" to "submit"' in checked.stdout and "Found 1 error" in checked.stdout, checked.stdout


if __name__ == "__main__":
    main()
