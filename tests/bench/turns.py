#!/usr/bin/env python3
"""Measures what the prefix cache saves: the second turn of a conversation, and several answers to one prompt.

    turns.py [--facet BIN_FOLDER] [--model FILE] [--prompt 4000] [--threads 2] [--rounds 3]

A conversation begins with a prompt of so many tokens and an answer of 32; its second turn is all of that and 32 tokens more. Then 8 requests
ask with one new prompt at once, after one that reads it. Shown are the times to the first token (milliseconds, medians) and how many tokens were
not read again. Timing decides nothing; exit code 1 if the cache was of no use.
"""
import argparse
import statistics
import sys
from pathlib import Path

from servers import Facet, default_facet, default_model, ids, wait_until_ready

ANSWER, QUESTION, FORKS = 32, 32, 8


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facet", type=Path, default=default_facet(), help="the folder of facetd and facet")
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--prompt", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def finished(request) -> dict:
    """tokens; first: seconds to the first; cached: tokens that were not read."""
    answer = {"tokens": [], "first": None}
    for event, seconds in request.events():
        if event["type"] == "token":
            answer["tokens"].append(event["id"])
            answer["first"] = answer["first"] or seconds
        else:
            answer["cached"] = event["usage"]["cached_tokens"]
    request.close()
    return answer


def main() -> int:
    options = parse_arguments()
    server = Facet(options.facet, options.model, options.threads)
    firsts, seconds, forks = [], [], []
    try:
        wait_until_ready(server)
        for round in range(options.rounds):
            prompt = ids(options.prompt, 2 * round)
            firsts.append(finished(server.request(prompt, ANSWER, "interactive")))
            longer = prompt + firsts[-1]["tokens"] + ids(QUESTION, 1000 + round)[1:]
            seconds.append(finished(server.request(longer, ANSWER, "interactive")))
            prompt = ids(options.prompt, 2 * round + 1)
            finished(server.request(prompt, 1, "interactive"))
            forks += [finished(r) for r in [server.request(prompt, ANSWER, "interactive") for _ in range(FORKS)]]
    finally:
        server.stop()
    first, second = (1000 * statistics.median(a["first"] for a in answers) for answers in (firsts, seconds))
    print(f"  first turn, {options.prompt} tokens  {first:9.1f} ms")
    print(f"  second turn             {second:9.1f} ms, {second / first:.3f} of the first; {min(a['cached'] for a in seconds)} tokens or more not read")
    print(f"  {FORKS} answers at once      {min(a['cached'] for a in forks)} tokens or more of each prompt not read")
    return 0 if all(a["cached"] >= options.prompt - 64 for a in seconds + forks) else 1


if __name__ == "__main__":
    sys.exit(main())
