"""Counts what a grammar adds to a token, in instructions, with Valgrind.

    python3 benches/grammar.py [--kernel x86-64-avx2] > benches/record/grammar.csv

For each grammar of benches/examples/grammar.rs a text is drawn from logits of no model with the
World vocabulary, beginning with an empty cache of masks, and what masking its logits takes is
divided by its tokens; beside it stands a token of rwkv7-0.1b. Needs Valgrind and Rust.
"""

import argparse
import re
import subprocess
import sys
import tempfile

PROGRAM = "target/release/examples/grammar"


def counted(arguments, function):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}",
             f"--toggle-collect=grammar::{function}", PROGRAM, *arguments],
            check=True, stderr=subprocess.DEVNULL)
        text = open(out.name).read()
    return int(re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE).group(1))


def output(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", default="x86-64-avx2")
    arguments = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "kinglet-benches",
                    "--example", "grammar"], check=True)
    print(f"# {output('rustc', '-V').strip()}")
    print(f"# python3 benches/grammar.py --kernel {arguments.kernel}")
    token = counted(["token", arguments.kernel], "counted_token*")
    print("grammar,table_bytes,tokens,instructions_per_token,model_instructions_per_token,share")
    for name in output(PROGRAM, "list").split():
        tokens, table = map(int, output(PROGRAM, name, "tokens").split())
        each = counted([name], "counted") // tokens
        print(f"{name},{table},{tokens},{each},{token},{each / token:.4f}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
