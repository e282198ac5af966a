#!/usr/bin/env python3
"""Checks the manifests of assembled packages by the validators of their own ecosystems, where those
can be installed, and by the published rules where not.

    tests/manifests.py DIST VERSION TOOLS    the folder of the package roots, and the one of
                                             the tools' virtual environment

Needs platformio, idf-component-manager, pykwalify, kconfiglib and PyYAML.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import kconfiglib
import pykwalify.core
import yaml
from platformio.package.manifest import schema
from platformio.package.manifest.parser import ManifestParserFactory
from platformio.package.pack import PackagePacker

# The keys of zephyr/module.yml by zephyr/scripts/zephyr_module.py, as far as a module may have them.
ZEPHYR = {"type": "map", "mapping": {
    "name": {"type": "str"},
    "build": {"type": "map", "mapping": {
        **{key: {"type": "str"} for key in
           ("cmake", "kconfig", "sysbuild-cmake", "sysbuild-kconfig")},
        **{key: {"type": "bool"} for key in
           ("cmake-ext", "kconfig-ext", "sysbuild-cmake-ext", "sysbuild-kconfig-ext")},
        "depends": {"type": "seq", "sequence": [{"type": "str"}]},
        "settings": {"type": "map", "mapping": {
            f"{name}_root": {"type": "str"}
            for name in ("board", "dts", "soc", "arch", "module_ext", "sca")}},
    }},
    **{key: {"type": "seq", "sequence": [{"type": "str"}]}
       for key in ("tests", "samples", "boards")},
}}
# The symbols of Zephyr that decide the archive, as a build for such a core sets them.
RISCV = ("RISCV", "RISCV_ISA_EXT_M", "RISCV_ISA_EXT_C")
CORES = [
    ("m0plus", ("CPU_CORTEX_M0PLUS",)),
    ("m3", ("CPU_CORTEX_M3",)),
    ("m3", ("CPU_CORTEX_M4",)),
    ("m4f", ("CPU_CORTEX_M4", "FPU", "FP_HARDABI")),
    ("", ("CPU_CORTEX_M4", "FPU", "FP_SOFTABI")),
    ("m7f", ("CPU_CORTEX_M7", "FPU", "FP_HARDABI")),
    ("m33f", ("CPU_CORTEX_M33", "FPU", "FP_HARDABI")),
    ("rp2350", ("CPU_CORTEX_M33", "FPU", "FP_SOFTABI")),
    ("", ("CPU_CORTEX_M33",)),
    ("rv32imc", RISCV),
    ("rv32imac", (*RISCV, "RISCV_ISA_EXT_A")),
    ("rv32imafc", (*RISCV, "RISCV_ISA_EXT_A", "RISCV_ISA_EXT_F", "FPU", "FLOAT_HARD")),
    ("", (*RISCV, "64BIT", "RISCV_ISA_EXT_A")),
    ("x86-64", ("ARCH_POSIX", "64BIT")),
]
# Of library.properties, by Arduino's library specification.
REQUIRED = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url",
            "architectures"}
OPTIONAL = {"depends", "dot_a_linkage", "includes", "precompiled", "ldflags"}
CATEGORIES = {"Display", "Communication", "Signal Input/Output", "Sensors", "Device Control",
              "Timing", "Data Storage", "Data Processing", "Other"}


def require(holds, what):
    if not holds:
        sys.exit(f"FAILED: {what}")


def zephyr(root):
    """The module's manifest, and the archive that Kconfig chooses for each core."""
    manifest = yaml.safe_load((root / "zephyr/module.yml").read_text())
    pykwalify.core.Core(source_data=manifest, schema_data=ZEPHYR).validate()
    require((root / manifest["build"]["cmake"] / "CMakeLists.txt").is_file(), "no CMakeLists.txt")
    require((root / manifest["build"]["kconfig"]).is_file(), "no Kconfig")
    for sample in manifest["samples"]:
        require(list((root / sample).glob("*/sample.yaml")), f"no sample in {sample}")
    for file in root.glob("zephyr/samples/*/sample.yaml"):
        require(yaml.safe_load(file.read_text())["tests"], f"{file} has no tests")
    names = sorted({name for _, given in CORES for name in given}
                   | {"CPU_CORTEX_M0", "CPU_CORTEX_M1", "CPU_CORTEX_M55", "CPU_CORTEX_M85"})
    for archive, given in CORES:
        with tempfile.TemporaryDirectory() as folder:
            top = pathlib.Path(folder) / "Kconfig"
            top.write_text("".join(
                f"config {name}\n\tbool\n" + ("\tdefault y\n" if name in given else "")
                for name in names) + f'source "{root / "zephyr/Kconfig"}"\n')
            config = kconfiglib.Kconfig(str(top), warn_to_stderr=False)
            require(not config.warnings, "\n".join(config.warnings))
            config.syms["KINGLET"].set_value("y")
            found = config.syms["KINGLET_ARCHIVE"].str_value
        require(found == archive, f"{' '.join(given)}: {found!r} instead of {archive!r}")
    print(f"Zephyr: module.yml by the published schema, {len(CORES)} configurations of Kconfig")


