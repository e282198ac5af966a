#!/usr/bin/env python3
"""Cycles per weight of the innermost loops of the products, as llvm-mca has them.

    targets/neon/mca.py PROGRAM > targets/neon/cycles.md

PROGRAM is the example `instructions` for AArch64. Needs aarch64-linux-gnu-objdump and
llvm-mca (Debian: binutils-aarch64-linux-gnu, llvm-22; older ones have one model for
all large cores). The environment variable LLVM_MCA names another.
"""

import os
import re
import subprocess
import sys

LLVM_MCA = os.environ.get("LLVM_MCA", "llvm-mca-22")
CPUS = ["cortex-a53", "cortex-a72", "cortex-a76", "cortex-a510", "neoverse-n1", "neoverse-n2",
        "neoverse-v1"]
# Weights times columns that an instruction is worth. `sdot` and `smmla` multiply the
# high and the low bytes of the activations one after the other.
WORTH = {"sdot": 8, "smmla": 16, "smlal": 4, "smlal2": 4, "mla": 4}
# Fewer are a remainder, not a loop that matters.
LEAST = 16
# What the CPU must have for an instruction, by llvm's names.
NEEDS = {"sdot": "+dotprod", "smmla": "+i8mm"}
LACKS = {"sdot": {"cortex-a53", "cortex-a72"},
         "smmla": {"cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1"}}

OURS = re.compile(r"kinglet_neon|instructions::")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*?)(?:\s*//.*)?$")
BRANCH = re.compile(r"b\..*|cbn?z|tbn?z")
TARGET = re.compile(r"([0-9a-f]+) <")


def functions(program):
    """Name and instructions (address, mnemonic, operands) of each function of ours."""
    text = subprocess.run(["aarch64-linux-gnu-objdump", "-dC", "--no-show-raw-insn", program],
                          check=True, text=True, stdout=subprocess.PIPE).stdout
    name, body = "", []
    for line in text.splitlines():
        if start := FUNCTION.match(line):
            if OURS.search(name):
                yield name, body
            name, body = start[1], []
        elif found := LINE.match(line):
            body.append((int(found[1], 16), found[2], found[3]))


def loops(body):
    """The innermost loops: from the target of a branch backwards to the branch."""
    found = []
    for end, (address, mnemonic, operands) in enumerate(body):
        target = TARGET.search(operands)
        if not target or not BRANCH.fullmatch(mnemonic):
            continue
        start = next((i for i in range(end + 1) if body[i][0] == int(target[1], 16)), None)
        if start is not None:
            found.append((start, end))
    for start, end in found:
        if not any(other != (start, end) and start <= other[0] and other[1] <= end
                   for other in found):
            yield body[start:end + 1]


def cycles(loop, cpu, features):
    """Cycles of one passage, by llvm-mca. The branch back is left out: it is predicted."""
    text = "".join(f"{mnemonic} {operands}\n" for _, mnemonic, operands in loop[:-1]
                   if not TARGET.search(operands))
    count = 1000
    done = subprocess.run([LLVM_MCA, "-mtriple=aarch64", f"-mcpu={cpu}", f"-mattr={features}",
                           f"-iterations={count}", "-instruction-info=0", "-resource-pressure=0"],
                          input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    total = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if not total:
        sys.exit(f"{LLVM_MCA}: {done.stderr}\n{text}")
    return int(total[1]) / count


def plain_name(name):
    """`<a::B as c::D>::product` as `B::product`, `a::b::product` as `b::product`."""
    implementor, _, method = name.removeprefix("<").partition(" as ")
    if method:
        return f"{implementor.rsplit('::', 1)[1]}::{method.rsplit('::', 1)[1]}"
    return "::".join(name.split("::")[-2:])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    version = subprocess.run([LLVM_MCA, "--version"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    print(f"Cycles per weight and column, {re.search(r'LLVM version [0-9.]+', version)[0]} "
          "(`targets/neon/mca.py`).\n"
          "Weights is how many times columns one passage of the loop multiplies.\n")
    print(f"| function | weights | {' | '.join(CPUS)} |")
    print(f"|---|--:|{'|'.join(['--:'] * len(CPUS))}|")
    for name, body in functions(sys.argv[1]):
        for loop in loops(body):
            used = [mnemonic for _, mnemonic, _ in loop if mnemonic in WORTH]
            weights = sum(WORTH[mnemonic] for mnemonic in used)
            if weights < LEAST:
                continue
            special = [mnemonic for mnemonic in NEEDS if mnemonic in used]
            lacking = set().union(*(LACKS[mnemonic] for mnemonic in special))
            features = ",".join(["+neon", *(NEEDS[mnemonic] for mnemonic in special)])
            row = [f"{cycles(loop, cpu, features) / weights:.3f}" if cpu not in lacking else ""
                   for cpu in CPUS]
            print(f"| `{plain_name(name)}` | {weights} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
