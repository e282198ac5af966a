#!/usr/bin/env python3
"""Measures Kinglet against itself, in turn, so that only ratios of neighbours count.

    cargo build --release
    python3 benches/measure.py load --size 0.1b
    python3 benches/measure.py sparsity --size 1.5b --threads 1,2
    python3 benches/measure.py start --model MODEL.kinglet

load      decode beside busy processes: two threads should be no slower than one
          there, and keep 35 % of what they do on an idle machine.
sparsity  decode with 87 %, 50 % and none of the channel mix's activations zero:
          87 % should be 1.09 and 1.25 times as fast.
start     from the start of the program to its end with the model opened and looked at, which
          is more than its start-up: a file of any size should take less than 50 ms.
          `cargo run --release -p kinglet-benches --example synthetic -- rwkv7-1.5b FILE`
          makes a large file.

Each prints medians over all rounds, with the smallest and largest ratio of one
round; --record NAME writes every measurement to benches/record/NAME.csv. A machine
that does something else meanwhile spoils the figures of `load` above all.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from pathlib import Path

from record import KINGLET, bench, executable, ratio, rotated, save

SIZES = ("0.1b", "0.4b", "1.5b", "2.9b")
# Repeats of decode within a process: its rate is their median.
REPEATS = 3
# Seconds until the scheduler has spread the busy processes.
SETTLE = 0.2
SPARSITIES = (0.87, 0.5, 0.0)


@contextlib.contextmanager
def busy(count):
    """Runs `count` processes that compute without end meanwhile."""
    loop = [sys.executable, "-c", "while True: pass"]
    processes = []
    try:
        processes += [subprocess.Popen(loop) for _ in range(count)]
        if count:
            time.sleep(SETTLE)
        yield
        ended = [process.pid for process in processes if process.poll() is not None]
        if ended:
            sys.exit(f"the busy processes {ended} ended while they were needed")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def decode(options, threads, sparsity=0.5):
    """Columns of the record that every measurement of decode has."""
    # Not the median of single tokens: that would hide the ones that had to wait.
    found = bench(options.kinglet, options.size, threads, 1, options.tokens, REPEATS, sparsity)
    return {
        "size": options.size,
        "threads": threads,
        "kernel": found["kernel"],
        "ffn_sparsity": round(found["ffn_sparsity"], 3),
        "tokens_per_second": round(found["decode_tps"]["median"], 2),
        "machine_gbps": round(found["machine_gbps"], 2),
    }


def progress(options, number):
    print(f"round {number + 1} of {options.rounds}", file=sys.stderr)


def load(options):
    """Rows of the record: a round is idle, and loaded with one thread and with all."""
    most = max(options.threads)
    cases = [(0, most), (options.busy, 1), (options.busy, most)]
    rows = []
    for number in range(options.rounds):
        for processes, threads in rotated(cases, number):
            with busy(processes):
                found = decode(options, threads)
            rows.append({"round": number, "busy_processes": processes, **found})
        progress(options, number)
    idle, one, all_of_them = (
        rates(rows, busy_processes=processes, threads=threads) for processes, threads in cases
    )
    print(f"{options.size}, decode, tokens/s: medians of {options.rounds} rounds")
    print(f"  {most} threads, idle machine        {statistics.median(idle):8.1f}")
    print(f"  1 thread beside {options.busy} processes   {statistics.median(one):8.1f}")
    print(f"  {most} threads beside {options.busy} processes  {statistics.median(all_of_them):8.1f}")
    print_ratio(f"{most} threads : 1 thread, both beside the load", all_of_them, one)
    print_ratio(f"{most} threads beside the load : idle", all_of_them, idle)
    return rows


def sparsity(options):
    """Rows of the record: a round is every share of zeros with every thread count."""
    rows = []
    for number in range(options.rounds):
        for threads in rotated(options.threads, number):
            for share in rotated(SPARSITIES, number):
                found = decode(options, threads, share)
                rows.append({"round": number, "asked_sparsity": share, **found})
        progress(options, number)
    for threads in options.threads:
        found = {s: rates(rows, asked_sparsity=s, threads=threads) for s in SPARSITIES}
        print(f"{options.size}, {threads} thread(s), decode, tokens/s: medians of {options.rounds} rounds")
        for share, values in found.items():
            print(f"  {share:4.0%} zeros {statistics.median(values):8.2f}")
        most, *others = SPARSITIES
        for share in others:
            print_ratio(f"{most:.0%} : {share:.0%}", found[most], found[share])
    return rows


def start(options):
    """Rows of the record: a round starts the program with each file, and without one."""
    opened = [options.kinglet, "info"]
    cases = {"no model": [options.kinglet, "--version"], "built in": opened}
    for path in options.model:
        cases[f"{path.name}, {path.stat().st_size / 1e6:.1f} MB"] = [*opened, "-m", path]
    rows = []
    for number in range(options.rounds):
        for name, command in rotated(cases.items(), number):
            before = time.perf_counter()
            subprocess.run([str(word) for word in command], check=True, capture_output=True)
            milliseconds = 1e3 * (time.perf_counter() - before)
            rows.append({"round": number, "model": name, "milliseconds": round(milliseconds, 2)})
    print(f"start and end of the program, ms: median of {options.rounds} rounds, smallest, largest")
    for name in cases:
        values = sorted(row["milliseconds"] for row in rows if row["model"] == name)
        print(f"  {name}: {statistics.median(values):.1f}, {values[0]:.1f}, {values[-1]:.1f}")
    return rows


def rates(rows, **wanted):
    """The rates of one case, a round after the other."""
    chosen = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return [row["tokens_per_second"] for row in sorted(chosen, key=lambda row: row["round"])]


def print_ratio(what, above, below):
    median, least, most = ratio(above, below)
    print(f"  {what}: {median:.3f} ({least:.3f} to {most:.3f})")


def threads(text):
    counts = [int(count) for count in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("a number of threads is 1 or more")
    return counts


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def arguments():
    parser = argparse.ArgumentParser(description="Measures Kinglet against itself.")
    parser.set_defaults(size="")
    commands = parser.add_subparsers(required=True, metavar="load|sparsity|start")
    for measure, size in ((load, "0.1b"), (sparsity, "1.5b"), (start, None)):
        command = commands.add_parser(measure.__name__, help=measure.__doc__)
        command.set_defaults(measure=measure)
        command.add_argument("--threads", type=threads, default=[2], help="such as 1,2")
        command.add_argument("--rounds", type=positive, default=9)
        command.add_argument("--kinglet", type=Path, default=KINGLET)
        command.add_argument("--record", metavar="NAME", help="writes benches/record/NAME.csv")
        if size:
            command.add_argument("--size", default=size, choices=SIZES)
            command.add_argument("--tokens", type=positive, default=64, help="of a repeat")
        if measure is load:
            command.add_argument("--busy", type=positive, default=2, help="processes of the load")
        if measure is start:
            command.add_argument("--model", type=Path, action="append", default=[])
    options = parser.parse_args()
    executable(options.kinglet)
    if options.measure is load and max(options.threads) < 2:
        parser.error("--threads must name 2 or more: they are compared with 1")
    return options


def main():
    options = arguments()
    rows = options.measure(options)
    if options.record:
        save(options.record, rows)


if __name__ == "__main__":
    main()
