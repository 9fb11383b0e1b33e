"""Servers with one model for the benchmarks of scheduling: facetd, and llama.cpp's server to compare with.

Each streams answers to prompts of token ids; the prompts are drawn from seeds.
"""
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
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


class Request:
    """One `facet complete`: events as they come, each with the seconds since the request."""

    def __init__(self, command: list, env: dict):
        self.start = time.monotonic()
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def events(self):
        for line in self.process.stdout:
            yield json.loads(line), time.monotonic() - self.start

    def cancel(self):
        self.process.send_signal(signal.SIGINT)

    def close(self):
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()


class Facet:
    """facetd on a socket of its own; `settings` are flags of facetd."""

    def __init__(self, folder: Path, model: Path, threads: int, settings: tuple = ()):
        self.bin = folder
        self.folder = tempfile.TemporaryDirectory(prefix="facet-bench-")
        self.env = os.environ | {"FACET_SOCKET": self.folder.name + "/socket"}
        self.daemon = subprocess.Popen(
            [self.bin / "facetd", "--socket", self.env["FACET_SOCKET"], "--model", model, "--threads", str(threads), *settings],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def request(self, prompt: list[int], count: int, priority: str) -> Request:
        command = [self.bin / "facet", "complete", "--ids", ",".join(map(str, prompt)), "-n", str(count), "--temperature", "0",
                   "--ignore-end", "--json", "--priority", priority]
        return Request(command, self.env)

    def answer(self, prompt: list[int], count: int, priority: str):
        """Yields (token, seconds since the request) one by one."""
        request = self.request(prompt, count, priority)
        try:
            for event, seconds in request.events():
                if event["type"] == "token":
                    yield event["id"], seconds
        finally:
            request.close()

    def status(self) -> dict:
        return json.loads(subprocess.run([self.bin / "facet", "status", "--json"], env=self.env, check=True, capture_output=True).stdout)

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()
        self.folder.cleanup()


class Peer:
    """llama-server with so many slots; requests go over HTTP."""

    def __init__(self, folder: Path, model: Path, threads: int, slots: int):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.daemon = subprocess.Popen(
            [folder / "llama-server", "-m", model, "-t", str(threads), "--parallel", str(slots), "-c",
             str(slots * 4096), "--port", str(self.port), "--no-webui"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answer(self, prompt: list[int], count: int, priority: str):
        del priority  # it knows none
        body = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True, "stream": True, "cache_prompt": False,
                "return_tokens": True}
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    for token in json.loads(line[6:]).get("tokens", []):
                        yield token, time.monotonic() - start
        finally:
            connection.close()

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()


def wait_until_ready(server):
    for _ in range(600):
        try:
            if list(server.answer(ids(8, 0), 1, "standard")):
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("the server does not answer")
