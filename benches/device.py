#!/usr/bin/env python3
"""Checks and measures Kinglet on a GPU: what `.ci/cuda --device N` runs.

    python3 benches/device.py --device 0            everything; writes benches/record/cuda-*.csv
    python3 benches/device.py --device emulated     a rehearsal on the CPU; writes no record

In this order, each ending the script where it fails:

1. builds the program
2. `kinglet digest` of the model that ships and of models of eight and of four bits from every golden
   checkpoint, on the CPU and on the GPU: batches of 1, 7 and 64 tokens, states in f32 and f16, and
   half of the layers on the CPU
3. the tests of the crate on the GPU, the golden ones among them
4. compute-sanitizer, where it is installed: memcheck, racecheck, initcheck over those tests
5. speeds by `kinglet bench`: decode and prefill of the shapes with int8 and with int4, and 64 texts
   together
6. a peer on the same machine: llama.cpp with CUDA (a llama-cpp-python built with
   CMAKE_ARGS=-DGGML_CUDA=on), or else PyTorch's bf16 matrix-vector products over as many bytes as
   Kinglet reads for a token; none where neither is installed, which the record says

A line of the record is a figure. Bandwidths are those of copies within the GPU's memory, read and
written bytes together, which `kinglet bench` measures in between.
"""

import argparse
import contextlib
import datetime
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from record import KINGLET, REPOSITORY, run, save

GOLDEN = REPOSITORY / "tests/data/golden"
FIXTURES = ["v4", "v5_0", "v5_1", "v5_2", "v6", "v7", "v7a"]
# Of a weight.
BITS = [8, 4]
DIGEST = "5774c7a9"
SHAPES = ["rwkv7-0.1b", "rwkv7-1.5b", "rwkv7-7.2b"]
SANITIZERS = ["memcheck", "racecheck", "initcheck"]
# Texts that are generated together.
SEQUENCES = 64


def say(text):
    print(f"device: {text}", flush=True)


def call(command, **options):
    """Runs a command that must work; its standard output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, **options)
    if done.returncode != 0:
        sys.exit(f"device: FAILED: {' '.join(words)}\n{done.stdout}")
    return done.stdout


class Gpu:
    """The device by its name on Kinglet's command line."""

    def __init__(self, name):
        self.emulated = name == "emulated"
        self.index = None if self.emulated else int(name)
        self.option = name if self.emulated else f"cuda:{self.index}"
        # A rehearsal takes what the tests have built.
        self.profile = [] if self.emulated else ["--release"]
        self.features = ["--features", "cuda-emulation"] if self.emulated else []
        self.program = REPOSITORY / "target/debug/kinglet" if self.emulated else KINGLET
        self.environment = dict(os.environ)
        if not self.emulated:
            self.environment["KINGLET_CUDA_DEVICE"] = str(self.index)


def build(gpu):
    call(["cargo", "build", *gpu.profile, "--locked", "-q", "-p", "kinglet-cli", *gpu.features])
    say("the program is built")


def layers_of(gpu, file):
    return run([gpu.program, "info", "--json", "-m", file])["layers"]


def digests(gpu):
    """Compares the digest of every fixture in every way; how many there were."""
    found = call([gpu.program, "digest", "--device", gpu.option]).strip()
    if found != DIGEST:
        sys.exit(f"device: FAILED: digest {found} on {gpu.option}, expected {DIGEST}")
    checked = 1
    with tempfile.TemporaryDirectory() as folder:
        for fixture, bits in itertools.product(FIXTURES, BITS):
            file = Path(folder) / f"{fixture}-{bits}.kinglet"
            checkpoint = GOLDEN / fixture / "model.pth"
            call([gpu.program, "quantize", checkpoint, "-o", file, "--bits", bits],
                 stderr=subprocess.DEVNULL)
            half = layers_of(gpu, file) // 2
            # RWKV-4 has no states in f16; a rehearsal is shorter without them.
            only_f32 = fixture == "v4" or (gpu.emulated and bits == 4)
            states = ["f32"] if only_f32 else ["f32", "f16"]
            for state in states:
                same = ["digest", "-m", file, "--state-type", state]
                expected = call([gpu.program, *same])
                for how in (["--batch", 1], ["--batch", 7], ["--batch", 64],
                            ["--batch", 7, "--restore"], ["--device-layers", half]):
                    found = call([gpu.program, *same, "--device", gpu.option, *how])
                    if found != expected:
                        sys.exit(f"device: FAILED: {fixture}, {bits} bits, {state} states, {how}: "
                                 f"digest {found.strip()}, the CPU's is {expected.strip()}")
                    checked += 1
    say(f"{checked} digests are the CPU's")
    return checked


