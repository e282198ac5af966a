#!/usr/bin/env python3
"""Checks the machine code of the AVX-512 kernels, which Valgrind cannot run.

    python3 benches/assembly.py PROGRAM
    python3 benches/assembly.py PROGRAM --mca llvm-mca-16 znver4,sapphirerapids

The program holds the kernels, with symbols. What must be so:
- the dense and the sparse kernels, one for each type of weights, multiply with
  VPDPBUSD on 512-bit registers;
- no loop around a VPDPBUSD, of those without a loop inside, calls a function or
  may branch to a bounds check's panic;
- none of the project's functions has a fused multiply-add: its one rounding
  would give other bits than the scalar reference.
Needs objdump, nm and readelf of binutils.

With --mca and LLVM's llvm-mca (of version 16 or later, which knows Zen 4), it
prints instead what that tool computes for those loops on the named processors, as
CSV: instructions, VPDPBUSD on 512-bit registers, and cycles of one iteration when
every load hits the first cache. A loop is taken as straight code: its branches
fall through, except the last. The processors are models: the first lines, products
of registers alone, show how fast each is taken to multiply.
"""

import csv
import itertools
import re
import shlex
import subprocess
import sys

# Of a loop, so many that its start and end do not count.
ITERATIONS = 1000
KERNELS = ("Avx512Vnni::dense", "Avx512Vnni::sparse")
# Types of weights, for each of which the program has a kernel of the same name.
WEIGHT_TYPES = 2
PANIC = re.compile(r"core::(panicking|slice::index|option::expect|result::unwrap|option::unwrap)")
FUSED = re.compile(r"vfn?m(add|sub|addsub|subadd)[0-9]*[ps][sdh]")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(\S+) *(.*)$")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def functions(program):
    """Each function's name and its instructions: address, mnemonic, operands."""
    name, body = None, []
    for line in output("objdump", "-d", "-C", "--no-show-raw-insn", program).splitlines():
        if found := FUNCTION.match(line):
            if name:
                yield name, body
            name, body = found[1], []
        elif found := INSTRUCTION.match(line):
            body.append((int(found[1], 16), found[2], found[3]))
    if name:
        yield name, body


def callees(program):
    """Names by the address called: of functions, and of pointers to functions."""
    names = {}
    for line in output("nm", "-C", program).splitlines():
        address, _, rest = line.partition(" ")
        if address.strip():
            names[int(address, 16)] = rest[2:]
    for line in output("readelf", "-r", "-W", program).splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] == "R_X86_64_RELATIVE":
            names.setdefault(int(fields[0], 16), names.get(int(fields[3], 16), ""))
    return names


def target(mnemonic, operands):
    """The address that a jump or a call names, or nothing."""
    if mnemonic.startswith("j") and (found := re.match(r"([0-9a-f]+) <", operands)):
        return int(found[1], 16)
    if mnemonic == "call" and (found := re.match(r"([0-9a-f]+) <|.*# ([0-9a-f]+) ", operands)):
        return int(found[1] or found[2], 16)
    return None


def inner_loops(body):
    """Ranges of instructions that a jump back closes, without another inside."""
    at = {address: index for index, (address, _, _) in enumerate(body)}
    loops = []
    for index, (_, mnemonic, operands) in enumerate(body):
        start = at.get(target(mnemonic, operands)) if mnemonic.startswith("j") else None
        if start is not None and start <= index:
            loops.append((start, index))

    def holds_another(loop):
        return any(loop[0] <= a and b <= loop[1] and (a, b) != loop for a, b in loops)

    return at, [loop for loop in loops if not holds_another(loop)]


def panics(body, index, names):
    """Whether straight on from `index` lies a panic's call."""
    for _, mnemonic, operands in body[index:]:
        if mnemonic == "call":
            return bool(PANIC.search(names.get(target(mnemonic, operands), "")))
        if mnemonic.startswith(("j", "ret", "ud2")):
            return False
    return False


def products(body):
    """How often the instructions multiply with VPDPBUSD on 512-bit registers."""
    return sum(m.startswith("vpdpbusd") and "%zmm" in o for _, m, o in body)


def multiplying_loops(body):
    """Where each address lies in the body, and the inner loops with a VPDPBUSD."""
    at, loops = inner_loops(body)
    multiply = [
        (a, b) for a, b in loops if any(m.startswith("vpdpbusd") for _, m, _ in body[a : b + 1])
    ]
    return at, multiply


