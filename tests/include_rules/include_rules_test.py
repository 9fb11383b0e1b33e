#!/usr/bin/env python3
"""Reads every #include line under daemon/, plugins/, backends/ and sdk/ and checks it against the arrows of ARCHITECTURE.md.

    include_rules_test.py ROOT

ALLOWED is the table of arrows; a folder may include what it reaches through them. HEAVY says which files alone may see a library's
headers. The planted violations at the end show that each rule fails when it should.
"""
import fnmatch
import re
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()

# folder -> the folders that it may include. "abi" is plugins/include. The longest matching folder counts.
ALLOWED = {
    "daemon/base": [],
    "daemon/graph": ["abi", "daemon/base"],
    "daemon/text": ["daemon/base"],
    "daemon/sampling": ["daemon/text", "daemon/base"],
    "daemon/model": ["daemon/graph", "daemon/text", "daemon/base"],
    "daemon/engine": ["daemon/model", "daemon/sampling", "plugins/host", "daemon/link"],
    "daemon/link": ["daemon/base", "sdk/protocol"],
    "daemon/broker": ["daemon/link", "sdk/protocol", "daemon/base"],
    "daemon/model_tool": ["daemon/engine", "daemon/model"],
    "plugins/include": ["abi"],
    "plugins/host": ["abi", "daemon/base"],
    "backends/reference": ["abi"],
    "backends/onednn": ["abi"],
    "sdk/protocol": ["daemon/base"],
    "sdk/include": [],
    "sdk/src": ["sdk/protocol", "sdk/include"],
    "sdk/cli": ["sdk/include"],
}

# (what it is, pattern of the included name, files that may include it)
HEAVY = [
    ("Cap'n Proto", r"(capnp|kj)/.*|.*\.capnp\.h",
     ["sdk/protocol/*codec*", "sdk/protocol/*framing*", "daemon/link/*codec*", "daemon/link/*framing*"]),
    ("Asio", r"asio(/.*|\.hpp)",
     ["daemon/broker/*", "daemon/engine/main.cc", "daemon/engine/*session*", "sdk/src/*"]),
    ("spdlog", r"spdlog/.*", ["daemon/base/log.cc"]),
    ("oneDNN", r"(oneapi/|dnnl).*", ["backends/onednn/*"]),
    ("libsystemd", r"systemd/.*", ["daemon/broker/*", "daemon/engine/main.cc"]),
]

# Folders and files that are tested and fuzzed alone: no thread and no socket in them.
ALONE = ["daemon/text/*", "daemon/sampling/*", "daemon/graph/*", "daemon/model/*", "daemon/engine/class_share*", "daemon/engine/fair_queue*",
         "daemon/engine/run_costs*", "daemon/engine/scheduler*", "sdk/protocol/*"]
THREADS_AND_SOCKETS = r"(thread|mutex|shared_mutex|condition_variable|future|semaphore|pthread\.h|sys/(socket|un|epoll)\.h|netinet/.*)"

