#!/usr/bin/env python3
"""Writes a checkpoint again, as the programs save it that train it or pack it.

    tests/torch_wrappings.py tests/data/cases/base.pth tests/data/cases/torch-wrappings

| file | as |
|---|---|
| lightning.ckpt | Lightning's `Trainer.save_checkpoint` of a compiled model |
| deepspeed.pt | DeepSpeed's `mp_rank_00_model_states.pt` |
| legacy.pth | `torch.save(..., _use_new_zipfile_serialization=False)` |
| deflated.pth | `torch.save`'s archive, packed again with compression |
| attributes.pth | a dict of parameters that carry attributes of their own |

Needs nothing but Python's own library: the pickles name torch's classes and functions without
having them.
"""

import argparse
import collections
import io
import pathlib
import pickle
import struct
import sys
import types
import zipfile

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def stand_in(module, name, base=object):
    """A class that pickles as `module.name`."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    made = type(name, (base,), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, made)
    return made


def function(module, name):
    def body(*arguments):
        return arguments

    stand_in(module, name)
    body.__module__, body.__qualname__, body.__name__ = module, name, name
    setattr(sys.modules[module], name, body)
    return body


REBUILD = function("torch._utils", "_rebuild_tensor_v2")
PARAMETER = function("torch._utils", "_rebuild_parameter_with_state")
SIZE = stand_in("torch", "Size", tuple)
SIZE.__reduce__ = lambda self: (SIZE, (tuple(self),))
ATTRIBUTES = stand_in("lightning.fabric.utilities.data", "AttributeDict", dict)
STORAGES = {}


class Storage:
    def __init__(self, kind, key, numel):
        self.kind, self.key, self.numel = kind, key, numel


class Tensor:
    def __init__(self, storage, offset, size, stride, state=None):
        self.storage, self.view, self.state = storage, (offset, size, stride), state

    def __reduce__(self):
        offset, size, stride = self.view
        hooks = collections.OrderedDict()
        arguments = (self.storage, offset, size, stride, False, hooks)
        if self.state is None:
            return REBUILD, arguments
        plain = Tensor(self.storage, *self.view)
        return PARAMETER, (plain, True, hooks, self.state)


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *rest: Tensor(storage, offset, size, stride)
        if module == "torch" and name.endswith("Storage"):
            return STORAGES.setdefault(name, stand_in("torch", name))
        return super().find_class(module, name)

    def persistent_load(self, identity):
        _, kind, key, _, numel = identity
        return Storage(kind, key, numel)


class Pickler(pickle.Pickler):
    view = ()

    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", value.kind, value.key, "cpu", value.numel, *self.view)
        return None


class LegacyPickler(Pickler):
    view = (None,)


def dump(value, pickler=Pickler):
    out = io.BytesIO()
    pickler(out, protocol=2).dump(value)
    return out.getvalue()


def save(path, value, storages, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        def write(name, data):
            # A date makes the bytes differ from run to run.
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.compress_type = compression
            archive.writestr(member, data)

        write("archive/data.pkl", dump(value))
        write("archive/byteorder", "little")
        for key, data in storages.items():
            write(f"archive/data/{key}", data)
        write("archive/version", "3\n")


def save_legacy(path, value, storages, sizes):
    machine = dict(protocol_version=PROTOCOL, little_endian=True, type_sizes=dict(short=2, int=4, long=4))
    with open(path, "wb") as out:
        for part in (MAGIC, PROTOCOL, machine):
            pickle.dump(part, out, protocol=2)
        out.write(dump(value, LegacyPickler))
        keys = sorted(storages)
        pickle.dump(keys, out, protocol=2)
        for key in keys:
            out.write(struct.pack("<q", len(storages[key]) // sizes[key]) + storages[key])


def lightning(state):
    compiled = {f"model._orig_mod.{name}": tensor for name, tensor in state.items()}
    some = next(iter(state.values()))
    return {
        "epoch": 3,
        "global_step": 1200,
        "pytorch-lightning_version": "2.5.1",
        "state_dict": collections.OrderedDict(compiled),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": some, "kth": 1.5}},
        "optimizer_states": [{"state": {0: {"step": some, "exp_avg": some}}, "param_groups": []}],
        "lr_schedulers": [],
        "hparams_name": "args",
        "hyper_parameters": ATTRIBUTES(
            args=argparse.Namespace(n_layer=2, proj_dir=pathlib.PurePosixPath("out").name, betas=(0.9, 0.99))
        ),
    }


def deepspeed(state):
    module = {f"module.{name}": tensor for name, tensor in state.items()}
    shapes = {name: SIZE(tensor.view[1]) for name, tensor in state.items()}
    return {
        "module": collections.OrderedDict(module),
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": [collections.OrderedDict(shapes)],
        "frozen_param_shapes": None,
        "shared_params": {},
        "lr_scheduler": None,
        "sparse_tensor_module_names": {"emb"},
        "skipped_steps": 0,
        "global_steps": 1200,
        "dp_world_size": 1,
        "ds_config": {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 1}},
        "ds_version": "0.16.4",
    }


def main():
    source, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as archive:
        root = next(name for name in archive.namelist() if name.endswith("data.pkl"))[: -len("data.pkl")]
        state = Unpickler(io.BytesIO(archive.read(f"{root}data.pkl"))).load()
        used = {tensor.storage.key: tensor.storage for tensor in state.values()}
        storages = {key: archive.read(f"{root}data/{key}") for key in used}
    sizes = {key: len(storages[key]) // storage.numel for key, storage in used.items()}
    save(folder / "lightning.ckpt", lightning(state), storages)
    save(folder / "deepspeed.pt", deepspeed(state), storages)
    save(folder / "deflated.pth", state, storages, zipfile.ZIP_DEFLATED)
    for tensor in state.values():
        tensor.state = {"ds_id": 7}
    save(folder / "attributes.pth", dict(state), storages)
    for tensor in state.values():
        tensor.state = None
    save_legacy(folder / "legacy.pth", state, storages, sizes)


if __name__ == "__main__":
    main()