def check_kernel(name, body, names):
    """The number of loops that multiply, and what is wrong with them."""
    wrong = []
    if not products(body):
        wrong.append(f"{name}: no VPDPBUSD on 512-bit registers")
    at, multiply = multiplying_loops(body)
    if not multiply:
        wrong.append(f"{name}: no inner loop multiplies with VPDPBUSD")
    for a, b in multiply:
        for address, mnemonic, operands in body[a : b + 1]:
            to = target(mnemonic, operands)
            if mnemonic == "call":
                wrong.append(f"{name}: call of {names.get(to, '?')} in a loop, at {address:x}")
            elif mnemonic.startswith("j") and to in at and panics(body, at[to], names):
                wrong.append(f"{name}: bounds check in a loop, at {address:x}")
    return len(multiply), wrong


def assembler(body):
    """The instructions as text for an assembler: jumps go to labels."""
    lines = ["top:"]
    for _, mnemonic, operands in body:
        operands = operands.split("#")[0].strip()
        if mnemonic.startswith("j"):
            operands = "out"
        lines.append(f"{mnemonic} {operands}")
    # The jump that closes the loop.
    lines[-1] = f"{body[-1][1]} top"
    return "\n".join([*lines, "out:", ""])


def cycles(tool, processor, body):
    """Cycles of one iteration of a loop, by llvm-mca."""
    command = [tool, "-mtriple=x86_64", f"-mcpu={processor}", f"-iterations={ITERATIONS}"]
    result = subprocess.run(command, input=assembler(body), capture_output=True, text=True)
    found = re.search(r"Total Cycles: +([0-9]+)", result.stdout)
    if result.returncode != 0 or not found:
        sys.exit(f"{shlex.join(command)}\n{result.stderr}")
    return int(found[1]) / ITERATIONS


def alone():
    """As many products that do not wait for each other as hide their latency."""
    return [(0, "vpdpbusd", f"%zmm0,%zmm1,%zmm{n}") for n in range(2, 18)] + [(0, "jne", "0")]


def print_cycles(program, tool, processors):
    """Prints the table of cycles."""
    version = re.search(r"LLVM version \S+", output(tool, "--version"))
    print(f"# {version[0] if version else tool}; {output('rustc', '-V').strip()}")
    print("# cargo build --release -p kinglet-benches --example count")
    print(f"# python3 benches/assembly.py target/release/examples/count --mca {tool} {processors}")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["kernel", "loop", "processor", "instructions", "vpdpbusd", "cycles"])
    loops = [("registers alone", 1, alone())]
    numbers = {kernel: itertools.count(1) for kernel in KERNELS}
    for name, body in functions(program):
        for kernel in KERNELS:
            if name.endswith(kernel):
                found = zip(multiplying_loops(body)[1], numbers[kernel])
                loops += [(kernel, number, body[a : b + 1]) for (a, b), number in found]
    for kernel, number, loop in loops:
        for processor in processors.split(","):
            found = f"{cycles(tool, processor, loop):.2f}"
            table.writerow([kernel, number, processor, len(loop), products(loop), found])


def main():
    if len(sys.argv) == 5 and sys.argv[2] == "--mca":
        print_cycles(sys.argv[1], *sys.argv[3:])
        return
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = sys.argv[1]
    names = callees(program)
    if not any("panic_bounds_check" in name for name in names.values()):
        sys.exit("the program's panics are not found by their names: this check would see none")
    wrong, seen = [], dict.fromkeys(KERNELS, 0)
    for name, body in functions(program):
        if "kinglet" not in name:
            continue
        for address, mnemonic, _ in body:
            if FUSED.match(mnemonic):
                wrong.append(f"{name}: fused multiply-add {mnemonic}, at {address:x}")
        for kernel in KERNELS:
            if name.endswith(kernel):
                loops, found = check_kernel(name, body, names)
                wrong += found
                seen[kernel] += 1
                print(f"{kernel}: {len(body)} instructions, {loops} inner loops that multiply")
    for kernel, times in seen.items():
        if times != WEIGHT_TYPES:
            wrong.append(f"{kernel} is {times} times in the program instead of {WEIGHT_TYPES}")
    if wrong:
        # Loops may share instructions.
        sys.exit("\n".join(dict.fromkeys(wrong)))


if __name__ == "__main__":
    main()
