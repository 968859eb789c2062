#!/usr/bin/python3
"""scripts/profile gives each sample to the right thread and stage. What perf prints is given, so perf is not needed."""
import importlib.machinery
import importlib.util
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(script):
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader(script, str(ROOT / "scripts" / script))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


PROFILE = load("profile")


def sample(name, pid, tid, *functions):
    frames = [f"\t      55d0c0ffee10 {function}" for function in functions]
    return "\n".join([f"{name} {pid:>7}/{tid:<7} ", *frames, ""])


class Stages(unittest.TestCase):
    def stages(self, *samples):
        return dict(PROFILE.read("\n".join(samples)).stages)

    def test_the_innermost_stage_of_the_chain_decides(self):
        chain = ["XXH_INLINE_XXH3_64bits (/b)", "zsched::OpenFrame (/b)", "zsched::broker::Core::OnSubmit (/b)"]
        second = 1 / PROFILE.FREQUENCY_HZ
        self.assertEqual({("broker", "loop", "frame checksums"): second,
                          ("broker", "loop", "submit: judge, record, apply"): second},
                         self.stages(sample("zsched-broker", 7, 7, *chain), sample("zsched-broker", 7, 7, chain[-1])))

    def test_threads_belong_to_their_process(self):
        found = self.stages(sample("zsched-broker", 7, 7, "main (/b)"), sample("ZMQbg/IO/0", 7, 8, "tcp_sendmsg (k)"),
                            sample("zsched-worker", 9, 9, "main (/w)"), sample("ZMQbg/IO/0", 9, 10, "x (/w)"),
                            sample("zsched-journal", 7, 11, "x (/b)"), sample("bash", 1, 1, "x (/b)"))
        self.assertEqual({("broker", "loop", "other"), ("broker", "zmq", "kernel: TCP"), ("workers", "session", "other"),
                          ("workers", "zmq", "other"), ("broker", "journal", "other")}, set(found))

    def test_a_lost_caller_is_named_by_the_library_or_the_system_call(self):
        found = self.stages(sample("zsched-broker", 7, 7, "main (/b)"),
                            sample("zsched-journal", 7, 8, "[unknown] (/usr/lib/liblmdb.so.0)", "[unknown] ([unknown])"),
                            sample("zsched-journal", 7, 8, "memcpy (k)", "__x64_sys_pwritev (k)", "[unknown] (/x/liblmdb.so.0)"))
        self.assertIn(("broker", "journal", "LMDB, caller unknown"), found)
        self.assertIn(("broker", "journal", "write and sync pages"), found)

    def test_a_stage_of_our_own_beats_what_is_below_it(self):
        found = self.stages(sample("zsched-broker", 7, 7, "asm_exc_page_fault (k)", "zsched::broker::Core::OnResults (/b)"))
        self.assertEqual({("broker", "loop", "results: record, apply")}, set(found))


if __name__ == "__main__":
    unittest.main()
