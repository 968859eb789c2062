#!/usr/bin/python3
"""Writes the seed corpora of the frame fuzzers from the protocol's test vectors: make_corpus.py [DIRECTORY].

Each vector becomes one input, and each file of vectors one input with all its messages in order, in the form that
tests/fuzz/frames.h reads. Found inputs are added beside them by hand; this script never deletes.
"""
import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"
HEADER = 40
TARGETS = {"client": ["client_frame", "session"], "worker": ["worker_frame", "session"], "sessions": ["session", "client_frame"]}


def message(frame: bytes) -> bytes:
    return struct.pack("<BH", frame[5], len(frame) - HEADER) + frame[HEADER:]


def redo(*changes: tuple[int, int, bytes | None]) -> bytes:
    """Rows behind a log segment (docs/journal.md): (table, key, row), or None for a row that is erased."""
    out = struct.pack("<II", len(changes), 0)
    for table, key, row in changes:
        out += struct.pack("<QIB3x", key, 0xFFFFFFFF if row is None else len(row), table) + (row or b"")
    return out


def main() -> None:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"
    for source, targets in TARGETS.items():
        vectors = json.loads((VECTORS / f"{source}.json").read_text())
        frames = {v["name"]: bytes.fromhex(v["hex"]) for v in vectors}
        for target in targets:
            directory = root / target
            directory.mkdir(parents=True, exist_ok=True)
            for name, frame in frames.items():
                (directory / f"vector-{name}").write_bytes(message(frame))
            (directory / f"all-{source}").write_bytes(b"".join(message(f) for f in frames.values()))
    directory = root / "header"
    directory.mkdir(parents=True, exist_ok=True)
    for source in ["malformed", "sessions"]:
        for vector in json.loads((VECTORS / f"{source}.json").read_text()):
            (directory / f"{source}-{vector['name']}").write_bytes(bytes.fromhex(vector["hex"]))
    directory = root / "redo"
    directory.mkdir(parents=True, exist_ok=True)
    for name, changes in {
        "empty": [],
        "one": [(2, 7, b"row")],
        "many": [(0, 0, b""), (1, 5, b"spec"), (1, 6, None), (2, 5, b"task" * 20), (7, 2**64 - 1, b"last")],
        "out-of-order": [(2, 7, b"row"), (2, 7, None)],
        "no-such-table": [(8, 1, b"row")],
    }.items():
        (directory / name).write_bytes(redo(*changes))


if __name__ == "__main__":
    main()
