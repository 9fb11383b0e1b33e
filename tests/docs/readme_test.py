#!/usr/bin/env python3
"""Checks that what README.md shows is what the project has: readme_test.py ROOT

The first app is examples/hello.cc (which .ci/check-install builds and runs), the commands to try next are those of scripts/quickstart, and
every program and script that is named exists in the tree.
"""
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()
README = (ROOT / "README.md").read_text()


def commands(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if re.match(r" +(FACET_SOCKET=\S+ )?build/release/bin/", line)]


class Readme(unittest.TestCase):
    def test_first_app_is_the_example(self):
        shown = re.findall(r"^```cpp\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
        comment, program = (ROOT / "examples/hello.cc").read_text().split("\n", 1)
        self.assertTrue(comment.startswith("// "))
        self.assertEqual(shown, [program])
        self.assertLessEqual(len(program.splitlines()), 10)

    def test_commands_are_those_of_the_quickstart(self):
        script = (ROOT / "scripts/quickstart").read_text()
        closing = script.split("<<TEXT\n")[1].split("\nTEXT\n")[0]
        name = re.search(r'^NAME = "(.*)"$', (ROOT / "scripts/fetch-model").read_text(), flags=re.MULTILINE)[1]
        closing = closing.replace("$bin", "build/release/bin").replace("$model", f"~/.cache/facet/models/{name}")
        self.assertEqual(len(commands(closing)), 3)
        self.assertEqual(commands(README), commands(closing))

    def test_what_it_names_exists(self):
        for path in re.findall(r"\b(?:scripts|examples)/[\w.-]*", README):
            self.assertTrue((ROOT / path).exists(), path)
        programs = "\n".join(path.read_text() for path in ROOT.glob("*/*/CMakeLists.txt"))
        for program in set(re.findall(r"build/release/bin/([\w-]+)", README)):
            self.assertRegex(programs, rf"facet_program\({program}\s")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
