#!/usr/bin/env python3
"""Measures what the prefix cache saves: the second turn of a conversation, and several answers to one prompt.

    turns.py [--facet BIN_FOLDER] [--model FILE] [--prompt 4000] [--threads 2] [--rounds 3]

A conversation begins with a prompt of so many tokens and an answer of 32; its second turn is all of that and 32 tokens more. Then 8 requests
ask with one new prompt at once, after one that reads it. Shown are the times to the first token (milliseconds, medians), whether that of the
second turn met its bound, and how many tokens were not read again. Timing decides nothing; exit code 1 if the cache was of no use.
"""
import argparse
import statistics
import sys
from pathlib import Path

from bounds import Bound
from servers import Facet, default_facet, default_model, ids, wait_until_ready

ANSWER, QUESTION, FORKS = 32, 32, 8
WANTED = 0.05  # of the first turn's time to the first token, at most


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facet", type=Path, default=default_facet(), help="the folder of facetd and facet")
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--prompt", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    server = Facet(options.facet, options.model, options.threads)
    firsts, seconds, forks = [], [], []
    try:
        wait_until_ready(server)
        for round in range(options.rounds):
            prompt = ids(options.prompt, 2 * round)
            firsts.append(server.start(prompt, ANSWER, "interactive").wait())
            longer = prompt + firsts[-1].tokens + ids(QUESTION, 1000 + round)[1:]
            seconds.append(server.start(longer, ANSWER, "interactive").wait())
            prompt = ids(options.prompt, 2 * round + 1)
            server.start(prompt, 1, "interactive").wait()
            forks += [request.wait() for request in [server.start(prompt, ANSWER, "interactive") for _ in range(FORKS)]]
    finally:
        server.stop()
    first, second = (1000 * statistics.median(a.first() for a in answers) for answers in (firsts, seconds))
    print(f"  first turn, {options.prompt} tokens  {first:9.1f} ms")
    print(f"  second turn             {second:9.1f} ms; {min(a.cached for a in seconds)} tokens or more not read")
    print(Bound("second turn relative to the first", second / first, WANTED).line())
    print(f"  {FORKS} answers at once      {min(a.cached for a in forks)} tokens or more of each prompt not read")
    return 0 if all(a.cached >= options.prompt - 64 for a in seconds + forks) else 1


if __name__ == "__main__":
    sys.exit(main())
