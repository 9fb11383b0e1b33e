#!/usr/bin/env python3
"""Tests what plot writes: two SVG files that show each class as a line whose points lie in the frame. plot_test.py PLOT"""
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

PROGRAM = sys.argv.pop(1)
SVG = "{http://www.w3.org/2000/svg}"
CLASSES = ["interactive", "standard", "background"]


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, point.split(","))) for point in line.get("points").split()]


class Plot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([PROGRAM, folder], check=True)
            cls.files = {path.name: ElementTree.parse(path).getroot() for path in Path(folder).iterdir()}

    def test_both_files_have_a_line_for_each_class(self):
        self.assertEqual(sorted(self.files), ["latency.svg", "share.svg"])
        for name, root in self.files.items():
            self.assertEqual(root.tag, SVG + "svg", name)
            width, height = map(float, root.get("viewBox").split()[2:])
            texts = [text.text for text in root.iter(SVG + "text")]
            self.assertEqual([text for text in texts if text in CLASSES], CLASSES, name)
            self.assertTrue(any(text.endswith("by class") for text in texts), name)
            lines = list(root.iter(SVG + "polyline"))
            self.assertEqual(len({line.get("stroke") for line in lines}), len(CLASSES), name)
            for line in lines:
                self.assertGreater(len(points(line)), 10, name)
                self.assertTrue(all(0 < x < width and 0 < y < height for x, y in points(line)), name)
                self.assertEqual([x for x, _ in points(line)], sorted(x for x, _ in points(line)), name)

    def test_shares_are_of_one_device(self):
        # A share is a height above the axis. The device is never idle.
        lines = [points(line) for line in self.files["share.svg"].iter(SVG + "polyline")]
        texts = {text.text: float(text.get("y")) - 4 for text in self.files["share.svg"].iter(SVG + "text") if text.get("text-anchor") == "end"}
        zero, one = texts["0"], texts["1"]
        for moment in zip(*lines, strict=True):
            self.assertEqual(len({x for x, _ in moment}), 1)
            self.assertLess(abs(sum((y - zero) / (one - zero) for _, y in moment) - 1), 0.01)

    def test_all_requests_have_their_first_token_in_the_end(self):
        lines = [points(line) for line in self.files["latency.svg"].iter(SVG + "polyline")]
        self.assertEqual(len({line[-1][1] for line in lines}), 1)
        # Who is more urgent waits less: here the median.
        medians = [line[len(line) // 2][0] for line in lines]
        self.assertEqual(medians, sorted(medians))

    def test_a_folder_that_is_not_there_is_named(self):
        done = subprocess.run([PROGRAM, "/nowhere"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere/share.svg", done.stderr)


if __name__ == "__main__":
    unittest.main()
