#!/usr/bin/python3
"""zsched-bench runs real processes and prints the names that scripts rely on.

    output_test.py BIN_DIRECTORY
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

BIN = pathlib.Path(sys.argv.pop(1)).resolve()


class Output(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="zsched-bench-test-")
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)

    def bench(self, *arguments):
        done = subprocess.run([BIN / "zsched-bench", "--data-root", self.root, *arguments], capture_output=True,
                              text=True, check=False)
        self.assertEqual("", done.stderr)
        self.assertEqual(0, done.returncode)
        self.assertEqual([], list(self.root.iterdir()), "something was left on the disk")
        return done.stdout

    def figures(self, *arguments):
        return json.loads(self.bench(*arguments, "-o", "json"))

    def assert_names(self, names, figures):
        self.assertEqual(set(), set(names) - set(figures))

    def test_throughput_of_single_submits_with_repeats(self):
        result = self.figures("throughput", "--tasks", "4000", "--batch", "1", "--samples", "4", "--repeat", "2")
        for run in [result, *result["runs"]]:
            self.assert_names(["tasks_per_second", "cpu_seconds_per_100k", "limit_tasks_per_second", "ratio_to_limit"],
                              run)
        self.assertEqual(2, len(result["runs"]))
        rates = sorted(run["tasks_per_second"] for run in result["runs"])
        self.assertAlmostEqual(sum(rates) / 2, result["tasks_per_second"])
        spread = result["spread"]["tasks_per_second"]
        self.assertEqual(rates, [spread["min"], spread["max"]])
        for run in result["runs"]:
            self.assertEqual(4000, run["samples"][-1]["tasks"])
            self.assert_names(["tasks", "seconds", "tasks_per_second", "disk_bytes"], run["samples"][0])
            self.assert_names(["loop", "journal", "zmq"], run["cpu_by_thread"]["broker"])
            self.assert_names(["log", "specs", "tasks"], run["table_bytes_per_task"])

    def test_throughput_of_many_clients_and_workers(self):
        result = self.figures("throughput", "--tasks", "2000", "--clients", "8", "--workers", "8", "--in-flight", "100")
        self.assertEqual(2000, result["samples"][-1]["tasks"])
        self.assertNotIn("runs", result)

    def test_latency(self):
        result = self.figures("latency", "--tasks", "20", "--repeat", "2")
        for name in ["commit_ms", "submit_ack_ms", "submit_result_ms"]:
            self.assert_names(["p50", "p99"], result[name])
            self.assert_names(["min", "max", "relative"], result["spread"][name]["p50"])

    def test_backlog(self):
        result = self.figures("backlog", "--tasks", "5000")
        self.assert_names(["submits_per_second", "rss_bytes_per_task", "restart_seconds", "disk_bytes_per_task"], result)
        self.assertGreater(result["table_bytes_per_task"]["specs"], 100)

    def test_schedules(self):
        for period in ("10s", "90s"):  # a busy machine may not make them all in time
            try:
                result = self.figures("schedules", "--schedules", "200", "--period", period, "--idle", "1s")
                break
            except AssertionError:
                if period == "90s":
                    raise
        self.assert_names(["sets_per_second", "rss_bytes_per_schedule", "disk_bytes_per_schedule", "restart_seconds",
                           "idle_cpu_percent", "ticks_per_second", "cpu_us_per_tick"], result)
        self.assert_names(["p50", "p99", "max"], result["late_ms"])

    def test_table_for_people(self):
        text = self.bench("throughput", "--tasks", "1000", "--samples", "2")
        self.assertRegex(text, r"(?m)^tasks_per_second +\d+")
        self.assertRegex(text, r"(?m)^samples\n +tasks +seconds +tasks_per_second +disk_bytes$")


if __name__ == "__main__":
    unittest.main()
