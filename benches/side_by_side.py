#!/usr/bin/env python3
"""Measures Kinglet beside llama.cpp on synthetic weights of the same shape.

    pip install llama-cpp-python==0.3.36 gguf numpy
    cargo build --release
    python3 benches/side_by_side.py --size 0.1b --threads 1,2

Both run in turn, again and again, in one call, and so do the numbers of threads:
on a shared machine the clock and the memory's bandwidth change within seconds, so
only measurements made next to each other can be compared. What counts is the
median of the paired ratios.

Each measurement is a process of its own, with the same work in both programs:
one pass over the prompt to warm up and 3 that count, of which the median is
taken, with the logits of the last token; then 8 steps to warm up and 3 times 43
that count, of which the median time is taken. The memory's read bandwidth is that
which Kinglet measures in between with as many threads; a program's share of it is
what its weights' bytes, read once a token, come to.

llama.cpp's files are made by its own quantizer from an F16 file, as users make
them: with Q4_0 it keeps the head in Q6_K where the width allows, and it leaves
the LoRA matrices as its converter writes them, F32 (decay) and F16 (the others).
Values of the weights do not change its speed; Kinglet's is measured with half of
the FFN activations zero, which is what random weights give.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from record import KINGLET, bench, executable, ratio, rotated, run, save

# Layers, width, ranks of decay, in-context learning rate, value residual, gate.
SHAPES = {
    "0.1b": (12, 768, 64, 64, 32, 128),
    "0.4b": (24, 1024, 64, 64, 32, 128),
    "1.5b": (24, 2048, 96, 96, 64, 256),
}
HEAD = 64
VOCAB = 65536
PROMPT = 512
# Tokens of a pass of decoding.
DECODE = 43
PASSES = 3
WARM_UP = 8


def token(i):
    """The i-th token of the input; any would do."""
    return 7919 * i % (VOCAB - 1) + 1


class Weights:
    """Writes random weights of one shape as GGUF in F16, matrix by matrix."""

    def __init__(self, path, seed=7):
        import gguf
        import numpy

        self.gguf = gguf
        self.random = numpy.random.default_rng(seed)
        self.writer = gguf.GGUFWriter(path, "rwkv7", use_temp_file=True)

    def vector(self, name, shape, mean=0.0, spread=0.1):
        data = self.random.standard_normal(shape, dtype="float32")
        data *= spread
        data += mean
        self.writer.add_tensor(name, data)

    def matrix(self, name, rows, inputs, dtype="float16"):
        data = self.random.standard_normal((rows, inputs), dtype="float32")
        data *= inputs**-0.5
        self.writer.add_tensor(name, data.astype(dtype))

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
        writer.add_file_type(self.gguf.LlamaFileType.MOSTLY_F16)
        writer.add_quantization_version(self.gguf.GGML_QUANT_VERSION)
        writer.add_tokenizer_model("rwkv")
        words = [f"<{i}>".encode() for i in range(VOCAB)]
        writer.add_token_list(words)
        writer.add_token_types([self.gguf.TokenType.NORMAL] * VOCAB)

    def attention(self, layer, shape):
        _, width, decay, rate, residual, gate = shape
        mix = f"blk.{layer}.time_mix_"
        self.vector(f"{mix}lerp_fused.weight", (6, 1, 1, width), mean=0.5)
        # Layer 0 does not use its v0, v1, v2, but the loader wants them, of this rank.
        residual = rate if layer == 0 else residual
        for letter, rank in (("w", decay), ("a", rate), ("v", residual), ("g", gate)):
            if letter != "g":
                self.vector(f"{mix}{letter}0.weight", width)
            dtype = "float32" if letter == "w" else "float16"
            self.matrix(f"{mix}{letter}1.weight", rank, width, dtype)
            self.matrix(f"{mix}{letter}2.weight", width, rank, dtype)
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


def quantize(source, target, quant):
    """Lets llama.cpp quantize a GGUF file, with its own rule for each tensor."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quant.upper()}")
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params)
    if code != 0:
        raise RuntimeError(f"llama.cpp does not quantize {source}: {code}")


def read_per_token(path):
    """Bytes of a GGUF file that decoding a token reads: all but the embedding's other rows."""
    import gguf

    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    embedding = tensors["token_embd.weight"].n_bytes
    total = sum(int(tensor.n_bytes) for tensor in tensors.values())
    return total - int(embedding) + int(embedding) // VOCAB


