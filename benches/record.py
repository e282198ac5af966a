"""What the scripts that measure share: running a program, medians, records."""

import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
KINGLET = REPOSITORY / "target/release/kinglet"


def run(command):
    """The JSON that a command prints."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stderr}")
    return json.loads(result.stdout)


def bench(kinglet, size, threads, prompt, tokens, repeats, sparsity=0.5, bits=8):
    """What `kinglet bench --json` says of one official shape and thread count."""
    command = [kinglet, "bench", "--json", "--shape", f"rwkv7-{size}", "-t", threads]
    command += ["-p", prompt, "-n", tokens, "-r", repeats, "--ffn-sparsity", sparsity, "--bits", bits]
    (found,) = run(command)
    return found


def rotated(items, number):
    """The items from another start in each round: whoever comes first does not stay so."""
    items = list(items)
    shift = number % len(items)
    return items[shift:] + items[:shift]


def ratio(above, below):
    """Median, smallest and largest of paired ratios."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    return statistics.median(ratios), ratios[0], ratios[-1]


def save(name, rows):
    """Writes rows, which are dictionaries with the same keys, as a record."""
    path = REPOSITORY / "benches" / "record" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {path}", file=sys.stderr)


def executable(path):
    """The path, or the end of the program where nothing can be run there."""
    if not os.access(path, os.X_OK):
        sys.exit(f"{path} is not there: cargo build --release, or --kinglet PATH")
    return path
