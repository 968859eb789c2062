#!/usr/bin/python3
"""scripts/check-includes passes the tree, and finds each kind of wrong include planted in a copy of it."""
import importlib.machinery
import importlib.util
import pathlib
import shutil
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_checker():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("check_includes", str(ROOT / "scripts/check-includes"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_includes", loader))
    loader.exec_module(module)
    return module


CHECKER = load_checker()


class CheckIncludes(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.root = pathlib.Path(self.scratch.name)
        for folder in CHECKER.OURS:
            shutil.copytree(ROOT / folder, self.root / folder)

    def plant(self, file, line):
        with (self.root / file).open("a", encoding="utf-8") as out:
            out.write(line + "\n")

    def assert_found(self, file, what):
        found = list(CHECKER.violations(self.root))
        self.assertTrue(any(name == file and what in text for name, _, text in found), f"{file}: {what} not in {found}")
        return found

    def test_the_tree_is_clean(self):
        self.assertEqual([], list(CHECKER.violations(ROOT)))

    def test_directions(self):
        wrong = [
            ("broker/core/core.cc", "broker/server/engine.h"),
            ("broker/journal/codec.cc", "broker/transport/encoder.h"),
            ("broker/transport/encoder.cc", "broker/journal/journal.h"),
            ("worker/server/runtime.cc", "broker/core/core.h"),
            ("worker/server/runtime.cc", "zsched/client.h"),
            ("client/lib/client.cc", "broker/core/core.h"),
            ("client/lib/client.cc", "worker/core/ledger.h"),
            ("client/ctl/main.cc", "client/lib/core.h"),
            ("client/session/session.cc", "client/lib/core.h"),
            ("bench/main.cc", "broker/server/server.h"),
            ("schemas/ids.h", "base/text.h"),
            ("base/text.h", "broker/core/core.h"),
        ]
        for file, header in wrong:
            with self.subTest(file=file, header=header):
                before = (self.root / file).read_text(encoding="utf-8")
                self.plant(file, f'#include "{header}"')
                found = self.assert_found(file, "must not include")
                # A pure file with an impure include gets more lines, but never another file's fault.
                self.assertIn(file, {name for name, _, _ in found})
                (self.root / file).write_text(before, encoding="utf-8")

    def test_public_headers_stay_installable(self):
        for header in ("base/text.h", "schemas/frame.h", "schemas/wire_generated.h"):
            with self.subTest(header=header):
                self.plant("client/include/zsched/types.h", f'#include "{header}"')
                self.assert_found("client/include/zsched/types.h", f"must not include {header}")

    def test_pure_code_includes_nothing_impure(self):
        wrong = [
            ("broker/core/state.cc", "zmq.h"),
            ("broker/core/batch.h", "lmdb.h"),
            ("worker/core/ledger.cc", "thread"),
            ("client/session/session.cc", "chrono"),
            ("schemas/frame.cc", "fstream"),
            ("broker/core/on_tick.cc", "spdlog/spdlog.h"),
        ]
        for file, header in wrong:
            with self.subTest(file=file, header=header):
                self.plant(file, f"#include <{header}>")
                self.assert_found(file, f"must not include <{header}>")

    def test_pure_code_uses_no_impure_names(self):
        for name in ("std::chrono::steady_clock::now()", "std::random_device device", "std::getenv(\"HOME\")",
                     "std::time(nullptr)", "std::rand()"):
            with self.subTest(name=name):
                before = (self.root / "broker/core/apply.cc").read_text(encoding="utf-8")
                self.plant("broker/core/apply.cc", f"auto planted = {name};")
                self.assert_found("broker/core/apply.cc", "must not use")
                (self.root / "broker/core/apply.cc").write_text(before, encoding="utf-8")

    def test_comments_and_strings_are_not_code(self):
        self.plant("broker/core/apply.cc", '// std::thread would be wrong here\nconst char* kText = "std::mutex";')
        self.assertEqual([], list(CHECKER.violations(self.root)))

    def test_impurity_at_a_distance(self):
        self.plant("base/text.h", "#include <mutex>")
        self.assert_found("base/text.h", "pure code includes")

    def test_missing_files_unknown_folders_and_guards(self):
        self.plant("base/text.h", '#include "base/nothing.h"')
        self.assert_found("base/text.h", "does not exist")
        (self.root / "broker/new").mkdir()
        (self.root / "broker/new/thing.h").write_text("int x;\n", encoding="utf-8")
        self.assert_found("broker/new/thing.h", "lies in no folder")
        (self.root / "base/open.h").write_text("int x;\n", encoding="utf-8")
        self.assert_found("base/open.h", "#pragma once")


if __name__ == "__main__":
    unittest.main()