def test_command(gpu):
    return ["cargo", "test", *gpu.profile, "--locked", "-q", "-p", "kinglet-cuda",
            "--features", "emulation", "--test", "same_bits"]


def tests(gpu):
    """The crate's tests, on the GPU where there is one. A rehearsal takes the shortest."""
    only = ["--", "wrong_batches", "values_that"] if gpu.emulated else []
    call([*test_command(gpu), *only], env=gpu.environment)
    say("the tests hold")


def test_program(gpu):
    """The path of the compiled tests."""
    command = [*test_command(gpu), "--no-run", "--message-format", "json"]
    lines = call(command, env=gpu.environment).splitlines()
    programs = [json.loads(line).get("executable") for line in lines if line.startswith("{")]
    return next(path for path in programs if path and "same_bits" in path)


def sanitize(gpu):
    """Runs the tests under each tool of compute-sanitizer; what became of it, by the tool."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if gpu.emulated or not os.access(tool, os.X_OK):
        say("compute-sanitizer: not run, it is not installed or there is no GPU")
        return dict.fromkeys(SANITIZERS, "not run")
    program = test_program(gpu)
    for name in SANITIZERS:
        call([tool, "--tool", name, "--error-exitcode", 1, program, "--test-threads", 1],
             env=gpu.environment)
        say(f"compute-sanitizer {name}: clean")
    return dict.fromkeys(SANITIZERS, "clean")


def bench(gpu, shape, bits, *options):
    """What `kinglet bench --json` says."""
    model = ["--shape", shape, "--bits", bits] if shape else []
    command = [gpu.program, "bench", "--json", "--device", gpu.option, *model, *options]
    (found,) = run(command)
    return found


def figures(gpu, shapes):
    """Rows of the record: Kinglet's speeds."""
    quick = ["-p", 20, "-n", 2, "-r", 1] if gpu.emulated else ["-p", 4096, "-n", 128, "-r", 5]
    sequences = 3 if gpu.emulated else SEQUENCES
    for shape, bits in itertools.product(shapes, BITS):
        if not shape and bits != 8:
            continue
        one = bench(gpu, shape, bits, *quick)
        many = bench(gpu, shape, bits, *quick, "--sequences", sequences)
        name = shape or "built-in"
        name = name if bits == 8 else f"{name} int{bits}"
        yield "kinglet", name, "decode tokens/s", one["decode_tps"]["median"]
        yield "kinglet", name, "bytes per token", one["bytes_per_token"]
        yield "kinglet", name, "GB/s of decode", one["achieved_gbps"]
        yield "kinglet", name, "GB/s of copies", one["machine_gbps"]
        yield "kinglet", name, "share of the copies' bandwidth", one["bandwidth_ratio"]
        yield "kinglet", name, f"decode tokens/s, {sequences} texts together", many["decode_tps"]["median"]
        ratio = many["decode_tps"]["median"] / one["decode_tps"]["median"]
        yield "kinglet", name, f"{sequences} texts beside one", ratio
        prefill = one["prefill_tps"]["median"]
        yield "kinglet", name, "prefill tokens/s", prefill
        yield "kinglet", name, "seconds of a prompt of 4096", 4096 / prefill
        say(f"{name}: {one['decode_tps']['median']:.1f} tokens/s on {one['device']}")


