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


def block(*rows: tuple[int, bytes]) -> bytes:
    """Rows of a table behind their checksum (docs/journal.md): (key minus the first, row)."""
    index, ends = b"", 0
    for key, row in rows:
        ends += len(row)
        index += struct.pack("<II", key, ends)
    return struct.pack("<II", len(rows), 0) + index + b"".join(row for _, row in rows)


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
    directory = root / "block"
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in {
        "no-rows": [],
        "one": [(0, b"row")],
        "many": [(0, b"task" * 18), (1, b""), (5, b"task" * 18), (0x7FFFFFFF, b"the last key there is")],
        "over-the-top": [(0, b"row"), (0x80000000, b"row")],
        "out-of-order": [(0, b"row"), (7, b"row"), (7, b"row")],
        "large": [(0, b"r" * 3000)],
        "too-large": [(0, b"r" * 1500), (1, b"r" * 1500)],
    }.items():
        (directory / name).write_bytes(block(*rows))
    (root / "block" / "cut-off").write_bytes(block((0, b"row"), (1, b"row"))[:-1])
    directory = root / "cron"
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "plain": "30 2 * * *",
        "seconds": "*/20 0-59/7 1,2,3 ? JAN-MAR,12 FRI-SUN",
        "last": "0 0 L-3,15,L * 5L,MONL",
        "nth": "0 0 ? FEB 1#5,sun#2",
        "either": "5/15 0-23 13,31 4-9/2 FRI",
        "leap": "59 23 29 2 *",
        "shorthand": "@Weekly",
        "every": "@every 1h30m",
        "never": "0 0 30 2 *",
        "backwards": "* 22-4 * NOV-FEB SAT-MON",
        "out-of-range": "60 24 32 13 8",
        "steps": "*/61 */0 5/ /5 */*",
        "marks": "? L # W FRI#6",
        "commas": ",,, 1,, ,2 - -1",
        "not-ascii": "* * * * \u00fc",
        "too-many": "* * * * * * *",
    }.items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
