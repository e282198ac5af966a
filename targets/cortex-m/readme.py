#!/usr/bin/env python3
"""Writes the table of cores in this folder's README.md from figures.csv.

    targets/cortex-m/readme.py            write it
    targets/cortex-m/readme.py --check    fail where it is not what figures.csv says
"""

import argparse
import csv
import pathlib
import sys

FIGURES = pathlib.Path(__file__).resolve().parent / "figures.csv"
README = FIGURES.parent / "README.md"

# Heading of a column in the README, and its name in figures.csv.
COLUMNS = {
    "core": "core",
    "model": "model_name",
    "state": "state_type",
    "flash": "code",
    "RAM": "ram",
    "stack": "stack",
    "instructions per token": "instructions",
    "of them recurrence": "recurrence",
    "per multiply-accumulate": "per_product",
}


# Models that the table shows.
MODELS = ("stories", "stories-q4")


def cell(value):
    """A figure as people read it: 2849534 as 2,849,534."""
    return f"{int(value):,}" if value.isdigit() else value or "not measured"


def table():
    """The lines of the table."""
    rule = "|".join(["---"] * 3 + ["--:"] * (len(COLUMNS) - 3))
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{rule}|"]
    with FIGURES.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["model_name"] not in MODELS:
                continue
            lines.append(f"| {' | '.join(cell(row[name]) for name in COLUMNS.values())} |")
    return lines


def current(lines, heading):
    """First and last line, exclusive, of the table that begins with `heading`."""
    starts = [i for i, line in enumerate(lines) if line == heading]
    if len(starts) != 1:
        sys.exit(f"{README.name}: expected one table that begins with \"{heading}\", "
                 f"found {len(starts)}")
    end = starts[0]
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return starts[0], end


def main():
    parser = argparse.ArgumentParser(description="The README's table of cores.")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    arguments = parser.parse_args()

    expected = table()
    lines = README.read_text().split("\n")
    start, end = current(lines, expected[0])
    if lines[start:end] == expected:
        return
    if arguments.check:
        shown = "\n".join(f"  {line}" for line in expected)
        sys.exit(f"{README.name}: the table of microcontrollers is not that of {FIGURES.name}:\n"
                 f"{shown}\nwrite it with targets/cortex-m/readme.py")
    lines[start:end] = expected
    README.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