def llama(shapes):
    """llama.cpp's speeds on the GPU, with Q8_0 weights of the same shapes."""
    try:
        import llama_cpp
    except ImportError:
        return None
    if not llama_cpp.llama_supports_gpu_offload():
        say("llama-cpp-python is here without CUDA")
        return None
    from side_by_side import SHAPES as KNOWN
    from side_by_side import DECODE, PASSES, PROMPT, measure_llama, models_of

    rows = []
    options = argparse.Namespace(prompt=PROMPT, tokens=DECODE, passes=PASSES)
    with tempfile.TemporaryDirectory() as folder:
        for shape in shapes:
            size = shape.removeprefix("rwkv7-")
            if size not in KNOWN:
                continue
            (path,) = models_of(Path(folder), size, ["q8_0"]).values()
            found = measure_llama(path, 1, options)
            rows += [("llama.cpp q8_0", shape, "decode tokens/s", found["decode"]),
                     ("llama.cpp q8_0", shape, "prefill tokens/s", found["prefill"])]
    return rows


def torch(gpu, read):
    """Seconds that PyTorch takes for bf16 matrix-vector products over as many bytes; `read` has the
    bytes of a token by shape."""
    with contextlib.suppress(ImportError):
        import torch

        if not torch.cuda.is_available():
            return None
        rows, torch_device = [], torch.device("cuda", gpu.index)
        for shape, count in read.items():
            width = 4096
            height = max(1, count // (2 * width))
            matrix = torch.randn(height, width, dtype=torch.bfloat16, device=torch_device)
            vector = torch.randn(width, dtype=torch.bfloat16, device=torch_device)
            for _ in range(5):
                matrix @ vector
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(50):
                matrix @ vector
            end.record()
            torch.cuda.synchronize(torch_device)
            seconds = start.elapsed_time(end) / 50 / 1e3
            rows += [("torch bf16", shape, "seconds for the bytes of a token", seconds),
                     ("torch bf16", shape, "GB/s", 2 * height * width / seconds / 1e9)]
        return rows
    return None


def peer(gpu, shapes, rows):
    """Rows of a peer, or one that says that there was none."""
    read = {shape: int(value) for program, shape, figure, value in rows if figure == "bytes per token"}
    found = None if gpu.emulated else llama(shapes) or torch(gpu, read)
    if not found:
        say("no peer: neither llama.cpp with CUDA nor PyTorch with CUDA is here")
        return [("none", "", "no peer was installed", 0)]
    return found


def about(gpu):
    """What the figures are of."""
    name = bench(gpu, None, 8, "-p", 1, "-n", 1, "-r", 1)["device"]
    commit = call(["git", "rev-parse", "--short", "HEAD"]).strip()
    driver = ""
    with contextlib.suppress(OSError):
        smi = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", f"--id={gpu.index}"]
        driver = subprocess.run(smi, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    return {"device": name, "driver": driver, "machine": platform.machine(), "commit": commit,
            "date": datetime.date.today().isoformat()}


def main():
    parser = argparse.ArgumentParser(description="Checks and measures Kinglet on a GPU.")
    parser.add_argument("--device", required=True, help="the index of a GPU, or `emulated`")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="shapes of `kinglet bench`")
    options = parser.parse_args()
    if options.device != "emulated" and not options.device.isdecimal():
        parser.error(f"--device {options.device}: an index such as 0, or `emulated`")
    gpu = Gpu(options.device)
    # The model that ships stands for the shapes in a rehearsal.
    shapes = [None] if gpu.emulated else options.shapes.split(",")

    build(gpu)
    facts = about(gpu)
    checked = digests(gpu)
    tests(gpu)
    rows = [("kinglet", "", "digests that are the CPU's", checked)]
    rows += [("compute-sanitizer", "", tool, result) for tool, result in sanitize(gpu).items()]
    rows += list(figures(gpu, shapes))
    rows += peer(gpu, shapes, rows)
    keys = ["program", "model", "figure", "value"]
    records = [dict(zip(keys, row, strict=True)) | facts for row in rows]
    for record in records:
        value = record["value"]
        record["value"] = f"{value:.6g}" if isinstance(value, float) else value
        print(f"{record['program']:18} {record['model']:16} {record['figure']:45} {record['value']}")
    if gpu.emulated:
        say("a rehearsal: no record is written")
        return
    save("cuda-" + re.sub(r"[^a-z0-9]+", "-", facts["device"].lower()).strip("-"), records)


if __name__ == "__main__":
    main()