def head_type(path):
    """How a GGUF file stores the head."""
    import gguf

    tensors = gguf.GGUFReader(path).tensors
    return next(t.tensor_type.name for t in tensors if t.name == "output.weight")


class Llama:
    """llama.cpp with one model and one sequence."""

    def __init__(self, path, options):
        import llama_cpp

        self.api = llama_cpp
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        if not model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        params = llama_cpp.llama_context_default_params()
        steps = WARM_UP + options.passes * (options.tokens + 1)
        params.n_ctx = options.prompt + steps
        params.n_batch = params.n_ubatch = options.prompt
        params.n_threads = params.n_threads_batch = options.threads[0]
        self.context = llama_cpp.llama_init_from_model(model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp makes no context for {path}")
        self.batch = llama_cpp.llama_batch_init(options.prompt, 0, 1)
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

    def time(self, count):
        """Seconds that `count` tokens together take."""
        start = time.perf_counter()
        self.forward(count)
        return time.perf_counter() - start


def llama_once(options):
    """What the process that measures llama.cpp prints."""
    llama = Llama(options.llama_once, options)
    prompts = []
    for _ in range(1 + options.passes):
        llama.restart()
        prompts.append(llama.time(options.prompt))
    for _ in range(WARM_UP):
        llama.forward(1)
    steps = []
    for _ in range(options.passes):
        # As Kinglet does, which has measured the memory before.
        llama.forward(1)
        steps += [llama.time(1) for _ in range(options.tokens)]
    return {
        "prefill": options.prompt / statistics.median(prompts[1:]),
        "decode": 1 / statistics.median(steps),
    }


def measure_llama(path, threads, options):
    command = [sys.executable, __file__, "--llama-once", path, "--threads", threads]
    command += ["--prompt", options.prompt, "--tokens", options.tokens, "--passes", options.passes]
    return {"kernel": "", "bytes_per_token": read_per_token(path), **run(command)}


def program(bits):
    """The name of Kinglet with weights of so many bits in a record."""
    return "kinglet" if bits == 8 else f"kinglet {bits} bits"


def measure_kinglet(size, bits, threads, options):
    work = options.prompt, options.tokens, options.passes
    found = bench(options.kinglet, size, threads, *work, bits=bits)
    return {
        "kernel": found["kernel"],
        "bytes_per_token": found["bytes_per_token"],
        "machine_gbps": found["machine_gbps"],
        "prefill": found["prefill_tps"]["median"],
        "decode": 1e3 / found["ms_per_token"]["p50"],
    }


def one_round(options, models, size, threads, number):
    """What each program did in one round with one number of threads."""
    measures = {
        program(bits): lambda bits=bits: measure_kinglet(size, bits, threads, options)
        for bits in options.bits
    }
    for quant, path in models.items():
        name = f"llama.cpp {quant}"
        measures[name] = lambda path=path: measure_llama(path, threads, options)
    found = {name: measures[name]() for name in rotated(measures, number)}
    # Each reading is taken beside the program that is measured; the highest is the machine's.
    gbps = max(each["machine_gbps"] for each in found.values() if "machine_gbps" in each)
    for name in measures:
        for phase in ("decode", "prefill"):
            rate = found[name][phase]
            achieved = found[name]["bytes_per_token"] * rate / 1e9 if phase == "decode" else ""
            yield {
                "size": size,
                "threads": threads,
                "round": number,
                "program": name,
                "kernel": found[name]["kernel"],
                "phase": phase,
                "tokens_per_second": round(rate, 2),
                "achieved_gbps": achieved and round(achieved, 2),
                "machine_gbps": round(gbps, 2),
            }


def rounds(options, models, size):
    """Rows of the record: one for each round, number of threads, program and phase."""
    for number in range(options.rounds):
        for threads in rotated(options.threads, number):
            yield from one_round(options, models, size, threads, number)
        print(f"{size}: round {number + 1} of {options.rounds}", file=sys.stderr)


def share(rows):
    """The median share of the memory's bandwidth, as a percentage."""
    if rows[0]["phase"] != "decode":
        return ""
    return f"{statistics.median(r['achieved_gbps'] / r['machine_gbps'] for r in rows):.0%}"


def table(rows):
    """The medians and paired ratios as Markdown."""
    cases = {}
    for row in rows:
        key = row["size"], row["phase"], row["threads"]
        cases.setdefault(key, {}).setdefault(row["program"], []).append(row)
    lines = [
        "| model | phase | threads | program | tok/s | peer | peer tok/s | ratio | ratios "
        "| memory GB/s | share | peer's share |",
        "|---|---|--:|---|--:|---|--:|--:|---|--:|--:|--:|",
    ]

    def rates(rows):
        return [row["tokens_per_second"] for row in rows]

    for (size, phase, threads), programs in sorted(cases.items()):
        # Kinglet beside the others, and with fewer bits beside itself.
        own = [name for name in programs if name.startswith("kinglet")]
        pairs = [(name, peer) for i, name in enumerate(own) for peer in programs
                 if peer not in own[i:]]
        for name, peer in pairs:
            ours, theirs = programs[name], programs[peer]
            gbps = statistics.median(row["machine_gbps"] for row in ours)
            median, least, most = ratio(rates(ours), rates(theirs))
            lines.append(
                f"| {size} | {phase} | {threads} | {name} | {statistics.median(rates(ours)):.1f} | {peer} "
                f"| {statistics.median(rates(theirs)):.1f} | {median:.2f} | {least:.2f} to {most:.2f} "
                f"| {gbps:.1f} | {share(ours)} | {share(theirs)} |"
            )
    return "\n".join(lines)


def listed(text):
    return text.split(",")


def arguments():
    parser = argparse.ArgumentParser(description="Measures Kinglet beside llama.cpp.")
    parser.add_argument("--size", type=listed, default=["0.1b"], help=", ".join(SHAPES))
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--prompt", type=int, default=PROMPT, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=DECODE, help="tokens of a pass of decoding")
    parser.add_argument("--passes", type=int, default=PASSES, help="of prompt and of decoding")
    parser.add_argument("--quant", type=listed, default=["q8_0"], help="q8_0, q4_0")
    parser.add_argument("--bits", default="8", help="of Kinglet's weights: 8, 4")
    parser.add_argument("--kinglet", type=Path, default=KINGLET)
    parser.add_argument("--record", metavar="NAME", help="writes benches/record/NAME.csv")
    parser.add_argument("--models", type=Path, help="folder that keeps the GGUF files")
    parser.add_argument("--llama-once", type=Path, metavar="GGUF", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.threads = [int(count) for count in options.threads.split(",")]
    options.bits = [int(count) for count in options.bits.split(",")]
    if not set(options.bits) <= {8, 4}:
        parser.error(f"--bits {options.bits}: known are 8, 4")
    for size in options.size:
        if size not in SHAPES:
            parser.error(f"--size {size}: known are {', '.join(SHAPES)}")
    for quant in options.quant:
        if quant not in ("q8_0", "q4_0"):
            parser.error(f"--quant {quant}: known are q8_0, q4_0")
    for name in ("rounds", "prompt", "tokens", "passes"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    return options


def models_of(folder, size, quants):
    """The GGUF file of each quantization, written where it is not there yet."""
    source = folder / f"rwkv7-{size}-f16.gguf"
    paths = {quant: folder / f"rwkv7-{size}-{quant}.gguf" for quant in quants}
    for quant, path in paths.items():
        if not source.exists() and not path.exists():
            write(source, lambda part: Weights(part).write(size))
        if not path.exists():
            write(path, lambda part, quant=quant: quantize(source, part, quant))
        print(f"{path.name}: head in {head_type(path)}", file=sys.stderr)
    return paths


def write(path, make):
    """Lets `make` write a file, which is there only when it is whole."""
    print(f"writing {path}", file=sys.stderr)
    part = path.with_suffix(".part")
    make(part)
    part.rename(path)


def main():
    options = arguments()
    if options.llama_once:
        print(json.dumps(llama_once(options)))
        return
    executable(options.kinglet)
    rows = []
    with contextlib.ExitStack() as stack:
        folder = options.models or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for size in options.size:
            models = models_of(folder, size, options.quant)
            rows.extend(rounds(options, models, size))
    print(table(rows))
    if options.record:
        save(options.record, rows)


if __name__ == "__main__":
    main()
