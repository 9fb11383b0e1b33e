"""Servers with one model for the benchmarks of scheduling: facetd, and llama.cpp's server to compare with.

Each answers prompts of token ids, which are drawn from seeds.
"""
import contextlib
import http.client
import json
import os
import queue
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path


def default_facet() -> Path:
    return Path(__file__).resolve().parents[2] / "build/release/bin"


def default_model() -> Path:
    models = os.environ.get("FACET_TEST_MODEL_DIR") or os.path.expanduser("~/.cache/facet/models")
    return Path(models) / "gemma-3-270m-q4_k_m.gguf"


def ids(count: int, seed: int) -> list[int]:
    """A prompt: the begin token, then drawn ones."""
    draw = random.Random(seed)
    return [2] + [draw.randrange(1000, 100000) for _ in range(count - 1)]


class Loops:
    """Other busy programs: endless loops, in sessions of their own unless `together`."""

    def __init__(self, count: int, together: bool = True):
        self.processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=not together)
                          for _ in range(count)]

    def seconds(self) -> float:
        """Of processor time, so far."""
        return sum(int(Path(f"/proc/{loop.pid}/schedstat").read_text().split()[0]) for loop in self.processes) / 1e9

    def stop(self):
        for loop in self.processes:
            loop.kill()
            loop.wait()


class ServerError(Exception):
    """A request that the server did not answer."""


@dataclass(frozen=True)
class Answer:
    """Times are seconds of time.monotonic(), taken where the tokens came in."""
    start: float
    tokens: list[int]
    times: list[float]  # of each token
    cancel: float | None
    finish: float
    cached: int  # tokens of the prompt that were not read again

    def first(self) -> float:
        return self.times[0] - self.start

    def intervals(self) -> list[float]:
        return [b - a for a, b in zip(self.times, self.times[1:])]


class Request:
    """One that runs, of Facet or Peer."""

    def __init__(self, cancel: Callable):
        self.cancel = cancel  # the answer then has what came before
        self.outcome = queue.SimpleQueue()

    def wait(self) -> Answer:
        outcome = self.outcome.get()
        if isinstance(outcome, str):
            raise ServerError(outcome)
        return outcome


class Facet:
    """facetd on a socket of its own, and the process that asks it (clients.cc); `settings` are flags of facetd."""

    def __init__(self, folder: Path, model: Path, threads: int, settings: tuple = ()):
        self.bin = folder
        self.folder = tempfile.TemporaryDirectory(prefix="facet-bench-")
        self.env = os.environ | {"FACET_SOCKET": self.folder.name + "/socket"}
        # First: it ends with this process if there is no facetd.
        self.clients = subprocess.Popen([self.bin / "bench_clients"], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.started = time.monotonic()
        self.daemon = subprocess.Popen(
            [self.bin / "facetd", "--socket", self.env["FACET_SOCKET"], "--model", model, "--threads", str(threads), *settings],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.lock = threading.Lock()
        self.last = 0
        self.requests = {}
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.clients.stdout:
            answer = json.loads(line)
            with self.lock:
                request = self.requests.pop(answer["id"])
            request.outcome.put(answer["error"] if "error" in answer else Answer(**{f.name: answer[f.name] for f in fields(Answer)}))
        with self.lock:
            for request in self.requests.values():
                request.outcome.put("bench_clients ended")

    def say(self, line: dict):
        self.clients.stdin.write(json.dumps(line) + "\n")
        self.clients.stdin.flush()

    def start(self, prompt: list[int], count: int, priority: str, app: str = "person", cancel_after: int = 0) -> Request:
        with self.lock:
            self.last += 1
            id = self.last
            self.requests[id] = Request(lambda: self.cancel(id))
            self.say({"id": id, "app": app, "priority": priority, "prompt": prompt, "tokens": count, "cancel_after": cancel_after})
            return self.requests[id]

    def cancel(self, id: int):
        with self.lock:
            self.say({"cancel": id})

    def status(self) -> dict:
        return json.loads(subprocess.run([self.bin / "facet", "status", "--json"], env=self.env, check=True, capture_output=True).stdout)

    def stop(self):
        self.clients.stdin.close()
        self.clients.wait()
        self.reader.join()
        self.daemon.terminate()
        self.daemon.wait()
        self.folder.cleanup()


class Peer:
    """llama-server with so many slots of `context` tokens; requests go over HTTP, each by a thread of this process. `settings` are flags of
    llama-server."""

    def __init__(self, folder: Path, model: Path, threads: int, slots: int, context: int = 4096, settings: tuple = ()):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.daemon = subprocess.Popen(
            [folder / "llama-server", "-m", model, "-t", str(threads), "--parallel", str(slots), "-c",
             str(slots * context), "--port", str(self.port), "--no-webui", *settings],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self, prompt: list[int], count: int, priority: str, app: str = "") -> Request:
        del priority, app  # it knows none
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        cancelled = threading.Event()

        def cancel():
            cancelled.set()
            if sock := connection.sock:
                with contextlib.suppress(OSError):  # it has ended by itself
                    sock.shutdown(socket.SHUT_RDWR)

        request = Request(cancel)
        threading.Thread(target=self.ask, args=(connection, prompt, count, request, cancelled), daemon=True).start()
        return request

    def ask(self, connection: http.client.HTTPConnection, prompt: list[int], count: int, request: Request, cancelled: threading.Event):
        body = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True, "stream": True, "cache_prompt": False,
                "return_tokens": True}
        tokens, times = [], []
        reason = ""
        start = time.monotonic()
        try:
            connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    for token in json.loads(line[6:]).get("tokens", []):
                        tokens.append(token)
                        times.append(time.monotonic())
        except (OSError, http.client.HTTPException) as error:
            reason = f": {type(error).__name__}: {error}"
        connection.close()
        whole = cancelled.is_set() or len(tokens) == count
        request.outcome.put(Answer(start, tokens, times, None, time.monotonic(), 0) if whole else f"{len(tokens)} tokens of {count} came{reason}")

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()


def wait_until_ready(server):
    for _ in range(600):
        try:
            server.start(ids(8, 0), 1, "standard").wait()
            return
        except ServerError as error:
            reason = error
        time.sleep(0.2)
    sys.exit(f"the server does not answer: {reason}")
