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


if __name__ == "__main__":
    main()
