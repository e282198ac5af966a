#!/usr/bin/env python3
"""Writes an RWKV-4 checkpoint with random weights, laid out as the official .pth files are.

    tests/random_rwkv4.py pile.pth                  the shape of RWKV-4-Pile-169M
    tests/random_rwkv4.py world.pth --vocab 65536   the shape of RWKV-4-World-0.1B

Needs nothing but Python's own library: the pickle names torch's functions without having them.
"""

import argparse
import collections
import pickle
import random
import sys
import types
import zipfile


def stand_in(module, name):
    """A function that pickles as `module.name`."""

    def function():
        raise NotImplementedError

    function.__module__, function.__qualname__, function.__name__ = module, name, name
    sys.modules.setdefault(module, types.ModuleType(module))
    setattr(sys.modules[module], name, function)
    return function


REBUILD = stand_in("torch._utils", "_rebuild_tensor_v2")
STORAGE = stand_in("torch", "BFloat16Storage")


class Tensor:
    """A contiguous bf16 tensor of its own storage."""

    def __init__(self, key, shape):
        self.key, self.shape = key, shape
        self.len = 1
        for size in shape:
            self.len *= size

    def __reduce__(self):
        strides, stride = [], 1
        for size in reversed(self.shape):
            strides.insert(0, stride)
            stride *= size
        storage = Storage(self.key, self.len)
        hooks = collections.OrderedDict()
        return REBUILD, (storage, 0, tuple(self.shape), tuple(strides), False, hooks)


class Storage:
    def __init__(self, key, len):
        self.id = ("storage", STORAGE, key, "cpu", len)


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, Storage) else None


def shapes(layers, width, vocab):
    """Names and shapes of all tensors, in the order of the official files."""
    vector, mix, ffn = [width], [1, 1, width], 4 * width
    yield "emb.weight", [vocab, width]
    for i in range(layers):
        for norm in (["ln0"] if i == 0 else []) + ["ln1", "ln2"]:
            yield f"blocks.{i}.{norm}.weight", vector
            yield f"blocks.{i}.{norm}.bias", vector
        for name in ["time_decay", "time_first"]:
            yield f"blocks.{i}.att.{name}", vector
        for name in ["k", "v", "r"]:
            yield f"blocks.{i}.att.time_mix_{name}", mix
        for name in ["key", "value", "receptance", "output"]:
            yield f"blocks.{i}.att.{name}.weight", [width, width]
        for name in ["k", "r"]:
            yield f"blocks.{i}.ffn.time_mix_{name}", mix
        yield f"blocks.{i}.ffn.key.weight", [ffn, width]
        yield f"blocks.{i}.ffn.receptance.weight", [width, width]
        yield f"blocks.{i}.ffn.value.weight", [width, ffn]
    yield "ln_out.weight", vector
    yield "ln_out.bias", vector
    yield "head.weight", [vocab, width]


# The upper byte of a bf16 number: magnitudes from 2^-7 to 2^-5, the sign from the random byte.
SIGNS = bytes(0x3C | byte & 0x80 for byte in range(256))


def values(rng, name, len):
    """Random bf16 numbers of the size that trained weights have; norms near one."""
    if "ln" in name and name.endswith("weight"):
        return b"\x80\x3f" * len
    data = bytearray(2 * len)
    data[0::2] = rng.randbytes(len)
    data[1::2] = rng.randbytes(len).translate(SIGNS)
    return bytes(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocab", type=int, default=50277)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    tensors = {
        name: Tensor(str(key), shape)
        for key, (name, shape) in enumerate(shapes(args.layers, args.width, args.vocab))
    }
    with zipfile.ZipFile(args.file, "w") as archive:
        with archive.open("archive/data.pkl", "w") as member:
            Pickler(member, protocol=2).dump(tensors)
        for name, tensor in tensors.items():
            archive.writestr(f"archive/data/{tensor.key}", values(rng, name, tensor.len))
        archive.writestr("archive/version", "3\n")
    parameters = sum(tensor.len for tensor in tensors.values())
    print(f"{args.file}: {len(tensors)} tensors, {parameters} parameters")


if __name__ == "__main__":
    main()
