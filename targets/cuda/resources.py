#!/usr/bin/env python3
"""The table of what each kernel takes on each chip, from the log of `nvcc -Xptxas -v`.

    resources.py LOG > resources.csv

A row is a kernel, a column a chip: registers of a thread, and where there are any `+N` bytes that
are spilled from registers to memory. The column `shared` has the bytes of shared memory of a block.
"""
import re
import sys

kernels, chips, shared = {}, [], {}
name = chip = spill = None
with open(sys.argv[1], encoding="utf-8") as log:
    for line in log:
        if found := re.search(r"Compiling entry function '(\w+)' for 'sm_(\d+)'", line):
            name, chip, spill = found[1], int(found[2]), 0
            if chip not in chips:
                chips.append(chip)
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spill = int(found[1]) + int(found[2])
        elif name and (found := re.search(r"Used (\d+) registers", line)):
            kernels.setdefault(name, {})[chip] = found[1] + (f"+{spill}" if spill else "")
            if found := re.search(r"(\d+) bytes smem", line):
                shared[name] = max(shared.get(name, 0), int(found[1]))
            name = None
if not kernels:
    sys.exit(f"{sys.argv[1]}: no kernel")
chips.sort()
print("kernel,shared," + ",".join(f"sm_{chip}" for chip in chips))
for name in sorted(kernels):
    print(f"{name},{shared.get(name, 0)}," + ",".join(kernels[name][chip] for chip in chips))
