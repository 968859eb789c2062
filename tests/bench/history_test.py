#!/usr/bin/python3
"""scripts/bench adds a line that scripts/bench-plot can draw.

    history_test.py BIN_DIRECTORY
"""
import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.argv.pop(1)).resolve()
SVG = "{http://www.w3.org/2000/svg}"


def load(script):
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader(script.replace("-", "_"), str(ROOT / "scripts" / script))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


BENCH, PLOT = load("bench"), load("bench-plot")


def line(commit, rate, date="2026-01-01T00:00:00+00:00", size_set="full", cpu="a", dirty=False):
    return {"date": date, "commit": commit, "dirty": dirty, "set": size_set, "machine": {"cpu": cpu, "cores": 2},
            "figures": {"throughput.tasks_per_second": rate}}


class Reading(unittest.TestCase):
    def test_nested_figures_get_dotted_names_and_runs_are_left_out(self):
        result = {"rate": 5.0, "commit_ms": {"p50": 1.0}, "unknown": None, "spread": {"rate": {"min": 1}},
                  "runs": [{"rate": 5.0}], "samples": []}
        self.assertEqual({"s.rate": 5.0, "s.commit_ms.p50": 1.0}, dict(BENCH.flat(result, "s.")))

    def test_spreads(self):
        spread = {"rate": {"min": 1, "max": 2, "relative": 0.5}, "commit_ms": {"p50": {"min": 0, "max": 1, "relative": None}}}
        self.assertEqual({"s.rate": 0.5}, dict(BENCH.spreads(spread, "s.")))

    def test_steadiness_compares_the_ends_of_a_run(self):
        # 100 tasks a second for four seconds, then 50; the file grows until half-way, then by a tenth.
        samples = [{"tasks": 100 * i, "seconds": i, "disk_bytes": 1000 * min(i, 4)} for i in range(1, 5)]
        samples += [{"tasks": 400 + 50 * i, "seconds": 4 + i, "disk_bytes": 4400} for i in range(1, 5)]
        self.assertEqual({"late_to_early": 0.5, "disk_growth": 1.1}, BENCH.steadiness(samples))

    def test_targets_are_met_from_the_right_side(self):
        figures = {name: target for name, _, target, _ in BENCH.TARGETS}
        self.assertEqual({"yes"}, {met for _, _, _, met, _ in BENCH.verdicts(figures)})
        worse = {name: target * (0.9 if direction == ">=" else 1.1) for name, direction, target, _ in BENCH.TARGETS}
        self.assertEqual({"NO"}, {met for _, _, _, met, _ in BENCH.verdicts(worse)})


class Plot(unittest.TestCase):
    def draw(self, *lines, size_set="full"):
        with tempfile.TemporaryDirectory() as scratch:
            history = pathlib.Path(scratch, "history.jsonl")
            history.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
            PLOT.main(["--set", size_set, str(history)])
            return xml.etree.ElementTree.parse(history.with_suffix(".svg")).getroot()

    def test_a_panel_a_figure_and_a_point_a_commit(self):
        drawn = self.draw(line("aaaaaaaa", 100), line("bbbbbbbb", 400, dirty=True))
        panels = drawn.findall(f"{SVG}g")
        self.assertEqual([panel[0] for panel in PLOT.PANELS], [panel.find(f"{SVG}text").text for panel in panels])
        points = drawn.findall(f".//{SVG}circle")
        self.assertEqual(2, len(points))
        low, high = (float(point.get("cy")) for point in points)
        # SVG counts downwards; the highest value is at the top of the plot.
        self.assertAlmostEqual(PLOT.TOP, high)
        self.assertAlmostEqual((PLOT.HEIGHT - PLOT.BOTTOM - low) * 4, PLOT.HEIGHT - PLOT.BOTTOM - high, delta=0.5)
        texts = [text.text for text in drawn.findall(f".//{SVG}text")]
        self.assertIn("aaaaaaa", texts)
        self.assertIn("bbbbbbb+", texts)

    def test_oldest_first(self):
        drawn = self.draw(line("new", 400, date="2026-02-01T00:00:00+00:00"), line("old", 100))
        first, second = drawn.findall(f".//{SVG}circle")
        self.assertGreater(float(first.get("cy")), float(second.get("cy")))
        self.assertLess(float(first.get("cx")), float(second.get("cx")))

    def test_other_machines_and_other_sets_stay_out(self):
        lines = [line("a", 1, cpu="other"), line("b", 2, size_set="quick"), line("c", 3)]
        self.assertEqual(1, len(self.draw(*lines).findall(f".//{SVG}circle")))

    def test_nothing_to_draw_is_said(self):
        with self.assertRaisesRegex(SystemExit, "no line of the set 'full'"):
            self.draw(line("a", 1, size_set="quick"))


class Script(unittest.TestCase):
    def test_a_run_adds_a_line_that_can_be_drawn(self):
        with tempfile.TemporaryDirectory(prefix="zsched-bench-test-") as scratch:
            history = pathlib.Path(scratch, "results/history.jsonl")
            history.parent.mkdir()
            history.write_text(json.dumps(line("a", 1)) + "\n", encoding="utf-8")
            table = subprocess.run([ROOT / "scripts/bench", "--set", "smoke", "--bin", BIN, "--data-root", scratch,
                                    "--history", history], check=True, capture_output=True, text=True).stdout
            lines = [json.loads(text) for text in history.read_text(encoding="utf-8").splitlines()]
            self.assertEqual(line("a", 1), lines.pop(0))
            self.assertEqual(1, len(lines))
            drawn = {figure for _, _, curves in PLOT.PANELS for _, figure in curves}
            self.assertEqual(set(), drawn - set(lines[0]["figures"]), "the plot shows figures that nobody measures")
            self.assertEqual({"cpu", "cores", "memory_bytes", "kernel", "filesystem"}, set(lines[0]["machine"]))
            for name, *_ in BENCH.TARGETS:
                self.assertIn(name, table)
            PLOT.main(["--set", "smoke", str(history)])
            points = xml.etree.ElementTree.parse(history.with_suffix(".svg")).getroot().findall(f".//{SVG}circle")
            self.assertEqual(len([figure for _, _, curves in PLOT.PANELS for figure in curves]), len(points))
            self.assertEqual({"results"}, {path.name for path in pathlib.Path(scratch).iterdir()})


if __name__ == "__main__":
    unittest.main()
