#!/usr/bin/env python3
"""Trains a small RWKV-7 on text of your own, to an official checkpoint that `kinglet quantize` reads.

    train.py TEXT... -o NAME        writes NAME.pth and NAME.vocab.txt

A TEXT is plain text, whose documents are divided by lines `<|endoftext|>` if it has any; or, if its
name ends in .jsonl, a line {"input": ..., "output": ...} for each example, of which the output
alone is learnt. Needs the packages torch, numpy and tokenizers. README.md has the way from here to
a microcontroller.
"""

import argparse
import ast
import json
import math
import sys
import time
from pathlib import Path

import numpy
import torch
from torch.nn import functional as F

from model import Model, Shape

END = "<|endoftext|>"
IGNORED = -100  # what cross_entropy leaves out


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("text", nargs="+", type=Path, help=".txt, or .jsonl with input and output")
    add("-o", "--output", required=True, type=Path, help="NAME of NAME.pth and NAME.vocab.txt")
    add("--minutes", type=float, help="how long to train")
    add("--tokens", type=float, help="tokens to train on, such as 25e6; 10 epochs if neither")
    add("--vocab", type=Path, help="vocabulary in RWKV text form, instead of one made of the text")
    add("--vocabulary", type=int, default=1024, help="ids, at least 257")
    add("--width", type=int, default=128)
    add("--layers", type=int, default=6)
    add("--head", type=int, default=64, help="channels of a head")
    add("--ranks", type=int, default=32)
    add("--context", type=int, default=256, help="most tokens of a row")
    add("--batch", type=int, default=16, help="rows of a step")
    add("--rate", type=float, default=2.5e-3, help="peak of the learning rate")
    add("--held-out", type=float, default=0.02, help="share of the documents that measures")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--bf16", action="store_true", help="products in bf16, where the machine is fast at it")
    add("--resume", action="store_true", help="go on where NAME.training was left")
    return parser.parse_args()


