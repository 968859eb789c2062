"""What all tests of the Python package share: where the sources are, and where the programs are."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "client/python/src"), str(pathlib.Path(__file__).resolve().parent)]


@pytest.fixture(scope="session")
def root():
    """The source tree."""
    return ROOT


@pytest.fixture(scope="session")
def programs():
    """The directory of zsched-broker and the others: ZSCHED_BIN, or the release build."""
    directory = pathlib.Path(os.environ.get("ZSCHED_BIN", ROOT / "build/release/bin"))
    if not (directory / "zsched-broker").exists():
        pytest.fail(f"no zsched-broker in {directory}; build it, or say by ZSCHED_BIN where it is")
    return directory
