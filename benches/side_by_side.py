#!/usr/bin/env python3
"""Measures Kinglet beside llama.cpp on synthetic weights of the same shape.

    pip install llama-cpp-python==0.3.36 gguf numpy
    cargo build --release
    python3 benches/side_by_side.py --size 0.1b --threads 1,2

Both run in turn, again and again, in one call: on a shared machine the clock
and the memory's bandwidth change within seconds, so only measurements made next
to each other can be compared. What counts is the median of the paired ratios.

llama.cpp runs in a process of its own for each measurement, as Kinglet does.
Its prefill takes 512 tokens with the logits of the last, its decode one token
at a time. Its LoRA matrices are F32 (decay) and F16 (the others), as its own
converter and quantizer leave them. Values of the weights do not change its
speed; Kinglet's is measured with half of the FFN activations zero, which is what
random weights give.
"""

import argparse
import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Layers, width, ranks of decay, in-context learning rate, value residual, gate.
SHAPES = {
    "0.1b": (12, 768, 64, 64, 32, 128),
    "0.4b": (24, 1024, 64, 64, 32, 128),
    "1.5b": (24, 2048, 96, 96, 64, 256),
}
HEAD = 64
VOCAB = 65536
PREFILL = 512
DECODE = 64
REPOSITORY = Path(__file__).resolve().parent.parent


def token(i):
    """The i-th token of the input; any would do."""
    return 7919 * i % (VOCAB - 1) + 1


class Weights:
    """Writes random weights of one shape as GGUF, matrix by matrix."""

    def __init__(self, path, quant, seed=7):
        import gguf
        import numpy

        self.gguf = gguf
        self.random = numpy.random.default_rng(seed)
        self.quant = gguf.GGMLQuantizationType[quant.upper()]
        self.writer = gguf.GGUFWriter(path, "rwkv7", use_temp_file=True)

    def vector(self, name, shape, mean=0.0, spread=0.1):
        data = self.random.standard_normal(shape, dtype="float32")
        data *= spread
        data += mean
        self.writer.add_tensor(name, data)

    def matrix(self, name, rows, inputs, quant=None):
        data = self.random.standard_normal((rows, inputs), dtype="float32")
        data *= inputs**-0.5
        quant = quant or self.quant
        if quant != self.gguf.GGMLQuantizationType.F32:
            data = self.gguf.quants.quantize(data, quant)
        self.writer.add_tensor(name, data, raw_dtype=quant)

    def norm(self, name, width):
        self.vector(f"{name}.weight", width, mean=1.0)
        self.vector(f"{name}.bias", width)

    def metadata(self, size, shape):
        layers, width, decay, rate, residual, gate = shape
        writer = self.writer
        writer.add_name(f"synthetic RWKV-7 {size}")
        writer.add_context_length(1 << 20)
        writer.add_embedding_length(width)
        writer.add_block_count(layers)
        writer.add_layer_norm_eps(1e-5)
        writer.add_wkv_head_size(HEAD)
        writer.add_decay_lora_rank(decay)
        writer.add_iclr_lora_rank(rate)
        writer.add_value_residual_mix_lora_rank(residual)
        writer.add_gate_lora_rank(gate)
        writer.add_feed_forward_length(4 * width)
        writer.add_head_count(0)
        writer.add_token_shift_count(2)
        writer.add_file_type(self.gguf.LlamaFileType[f"MOSTLY_{self.quant.name}"])
        writer.add_quantization_version(self.gguf.GGML_QUANT_VERSION)
        writer.add_tokenizer_model("rwkv")
        words = [f"<{i}>".encode() for i in range(VOCAB)]
        writer.add_token_list(words)
        writer.add_token_types([self.gguf.TokenType.NORMAL] * VOCAB)

    def attention(self, layer, shape):
        _, width, decay, rate, residual, gate = shape
        mix = f"blk.{layer}.time_mix_"
        types = self.gguf.GGMLQuantizationType
        self.vector(f"{mix}lerp_fused.weight", (6, 1, 1, width), mean=0.5)
        # Layer 0 does not use its v0, v1, v2, but the loader wants them, of this rank.
        residual = rate if layer == 0 else residual
        for letter, rank in (("w", decay), ("a", rate), ("v", residual), ("g", gate)):
            if letter != "g":
                self.vector(f"{mix}{letter}0.weight", width)
            quant = types.F32 if letter == "w" else types.F16
            self.matrix(f"{mix}{letter}1.weight", rank, width, quant)
            self.matrix(f"{mix}{letter}2.weight", width, rank, quant)
        self.vector(f"{mix}k_k.weight", width, mean=0.7)
        self.vector(f"{mix}k_a.weight", width, mean=1.0)
        self.vector(f"{mix}r_k.weight", width)
        for name in ("receptance", "key", "value", "output"):
            self.matrix(f"{mix}{name}.weight", width, width)
        self.norm(f"{mix}ln", width)

    def write(self, size):
        shape = SHAPES[size]
        layers, width = shape[:2]
        self.metadata(size, shape)
        self.matrix("token_embd.weight", VOCAB, width)
        self.norm("token_embd_norm", width)
        for layer in range(layers):
            self.norm(f"blk.{layer}.attn_norm", width)
            self.norm(f"blk.{layer}.attn_norm_2", width)
            self.attention(layer, shape)
            mix = f"blk.{layer}.channel_mix_"
            self.vector(f"{mix}lerp_k.weight", (1, 1, width), mean=0.5)
            self.matrix(f"{mix}key.weight", 4 * width, width)
            self.matrix(f"{mix}value.weight", width, 4 * width)
        self.norm("output_norm", width)
        self.matrix("output.weight", VOCAB, width)
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