SUFFIXES = {".h", ".hpp", ".c", ".cc", ".cpp"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def reach(folder: str) -> set[str]:
    """The folder itself and what its arrows lead to."""
    seen, todo = set(), [folder]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += ALLOWED.get(name, [])
    return seen


def folder_of(path: str) -> str | None:
    matches = [folder for folder in ALLOWED if path.startswith(folder + "/")]
    return max(matches, key=len, default=None)


def target_folder(root: Path, quote: str, name: str) -> str | None:
    """The folder that an included name belongs to; None for the standard library, a third party, or what everyone may include."""
    if name == "facet/status.h" or name.endswith(".capnp.h"):
        return None
    if name.startswith("facet/"):
        return "sdk/include" if (root / "sdk" / "include" / name).exists() else "abi"
    if quote == '"':
        return folder_of(name) or "an unknown place"
    return None


def violations(root: Path) -> list[str]:
    found = []
    for top in ("daemon", "plugins", "backends", "sdk"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                found += file_violations(root, path.relative_to(root).as_posix())
    return found


def file_violations(root: Path, path: str) -> list[str]:
    found = []
    folder = folder_of(path)
    if folder is None:
        return [f"{path}: its folder is not in the table of arrows"]
    for number, line in enumerate((root / path).read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, name = match.groups()
        say = lambda why: found.append(f"{path}:{number}: {name}: {why}")  # noqa: E731
        target = target_folder(root, quote, name)
        if target and target not in reach(folder):
            say(f"{folder} may not include {target}")
        for library, pattern, places in HEAVY:
            if re.fullmatch(pattern, name) and not any(fnmatch.fnmatch(path, place) for place in places):
                say(f"{library} is for {', '.join(places)} alone")
        if re.fullmatch(THREADS_AND_SOCKETS, name) and any(fnmatch.fnmatch(path, place) for place in ALONE):
            say("no thread and no socket here")
        if folder == "sdk/include" and target is None and name != "facet/status.h" and re.search(r"[/.]", name):
            if not re.fullmatch(r"std(int|def|bool)\.h", name):
                say("a public header includes only the standard library and facet/status.h")
    return found


class IncludeRules(unittest.TestCase):
    def test_the_tree_keeps_the_rules(self):
        self.assertEqual(violations(ROOT), [])

    def test_there_is_a_tree(self):
        for folder in ("daemon/base", "plugins/include", "sdk/protocol"):
            self.assertTrue((ROOT / folder).is_dir(), folder)


class PlantedViolations(unittest.TestCase):
    BAD = [
        ("daemon/base/a.h", '#include "daemon/text/vocab.h"', "daemon/base may not include daemon/text"),
        ("daemon/text/a.cc", '#include "daemon/model/gguf.h"', "daemon/text may not include daemon/model"),
        ("daemon/broker/a.cc", '#include "daemon/engine/engine.h"', "daemon/broker may not include daemon/engine"),
        ("daemon/broker/a.cc", "#include <facet/backend.h>", "daemon/broker may not include abi"),
        ("daemon/link/a.cc", '#include "sdk/src/connection.h"', "daemon/link may not include sdk/src"),
        ("daemon/model/a.cc", '#include "plugins/host/loader.h"', "daemon/model may not include plugins/host"),
        ("plugins/host/a.cc", '#include "daemon/graph/program.h"', "plugins/host may not include daemon/graph"),
        ("backends/reference/a.cc", '#include "daemon/base/result.h"', "backends/reference may not include daemon/base"),
        ("backends/onednn/a.cc", '#include "backends/reference/ops.h"', "backends/onednn may not include backends/reference"),
        ("sdk/cli/a.cc", '#include "sdk/protocol/messages.h"', "sdk/cli may not include sdk/protocol"),
        ("sdk/src/a.cc", '#include "daemon/text/vocabulary.h"', "sdk/src may not include daemon/text"),
        ("sdk/include/facet/a.hpp", "#include <asio.hpp>", "Asio is for"),
        ("sdk/include/facet/a.hpp", "#include <nlohmann/json.hpp>", "a public header includes only"),
        ("sdk/include/facet/a.hpp", "#include <facet/blocks.h>", "sdk/include may not include abi"),
        ("sdk/src/a.cc", "#include <capnp/message.h>", "Cap'n Proto is for"),
        ("sdk/src/a.cc", '#include "sdk/protocol/facet.capnp.h"', "Cap'n Proto is for"),
        ("daemon/engine/engine.cc", "#include <asio/io_context.hpp>", "Asio is for"),
        ("daemon/engine/engine.cc", "#include <spdlog/spdlog.h>", "spdlog is for"),
        ("daemon/model/a.cc", "#include <oneapi/dnnl/dnnl.hpp>", "oneDNN is for"),
        ("daemon/sampling/a.cc", "#include <thread>", "no thread and no socket here"),
        ("daemon/engine/scheduler.h", "#include <mutex>", "no thread and no socket here"),
        ("daemon/engine/fair_queue.cc", "#include <thread>", "no thread and no socket here"),
        ("daemon/text/a.cc", '#include "vocab.h"', "an unknown place"),
        ("daemon/elsewhere/a.cc", "#include <vector>", "not in the table of arrows"),
    ]
    GOOD = [
        ("daemon/engine/a.cc", '#include "daemon/text/vocab.h"'),
        ("daemon/engine/a.cc", "#include <facet/backend.h>"),
        ("daemon/link/a_codec.cc", "#include <capnp/message.h>"),
        ("daemon/broker/a.cc", "#include <asio/io_context.hpp>"),
        ("daemon/broker/a.cc", "#include <facet/status.h>"),
        ("daemon/base/log.cc", "#include <spdlog/spdlog.h>"),
        ("sdk/include/facet/a.hpp", "#include <facet/status.h>"),
        ("sdk/include/facet/a.h", "#include <stdint.h>"),
        ("sdk/src/a.cc", "#include <thread>"),
    ]

    def check(self, path: str, line: str) -> list[str]:
        with tempfile.TemporaryDirectory() as root:
            file = Path(root) / path
            file.parent.mkdir(parents=True)
            file.write_text(f"#pragma once\n{line}\n")
            return violations(Path(root))

    def test_each_is_found(self):
        for path, line, why in self.BAD:
            with self.subTest(path=path, line=line):
                found = self.check(path, line)
                self.assertTrue(any(why in violation for violation in found), found)

    def test_what_is_allowed_is_not(self):
        for path, line in self.GOOD:
            with self.subTest(path=path, line=line):
                self.assertEqual(self.check(path, line), [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