def esp_idf(root, tools, version):
    """The component's manifest and archive, by Espressif's own tool."""
    environment = os.environ | {"IDF_COMPONENT_CHECK_NEW_VERSION": "0"}
    for command in (["manifest", "lint"],
                    ["component", "pack", "--name", "kinglet", "--dest-dir", tools / "packed"]):
        done = subprocess.run([tools / "venv/bin/compote", *command], cwd=root, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        require(done.returncode == 0, f"compote {command[1]}: {done.stdout}")
    packed = tools / "packed" / f"kinglet_{version}.tgz"
    require(packed.is_file(), f"compote made no {packed}")
    print(f"ESP-IDF: compote takes the manifest and packs {packed.stat().st_size:,} bytes")


def arduino(root, version):
    lines = (root / "library.properties").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line)
    require(REQUIRED <= values.keys(), f"no {REQUIRED - values.keys()}")
    require(values.keys() <= REQUIRED | OPTIONAL, f"unknown {values.keys() - REQUIRED - OPTIONAL}")
    require(all(value.strip() for value in values.values()), "an empty value")
    require(re.fullmatch(r"[A-Za-z0-9][\w .-]{0,62}", values["name"]), "the name")
    require(values["version"] == version and re.fullmatch(r"\d+\.\d+\.\d+", version), "the version")
    require(values["category"] in CATEGORIES, "the category")
    require(values["url"].startswith("https://"), "the URL")
    require(values["precompiled"] in ("true", "full"), "precompiled")
    for header in values["includes"].split(","):
        require((root / "src" / header.strip()).is_file(), f"no header {header}")
    library = "lib" + values["ldflags"].removeprefix("-l") + ".a"
    folders = [file.parent.relative_to(root / "src") for file in root.rglob(library)]
    require(folders, f"no {library}")
    for sketch in (root / "examples").iterdir():
        require((sketch / f"{sketch.name}.ino").is_file(), f"no sketch in {sketch}")
    print(f"Arduino: library.properties by the specification; {library} for {len(folders)} folders")


def platformio(root, version, to):
    """PlatformIO's own schema and packer; its list of licences is on a server that no build of ours
    needs, and is replaced by the two that we have."""
    schema.ManifestSchema.load_spdx_licenses = staticmethod(
        lambda: {"licenses": [{"licenseId": name} for name in ("MIT", "Apache-2.0")]})
    manifest = ManifestParserFactory.new_from_dir(str(root)).as_dict()
    data = schema.ManifestSchema().load_manifest(manifest)
    require(data["version"] == version and data["name"] == "kinglet", "name or version")
    for example in data["examples"]:
        for file in example["files"]:
            require((root / example["base"] / file).is_file(), f"no {file} in {example['base']}")
    packed = pathlib.Path(PackagePacker(str(root)).pack(str(to)))
    print(f"PlatformIO: its schema takes library.json, its packer {packed.stat().st_size:,} bytes")


def main():
    dist, version, tools = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    (tools / "packed").mkdir(exist_ok=True)
    zephyr(dist / f"kinglet-c-{version}")
    esp_idf(dist / f"kinglet-esp-idf-{version}", tools, version)
    arduino(dist / f"kinglet-arduino-{version}", version)
    platformio(dist / f"kinglet-platformio-{version}", version, tools / "packed")


if __name__ == "__main__":
    main()