class Llama:
    """llama.cpp with one model and one sequence."""

    def __init__(self, path, threads):
        import llama_cpp

        self.api = llama_cpp
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        if not model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = 2 * PREFILL + DECODE
        params.n_batch = params.n_ubatch = PREFILL
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp makes no context for {path}")
        self.batch = llama_cpp.llama_batch_init(PREFILL, 0, 1)
        self.position = 0

    def restart(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        self.position = 0

    def forward(self, count):
        """Computes `count` tokens and the logits of the last."""
        batch = self.batch
        batch.n_tokens = count
        for i in range(count):
            batch.token[i] = token(self.position + i)
            batch.pos[i] = self.position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i + 1 == count
        code = self.api.llama_decode(self.context, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode: {code}")
        self.position += count
        logits = self.api.llama_get_logits_ith(self.context, -1)
        if not -1e30 < logits[0] < 1e30:
            raise RuntimeError("llama.cpp's logits are not numbers")

    def rate(self, calls, count):
        """Tokens a second of `calls` calls of `count` tokens."""
        start = time.perf_counter()
        for _ in range(calls):
            self.forward(count)
        return calls * count / (time.perf_counter() - start)


def llama_once(path, threads):
    """What the process that measures llama.cpp prints."""
    llama = Llama(path, threads)
    # Pages and buffers are touched once before the clock runs.
    llama.forward(PREFILL)
    llama.restart()
    prefill = llama.rate(1, PREFILL)
    llama.forward(1)
    return {"prefill": prefill, "decode": llama.rate(DECODE, 1)}


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr}")
    return json.loads(result.stdout)


def measure_llama(path, threads):
    return run([sys.executable, __file__, "--llama-once", str(path), "--threads", str(threads)])


def measure_kinglet(program, size, threads):
    command = [str(program), "bench", "--shape", f"rwkv7-{size}", "-t", str(threads)]
    command += ["-p", str(PREFILL), "-n", str(DECODE), "-r", "1", "--ffn-sparsity", "0.5", "--json"]
    (found,) = run(command)
    return {
        "kernel": found["kernel"],
        "gbps": found.get("machine_gbps", ""),
        "prefill": found["prefill_tps"]["median"],
        "decode": found["decode_tps"]["median"],
    }


def rounds(options, models, size, threads):
    """Rows of the record: one for each round, what was measured, and program."""
    measures = {"kinglet": lambda: measure_kinglet(options.kinglet, size, threads)}
    for quant, path in models.items():
        measures[f"llama.cpp {quant}"] = lambda path=path: measure_llama(path, threads)
    names = list(measures)
    for number in range(options.rounds):
        # Whoever comes first in a round does not stay so.
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            found = measures[name]()
            for phase in ("decode", "prefill"):
                yield {
                    "size": size,
                    "threads": threads,
                    "round": number,
                    "program": name,
                    "kernel": found.get("kernel", ""),
                    "phase": phase,
                    "tokens_per_second": round(found[phase], 2),
                    "machine_gbps": found.get("gbps", ""),
                }
        print(f"{size}, {threads} thread(s): round {number + 1} of {options.rounds}", file=sys.stderr)


def table(rows):
    """The medians and paired ratios as Markdown."""
    runs = {}
    for row in rows:
        key = row["size"], row["phase"], row["threads"]
        runs.setdefault(key, {}).setdefault(row["program"], []).append(row["tokens_per_second"])
    lines = [
        "| model | phase | threads | Kinglet tok/s | peer | peer tok/s | ratio | ratios |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (size, phase, threads), programs in runs.items():
        ours = programs.pop("kinglet")
        for peer, theirs in programs.items():
            ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
            lines.append(
                f"| {size} | {phase} | {threads} | {statistics.median(ours):.1f} | {peer} "
                f"| {statistics.median(theirs):.1f} | {statistics.median(ratios):.2f} "
                f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |"
            )
    return "\n".join(lines)


def save(name, rows):
    path = REPOSITORY / "benches" / "record" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {path}", file=sys.stderr)


def listed(text):
    return text.split(",")


def arguments():
    parser = argparse.ArgumentParser(description="Measures Kinglet beside llama.cpp.")
    parser.add_argument("--size", type=listed, default=["0.1b"], help=", ".join(SHAPES))
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quant", type=listed, default=["q8_0"], help="q8_0, q4_0")
    parser.add_argument("--kinglet", type=Path, default=REPOSITORY / "target/release/kinglet")
    parser.add_argument("--record", metavar="NAME", help="writes benches/record/NAME.csv")
    parser.add_argument("--models", type=Path, help="folder that keeps the GGUF files")
    parser.add_argument("--llama-once", type=Path, metavar="GGUF", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.threads = [int(count) for count in options.threads.split(",")]
    for size in options.size:
        if size not in SHAPES:
            parser.error(f"--size {size}: known are {', '.join(SHAPES)}")
    for quant in options.quant:
        if quant not in ("q8_0", "q4_0"):
            parser.error(f"--quant {quant}: known are q8_0, q4_0")
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return options


def models_of(folder, size, quants):
    """The GGUF file of each quantization, written where it is not there yet."""
    paths = {}
    for quant in quants:
        path = folder / f"rwkv7-{size}-{quant}.gguf"
        if not path.exists():
            print(f"writing {path}", file=sys.stderr)
            part = path.with_suffix(".part")
            Weights(part, quant).write(size)
            part.rename(path)
        paths[quant] = path
    return paths


def main():
    options = arguments()
    if options.llama_once:
        print(json.dumps(llama_once(options.llama_once, options.threads[0])))
        return
    if not os.access(options.kinglet, os.X_OK):
        sys.exit(f"{options.kinglet} is not there: cargo build --release, or --kinglet PATH")
    rows = []
    with contextlib.ExitStack() as stack:
        folder = options.models or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for size in options.size:
            models = models_of(folder, size, options.quant)
            for threads in options.threads:
                rows.extend(rounds(options, models, size, threads))
    print(table(rows))
    if options.record:
        save(options.record, rows)


if __name__ == "__main__":
    main()
