#!/usr/bin/env python3
"""Measures how long a cancelled request goes on, and looks for lost pages: facetd, one model.

    cancel.py [--facet BIN_FOLDER] [--model FILE] [--cancels 100] [--clients 4] [--threads 2] [--prompt 2000] [--answer 256]

Clients ask with prompts of so many tokens and cancel after a drawn time, in the middle of the prompt or of the answer. Shown is the
time from the client's cancel to its finish (milliseconds), by where the request was, and whether that of all cancels met its bound. In the end all
pages of the cache must be free, and no request may have failed; exit code 1 if not. Timing decides nothing.
"""
import argparse
import random
import sys
import threading
import time
from pathlib import Path

from bounds import Bound, quantiles
from servers import Facet, default_facet, default_model, ids, wait_until_ready

WANTED = 20  # milliseconds from a cancel to its finish at the 95th percentile, at most


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facet", type=Path, default=default_facet(), help="the folder of facetd and facet")
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--cancels", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=2000)
    parser.add_argument("--answer", type=int, default=256)
    return parser.parse_args()


class Client(threading.Thread):
    """Asks and cancels, until it has cancelled so often. The drawn time follows how long answers take."""

    def __init__(self, server: Facet, options: argparse.Namespace, cancels: int, seed: int):
        super().__init__()
        self.server, self.options, self.left, self.draw, self.app = server, options, cancels, random.Random(seed), f"client {seed}"
        self.took = {"in the prompt": [], "in the answer": []}  # seconds from cancel to finish
        self.longest = 1.0  # seconds that a whole answer is thought to take
        self.start()

    def run(self):
        while self.left > 0:
            prompt = ids(self.options.prompt, self.draw.randrange(1 << 30))
            request = self.server.start(prompt, self.options.answer, self.draw.choice(("interactive", "standard", "background")), self.app)
            timer = threading.Timer(self.draw.uniform(0.02, self.longest), request.cancel)
            timer.start()
            answer = request.wait()
            timer.cancel()
            timer.join()
            if len(answer.tokens) < self.options.answer:
                self.took["in the answer" if answer.tokens else "in the prompt"].append(answer.finish - answer.cancel)
                self.left -= 1
                self.longest *= 1.2
            else:
                self.longest = max(0.1, 0.9 * (answer.finish - answer.start))


def main() -> int:
    options = parse_arguments()
    server = Facet(options.facet, options.model, options.threads)
    try:
        wait_until_ready(server)
        clients = [Client(server, options, -(-options.cancels // options.clients), seed) for seed in range(options.clients)]
        for client in clients:
            client.join()
        deadline = time.monotonic() + 10
        while (status := server.status())["running"] and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        server.stop()
    print(f"  {'milliseconds':<16} {'cancels':>8} {'median':>8} {'95%':>8} {'worst':>8}")
    places = {where: [1000 * t for client in clients for t in client.took[where]] for where in clients[0].took}
    everywhere = [t for took in places.values() for t in took]
    for where, took in [*places.items(), ("all", everywhere)]:
        if took:
            print(f"  {where:<16} {len(took):8}" + "".join(f" {value:8.1f}" for value in quantiles(took)))
    print(Bound("milliseconds from cancel to finish, 95%", quantiles(everywhere)[1] if everywhere else None, WANTED).line())
    print(f"  pages free: {status['cache_pages_free']} of {status['cache_pages']}")
    failed = any(client.left > 0 for client in clients)
    return 0 if status["cache_pages_free"] == status["cache_pages"] and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
