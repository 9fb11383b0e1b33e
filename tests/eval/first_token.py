#!/usr/bin/env python3
"""Times a model from the start of a process to its first token, cold and warm, beside llama.cpp, and shows the private memory of both.

    first_token.py --peer BIN_FOLDER --model FILE... [--facet BIN_FOLDER] [--rounds 3] [--tokens 16] [--threads 2] [--daemon]

A round runs both programs cold, then both warm. Cold: the file's pages are dropped from the system's cache before each run (no other
process may have it mapped; that they are gone is checked). Warm: the same again at once. Shown is the best of all rounds, because whatever else runs on
the machine only adds. Private memory is the largest sum of Private_* in /proc/PID/smaps that was seen, without the pages of the model's file and of
its packed copy.

--daemon adds a column: warm, from the start of facetd until the first token of a request came through its socket to bench_clients, which asks until there is a
daemon; and the private memory of facetd and facet-engine then. The packed copy is used if there is one in the user's cache folder, and is being made otherwise.

The peer's folder holds `lltool` as in full_size.py, run as llama.cpp does by default: weights repacked for the CPU, which copies them.
FILE of a model in parts is not supported here.
"""
import argparse
import ctypes
import mmap
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import servers  # noqa: E402

HEADER = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$")
MAPPED_ELSEWHERE = ".packed"  # how a packed copy's name ends
START_SECONDS = 600  # of the daemon, at most
MOST_LEFT = 1 << 20  # bytes of a file that is called cold


def parse_arguments() -> argparse.Namespace:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the folder of lltool")
    parser.add_argument("--facet", type=Path, default=root / "build/release/bin", help="the folder of facet-model")
    parser.add_argument("--model", type=Path, nargs="+", required=True)
    parser.add_argument("--backend", default="onednn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=16, help="of the prompt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--daemon", action="store_true", help="measures facetd, too, which needs facet-engine and bench_clients")
    return parser.parse_args()


def cached_bytes(path: Path) -> int:
    """How much of the file is in the system's cache."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        present = (ctypes.c_ubyte * pages)()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        address = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), ctypes.c_long(0))
        failed = libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), present)
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    if failed:
        sys.exit(f"{path}: what is cached cannot be asked")
    return sum(page & 1 for page in bytes(present)) * mmap.PAGESIZE


def drop(path: Path) -> None:
    for _ in range(10):  # pages that a process has just let go stay for a moment
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        left = cached_bytes(path)
        if left <= MOST_LEFT:
            return
        time.sleep(1)
    sys.exit(f"{path}: {left} bytes stay in the cache; does another process have it open?")


def private_bytes(pid: int, model: Path) -> int:
    """0 if the process is gone."""
    total, weights = 0, False
    try:
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            if header := HEADER.match(line):
                weights = header[1] == str(model) or header[1].removesuffix(" (deleted)").endswith(MAPPED_ELSEWHERE)
            elif line.startswith("Private_") and not weights and not line.startswith("Private_Hugetlb"):
                total += int(line.split()[1]) * 1024
    except OSError:
        return 0
    return total


def run(command: list, model: Path, **extra: str) -> tuple[float, int]:
    """Seconds and private bytes."""
    most = 0
    with tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, **extra})
        while True:
            try:
                process.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                most = max(most, private_bytes(process.pid, model))
        took = time.monotonic() - start
        if process.returncode != 0:
            errors.seek(0)
            sys.exit(f"{' '.join(map(str, command))}\n{errors.read().decode(errors='replace')}")
    return took, most


def with_children(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return []
    return [pid, *(each for child in children for each in with_children(int(child)))]


def run_daemon(o: argparse.Namespace, model: Path, ids: list[int]) -> tuple[float, int]:
    """Seconds from the start of facetd to the first token, and private bytes of it and its engine then."""
    server = servers.Facet(o.facet, model, o.threads, ("--backend", o.backend))
    start = server.started
    try:
        while True:
            try:
                answer = server.start(ids, 1, "standard").wait()
                break
            except servers.ServerError as error:  # its socket is not there yet
                if server.daemon.poll() is not None or time.monotonic() - start > START_SECONDS:
                    sys.exit(f"facetd gives no token of {model}: {error}")
            time.sleep(0.005)
        return answer.times[0] - start, sum(private_bytes(pid, model) for pid in with_children(server.daemon.pid))
    finally:
        server.stop()


def main() -> int:
    o = parse_arguments()
    draw = random.Random(1)
    ids = [2] + [draw.randrange(1000, 200_000) for _ in range(o.tokens - 1)]
    print(f"{'best of ' + str(o.rounds):24} {'cold s':>18} {'warm s':>18} {'private MiB':>18}" + (f" {'daemon s':>9} {'MiB':>5}" if o.daemon else "") +
          f"\n{'':24}" + 3 * f" {'facet':>9} {'peer':>8}")
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts"
        prompts.write_text(" ".join(map(str, ids)) + "\n")
        for model in (path.resolve() for path in o.model):
            facet = [o.facet / "facet-model", "generate", model, "--backend", o.backend, "--threads", o.threads, "--ids",
                     ",".join(map(str, ids)), "-n", 1]
            peer = [o.peer / "lltool", "logits", model, prompts, Path(folder) / "out", "--mode", "batch", "--kv", "f16", "--threads",
                    o.threads, "--last"]
            results = {}
            for _ in range(o.rounds):
                for cold in (True, False):
                    for name, command, extra in (("facet", facet, {}), ("peer", peer, {"LLTOOL_REPACK": "1"})):
                        if cold:
                            drop(model)
                        results.setdefault((cold, name), []).append(run(command, model, **extra))
                if o.daemon:
                    results.setdefault("daemon", []).append(run_daemon(o, model, ids))
            cells = [min(took for took, _ in results[cold, name]) for cold in (True, False) for name in ("facet", "peer")]
            memory = [max(most for _, most in results[False, name]) >> 20 for name in ("facet", "peer")]
            print(f"{model.name:24} {cells[0]:9.2f} {cells[1]:8.2f} {cells[2]:9.2f} {cells[3]:8.2f} {memory[0]:9} {memory[1]:8}" +
                  (f" {min(took for took, _ in results['daemon']):9.2f} {max(most for _, most in results['daemon']) >> 20:5}" if o.daemon else ""), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
