"""Links the archive of Kinglet that suits the board: the one that the project's option
`custom_kinglet_archive` names, or the one of its CPU and of how its compiler passes floats."""

import json
import pathlib
import re

Import("env")  # noqa: F821: SCons gives this function to the script

ROOT = pathlib.Path(env.Dir(".").srcnode().abspath)  # noqa: F821
ARCHIVES = json.loads((ROOT / "archives.json").read_text())["archives"]


def wanted(env):
    """The CPU and the way of passing floats."""
    flags = " ".join(str(flag) for flag in [*env.get("CCFLAGS", []), *env.get("CFLAGS", [])])
    cpu = re.search(r"-mcpu=(cortex-m\w+)", flags) or re.search(r"-march=(rv32[a-z]+)", flags)
    if cpu is None:
        machine = env.BoardConfig().get("build.cpu", "") if "BOARD" in env else "x86_64"
        return machine, ""
    named = re.search(r"-mfloat-abi=(\w+)|-mabi=(\w+)", flags)
    default = "soft" if cpu[1].startswith("cortex") else "ilp32"
    return cpu[1], (named[1] or named[2]) if named else default


def choose(env):
    names = ", ".join(archive["name"] for archive in ARCHIVES)
    name = env.GetProjectOption("custom_kinglet_archive", "")
    cpu, abi = wanted(env)
    for archive in ARCHIVES:
        if archive["name"] == name or not name and (
                cpu in archive["cpus"] and abi == archive["float-abi"]):
            return archive["name"]
    asked = f"custom_kinglet_archive = {name}" if name else f"{cpu} {abi}"
    raise SystemExit(f"kinglet: no archive for {asked}; custom_kinglet_archive may be {names}")


# PlatformIO hands on to the program what a library's environment has of these.
env.Append(CPPPATH=[str(ROOT / "include")],  # noqa: F821
           LIBPATH=[str(ROOT / "lib" / choose(env))], LIBS=["kinglet"])  # noqa: F821