# Documents: (bytes that are given, bytes that are learnt).
def documents(path: Path) -> list[tuple[bytes, bytes]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".jsonl":
        return [(b"", part.strip().encode()) for part in text.split(END) if part.strip()]
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            example = json.loads(line)
            pairs.append((f"{example['input']}\n".encode(), str(example["output"]).encode()))
        except (ValueError, KeyError, TypeError) as error:
            sys.exit(f"{path}:{number}: expected {{\"input\": ..., \"output\": ...}}: {error!r}")
    return pairs


# Vocabulary: ids 1 to 256 are the bytes, 0 ends a text.
def make_vocabulary(texts: list[tuple[bytes, bytes]], size: int) -> dict[int, bytes]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if size < 257:
        sys.exit(f"a vocabulary of {size} ids has no place for the 256 bytes: at least 257")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size - 1, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator((part.decode() for pair in texts for part in pair if part), trainer)
    # Byte-level BPE writes bytes as characters: printable ones as they are, others from 256 on.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    byte_of = {chr(byte): byte for byte in plain} | {chr(256 + i): b for i, b in enumerate(others)}
    ranked = sorted(bpe.get_vocab().items(), key=lambda item: item[1])
    strings = [bytes(byte_of[character] for character in token) for token, _ in ranked]
    longer = [string for string in strings if len(string) > 1]
    return dict(enumerate([*(bytes([byte]) for byte in range(256)), *longer], 1))


def read_vocabulary(path: Path) -> dict[int, bytes]:
    vocabulary = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        number, rest = line.split(" ", 1)
        string = ast.literal_eval(rest.rsplit(" ", 1)[0])
        vocabulary[int(number)] = string if isinstance(string, bytes) else string.encode()
    return vocabulary


def write_vocabulary(vocabulary: dict[int, bytes], path: Path):
    def literal(string: bytes) -> str:
        try:
            return repr(string.decode())
        except UnicodeDecodeError:
            return repr(string)

    lines = (f"{i} {literal(string)} {len(string)}\n" for i, string in vocabulary.items())
    path.write_text("".join(lines), encoding="utf-8")


def encoder(vocabulary: dict[int, bytes]):
    """Greedy longest match, as RWKV's World tokenizer."""
    ids, longest = {s: i for i, s in vocabulary.items()}, max(map(len, vocabulary.values()))

    def encode(text: bytes) -> list[int]:
        tokens, at = [], 0
        while at < len(text):
            for end in range(min(at + longest, len(text)), at, -1):
                if (token := ids.get(text[at:end])) is not None:
                    break
            else:
                sys.exit(f"the vocabulary has no token for the byte {text[at]:#04x}")
            tokens.append(token)
            at = end
        return tokens

    return encode


# Rows: tokens and, for each, what comes next (IGNORED where it is not learnt).
def rows(texts, encode, context: int) -> list[tuple[list[int], list[int]]]:
    """Examples are a row each. Plain text is one stream, cut into rows, so that none is short."""
    stream, made = [], []
    for given, learnt in texts:
        given, learnt = [0, *encode(given)], [*encode(learnt), 0]
        if len(given) == 1:
            stream += [0, *learnt[:-1]]
            continue
        tokens = given + learnt
        nexts = [IGNORED] * (len(given) - 1) + learnt
        made.append((tokens[:-1][:context], nexts[:context]))
    stream.append(0)
    for start in range(0, len(stream) - 1, context):
        piece = stream[start : start + context + 1]
        made.append((piece[:-1], piece[1:]))
    return made


def batches(made, size: int, generator: numpy.random.Generator | None):
    """Rows of about the same length together, in random order; in their own order without one."""
    order = numpy.arange(len(made)) if generator is None else generator.permutation(len(made))
    order = sorted(order, key=lambda row: len(made[row][0]) // 16)
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    if generator is not None:
        generator.shuffle(groups)
    for group in groups:
        longest = max(len(made[row][0]) for row in group)
        tokens = numpy.zeros((len(group), longest), dtype=numpy.int64)
        nexts = numpy.full((len(group), longest), IGNORED, dtype=numpy.int64)
        for at, row in enumerate(group):
            tokens[at, : len(made[row][0])], nexts[at, : len(made[row][1])] = made[row]
        yield torch.from_numpy(tokens), torch.from_numpy(nexts)


class Run:
    """A training under way."""

    def __init__(self, args, shape: Shape):
        torch.manual_seed(args.seed)
        self.args, self.model = args, Model(shape).to(args.device)
        # Weight decay on matrices alone: vectors and small ranks are what shapes the state.
        decayed = [p for name, p in self.model.named_parameters() if name.endswith(".weight") and p.ndim == 2]
        others = [p for p in self.model.parameters() if all(p is not q for q in decayed)]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.99), eps=1e-12)
        self.epoch = self.step = self.tokens = 0
        self.seconds = 0.0

    def loss(self, tokens, nexts, reduction="mean"):
        device = self.args.device
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.args.bf16):
            logits = self.model(tokens.to(device))
        return F.cross_entropy(
            logits.float().flatten(0, 1), nexts.to(device).flatten(), ignore_index=IGNORED, reduction=reduction
        )

    def share(self, total: float) -> float:
        spent = self.seconds / 60 / self.args.minutes if self.args.minutes else self.tokens / total
        return min(spent, 1.0)

    def learn(self, tokens, nexts, total: float) -> float:
        # A short climb, then half a cosine down to a twentieth.
        share = self.share(total)
        scale = min((self.step + 1) / 50, 0.525 + 0.475 * math.cos(math.pi * share))
        for group in self.optimizer.param_groups:
            group["lr"] = self.args.rate * scale
        started = time.monotonic()
        loss = self.loss(tokens, nexts)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        loss = loss.item()
        self.seconds += time.monotonic() - started
        self.step, self.tokens = self.step + 1, self.tokens + tokens.numel()
        return loss

    @torch.no_grad()
    def measure(self, made) -> float:
        """Nats per token."""
        total = count = 0
        for tokens, nexts in batches(made, self.args.batch, None):
            total += self.loss(tokens, nexts, "sum").item()
            count += (nexts != IGNORED).sum().item()
        return total / max(count, 1)

    def save(self, path: Path, arguments: dict):
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {name: getattr(self, name) for name in ("epoch", "step", "tokens", "seconds")}
        torch.save(state | {"arguments": arguments}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path, arguments: dict):
        state = torch.load(path, map_location=self.args.device, weights_only=True)
        if state["arguments"] != arguments:
            sys.exit(f"{path} was begun with {state['arguments']}, not with {arguments}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("epoch", "step", "tokens", "seconds"):
            setattr(self, name, state[name])


def main():
    args = options()
    name = lambda suffix: args.output.with_name(args.output.name + suffix)
    texts = [pair for path in args.text for pair in documents(path)]
    generator = numpy.random.default_rng(args.seed)
    generator.shuffle(texts)
    held = max(1, round(len(texts) * args.held_out))
    if len(texts) <= held:
        sys.exit(f"{len(texts)} documents are too few: some train, {held} measure")
    known = args.vocab or (name(".vocab.txt") if args.resume else None)
    vocabulary = read_vocabulary(known) if known else make_vocabulary(texts[held:], args.vocabulary)
    write_vocabulary(vocabulary, name(".vocab.txt"))
    encode, size = encoder(vocabulary), max(vocabulary) + 1
    measured, trained = (rows(part, encode, args.context) for part in (texts[:held], texts[held:]))
    shape = Shape(size, args.width, args.layers, args.head, args.ranks)
    # What has to be the same for a training to go on.
    arguments = {**vars(shape), **{key: getattr(args, key) for key in ("seed", "context", "batch", "rate")}}
    run = Run(args, shape)
    if args.resume:
        run.load(name(".training"), arguments)
    epoch_tokens = sum(len(tokens) for tokens, _ in trained)
    total = args.tokens or 10 * epoch_tokens
    parameters = sum(p.numel() for p in run.model.parameters())
    print(
        f"{parameters:,} parameters, {size} ids; {len(trained):,} rows of {epoch_tokens:,} tokens to "
        f"train on, {len(measured):,} held out; seed {args.seed}, {args.device}"
    )
    told, mean = time.monotonic(), None
    while run.share(total) < 1:
        for tokens, nexts in batches(trained, args.batch, numpy.random.default_rng([args.seed, run.epoch])):
            loss = run.learn(tokens, nexts, total)
            mean = loss if mean is None else 0.98 * mean + 0.02 * loss
            if run.share(total) >= 1:
                break
            if time.monotonic() - told > 20:
                told, share = time.monotonic(), run.share(total)
                left = run.seconds * (1 - share) / max(share, 1e-9) / 60
                print(
                    f"{100 * share:5.1f} %  epoch {run.epoch}  {run.tokens:,} tokens  loss {mean:.3f}  "
                    f"{run.tokens / run.seconds:,.0f} tokens/s  {left:.0f} min left", flush=True
                )
        run.epoch += 1
        run.save(name(".training"), arguments)
        nats = run.measure(measured)
        print(f"epoch {run.epoch}: held out {nats:.4f} nats per token, perplexity {math.exp(nats):.3f}", flush=True)
    checkpoint = {key: value.to("cpu", torch.bfloat16) for key, value in run.model.state_dict().items()}
    torch.save(checkpoint, name(".pth"))
    run.model.load_state_dict({key: value.float() for key, value in checkpoint.items()})
    nats = run.measure(measured)
    text = f"\n{END}\n".join((given + learnt).decode() for given, learnt in texts[:held])
    name(".held-out.txt").write_text(text + "\n", encoding="utf-8")
    print(
        f"{name('.pth')}, {name('.vocab.txt')}; held out ({name('.held-out.txt')}): "
        f"{nats:.4f} nats per token, perplexity {math.exp(nats):.3f}"
    )


if __name__ == "__main__":
    main()
