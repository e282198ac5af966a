#!/usr/bin/env python3
"""Assembles the packages for C programs under target/dist: prebuilt static archives with header,
model, examples, licences and the manifests of CMake, pkg-config, Zephyr, ESP-IDF, Arduino and
PlatformIO.

    targets/c/packages/assemble.py                    all archives of archives.json
    targets/c/packages/assemble.py --only m4f,x86-64  only these; the packages have no others
    targets/c/packages/assemble.py --readme           write the table of README.md
    targets/c/packages/assemble.py --check            say whether that table is current

An archive is one object: what the library's functions reach, with all other symbols local. So a
program may link another Rust library beside it, and the compiler's arithmetic of the program does
not take the place of the library's. The bytes depend on the commit, the toolchain, and the folders
of the checkout and of Cargo's registry: names are sorted, times are the commit's, nobody owns the
files, and no path of this machine is in them.

Needs Rust, Python 3.11 and the binutils of the targets; installs these where apt-get can.
"""

import argparse
import concurrent.futures
import datetime
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
C = HERE.parent
ROOT = C.parent.parent
STATIC = C / "static"
DIST = ROOT / "target/dist"
BUILD = ROOT / "target/packages/build"
STORIES = ROOT / "models/stories/stories.kinglet"

# The tools of a target: prefix, and Debian's package.
TOOLS = {
    "thumb": ("arm-none-eabi-", "binutils-arm-none-eabi"),
    "riscv32": ("riscv64-unknown-elf-", "binutils-riscv64-unknown-elf"),
    "aarch64": ("aarch64-linux-gnu-", "binutils-aarch64-linux-gnu"),
    "x86_64": ("x86_64-linux-gnu-", "binutils-x86-64-linux-gnu"),
}
# How the linker is told of a target that is not its first.
EMULATION = {"riscv32": ["-m", "elf32lriscv"]}
# What an archive may want from the C library of Linux; elsewhere it wants nothing.
WANTED_ON_LINUX = {"memcpy", "memmove", "memset", "memcmp", "bcmp", "getauxval", "fmaxf",
                   "_GLOBAL_OFFSET_TABLE_"}
LICENCES = ["LICENSE-MIT", "LICENSE-APACHE"]
TABLE = re.compile(r"(<!-- archives -->\n).*?(<!-- /archives -->\n)", re.S)


class Failure(Exception):
    """A package that cannot be assembled, and why."""


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE,
                          **options)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def archives():
    return json.loads((HERE / "archives.json").read_text())["archives"]


def workspace():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]


def commit_time():
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    # The oldest time that a ZIP file can hold where there is no commit.
    return int(done.stdout) if done.returncode == 0 else 315532800


def family(archive):
    return next(name for name in TOOLS if archive["target"].startswith(name))


def tool(archive, name):
    """A program of the binutils for an archive's target."""
    prefix, package = TOOLS[family(archive)]
    if shutil.which(prefix + name) is None:
        print(f"installing {package}", flush=True)
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        run(*sudo, "apt-get", "update", "-q")
        run(*sudo, "apt-get", "install", "-qy", "--no-install-recommends", package)
    return prefix + name


def toolchain(target):
    """The cargo for a target, more options, and its environment: rustup's, or Debian's with the
    source of `core` where rustup has no network."""
    rustlib = pathlib.Path(run("rustc", "--print", "sysroot").strip()) / "lib/rustlib"
    if not (rustlib / target).is_dir():
        subprocess.run(["timeout", "120", "rustup", "-q", "target", "add", target],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if (rustlib / target).is_dir():
        return "cargo", [], {}
    if not pathlib.Path("/usr/bin/cargo").exists():
        raise Failure(f"no standard library for {target}: neither rustup nor Debian's rust-web-src")
    options = ["-Zbuild-std=core"]
    if "-none-" in target:  # rustup's have memcpy and its like there
        options.append("-Zbuild-std-features=compiler-builtins-mem")
    return "/usr/bin/cargo", options, {"RUSTC": "/usr/bin/rustc", "RUSTC_BOOTSTRAP": "1"}


def build(archive):
    """The static library as Cargo makes it."""
    name, target = archive["name"], archive["target"]
    cargo, options, environment = toolchain(target)
    flags = [run(ROOT / ".ci/paths", STATIC.relative_to(ROOT)).strip(), *archive["rustflags"]]
    environment = dict(os.environ) | environment | {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags)}
    if archive["features"]:
        options += ["--features", ",".join(archive["features"])]
    folder = BUILD / name
    run(cargo, "build", "--release", "--locked", "--quiet", "--manifest-path",
        STATIC / "Cargo.toml", "--target", target, "--target-dir", folder, *options,
        env=environment, stderr=subprocess.STDOUT)
    return folder / target / "release/libkinglet.a"


def reduce(archive, built, to):
    """Writes the library as one object, whose only global symbols are the interface's."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        bare, roots, whole, kinglet = (folder / name for name in
                                       ("bare.a", "roots", "whole.o", "kinglet.o"))
        objcopy = [tool(archive, "objcopy"), "-D"]
        # LLVM's bitcode of `core` is of no use here, and makes other tools look for a plugin.
        run(*objcopy, "--strip-debug", "-R", ".llvmbc", "-R", ".llvmcmd", built, bare)
        symbols = run(tool(archive, "nm"), "-g", "--defined-only", bare, stderr=subprocess.DEVNULL)
        public = sorted({line.split()[-1] for line in symbols.splitlines()
                         if re.fullmatch(r"[0-9a-f]+ T kinglet_\w+", line)})
        if "kinglet_engine_step" not in public:
            raise Failure(f"{built}: no functions of the interface in it")
        roots.write_text("".join(f"{name}\n" for name in public))
        run(tool(archive, "ld"), *EMULATION.get(family(archive), []), "-r", "--gc-sections",
            *(word for name in public for word in ("-u", name)), bare, "-o", whole)
        # Nothing unwinds; and GNU's linker takes the tables of RISC-V for damaged.
        unwinding = ["-R", ".eh_frame"] if family(archive) == "riscv32" else []
        run(*objcopy, f"--keep-global-symbols={roots}", "--strip-unneeded", "-R", ".llvmbc",
            "-R", ".llvmcmd", "-R", ".comment", *unwinding, whole, kinglet)
        wanted = {line.split()[-1] for line in run(tool(archive, "nm"), "-u", kinglet).splitlines()}
        allowed = {"kinglet_panic"} | (WANTED_ON_LINUX if archive["system"] == "Linux" else set())
        if wanted - allowed:
            raise Failure(f"{archive['name']}: wants {', '.join(sorted(wanted - allowed))}")
        to.unlink(missing_ok=True)
        run(tool(archive, "ar"), "rcsD", to, kinglet)
    check_paths(to)


def check_paths(file):
    """No path of this machine is in what others get."""
    bytes = file.read_bytes()
    cargo = os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")
    for path in (ROOT, cargo):
        if str(path).encode() in bytes:
            raise Failure(f"{file}: has the path {path} in it")


def notices():
    """The licences of all that is compiled into an archive and not Kinglet's own."""
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version=1",
                              "--manifest-path", STATIC / "Cargo.toml"))
    linked = run("cargo", "tree", "--locked", "-e", "normal,no-proc-macro", "--prefix", "none",
                 "--target", "all", "--all-features", "-f", "{p}", "--manifest-path",
                 STATIC / "Cargo.toml")
    names = {tuple(line.split()[:2]) for line in linked.splitlines() if line}
    parts = ["Kinglet's archives contain parts of the following, in compiled form.\n"]
    for package in sorted(metadata["packages"], key=lambda p: (p["name"], p["version"])):
        # Kinglet's own crates have no source: they are in this repository.
        if package["source"] is None or (package["name"], "v" + package["version"]) not in names:
            continue
        folder = pathlib.Path(package["manifest_path"]).parent
        files = sorted(file for file in folder.iterdir()
                       if re.match(r"(licen[cs]e|copying|copyright|notice)", file.name, re.I)
                       and file.is_file())
        # Where there is a choice, the shorter text; Apache's is beside this file.
        if any("MIT" in file.name.upper() for file in files):
            files = [file for file in files if "APACHE" not in file.name.upper()]
        if not files:
            raise Failure(f"{package['name']}: no licence in the crate")
        parts.append(f"{package['name']} {package['version']}: {package['license']}\n"
                     f"{package['repository'] or ''}\n\n"
                     + "\n".join(f"{file.read_text().strip()}\n" for file in files))
    compiler = run("rustc", "--version").split()[1]
    parts.append(f"core and compiler_builtins of Rust {compiler}: MIT OR Apache-2.0, taken under "
                 "Apache-2.0, whose text\nis in LICENSE-APACHE. Parts of compiler_builtins are ports of "
                 "LLVM's compiler-rt, Apache-2.0 WITH\nLLVM-exception, and of musl's libm, whose "
                 "licence is that of libm above.\nhttps://github.com/rust-lang/rust\n")
    return f"\n{'-' * 78}\n\n".join(parts)


class Package:
    """A root under target/dist, and the archive file made of it."""

    def __init__(self, name, values):
        self.values = values
        self.root = DIST / f"{name}-{values['VERSION']}"
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)

    def copy(self, source, to):
        to = self.root / to
        to.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, to)

    def write(self, to, text):
        to = self.root / to
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text)

    def fill(self, source, to, **values):
        """Copies a template with its @NAMES@ filled in."""
        values = self.values | values

        def value(match):
            if match[1] not in values:
                raise Failure(f"{source}: no value for {match[0]}")
            return values[match[1]]

        self.write(to, re.sub(r"@([A-Z_]+)@", value, source.read_text()))

    def licences(self):
        for name in LICENCES:
            self.copy(ROOT / name, name)
        self.write("THIRD-PARTY.txt", self.values["NOTICES"])

    def files(self):
        return sorted(file for file in self.root.rglob("*") if file.is_file())

    def finish(self, kind, time):
        """Writes the checksums and the archive file, a .tar.gz or .zip."""
        sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  "
                f"{file.relative_to(self.root).as_posix()}\n" for file in self.files()]
        self.write("SHA256SUMS", "".join(sums))
        for file in self.root.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        packed = self.root.with_name(f"{self.root.name}.{kind}")
        (pack_zip if kind == "zip" else pack_tar)(self.root, self.files(), packed, time)
        check_paths(packed)
        print(f"{packed.relative_to(ROOT)}: {packed.stat().st_size:,} bytes, "
              f"{len(self.files())} files")
        return packed


def pack_tar(root, files, to, time):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in files:
            info = tarfile.TarInfo((root.name / file.relative_to(root)).as_posix())
            info.size, info.mtime, info.mode = file.stat().st_size, time, 0o644
            with file.open("rb") as bytes:
                tar.addfile(info, bytes)
    with to.open("wb") as out, gzip.GzipFile("", "wb", 9, out, mtime=0) as packed:
        packed.write(raw.getvalue())


def pack_zip(root, files, to, time):
    when = datetime.datetime.fromtimestamp(time, datetime.timezone.utc).timetuple()[:6]
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in files:
            info = zipfile.ZipInfo((root.name / file.relative_to(root)).as_posix(), when)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            info.create_system = 3
            packed.writestr(info, file.read_bytes())


def listing(built):
    """The part of archives.json that a package has."""
    return json.dumps({"archives": [archive for archive, _ in built]}, indent=4) + "\n"


def assemble_c(values, built):
    """The package of CMake, pkg-config and Zephyr, and of a C engineer with a terminal."""
    package = Package("kinglet-c", values)
    package.fill(HERE / "root/README.md", "README.md", TABLE=table(built))
    package.licences()
    package.copy(C / "include", "include")
    cmake = "lib/cmake/kinglet"
    for name in ("kingletConfig.cmake", "kingletArchive.cmake"):
        package.copy(HERE / "cmake" / name, f"{cmake}/{name}")
    package.fill(HERE / "cmake/kingletConfigVersion.cmake.in", f"{cmake}/kingletConfigVersion.cmake")
    package.write(f"{cmake}/archives.json", listing(built))
    for archive, file in built:
        package.copy(file, f"lib/{archive['name']}/libkinglet.a")
        package.fill(HERE / "root/kinglet.pc.in", f"lib/{archive['name']}/pkgconfig/kinglet.pc",
                     ARCHIVE=archive["name"])
    package.copy(STORIES, "share/kinglet/stories.kinglet")
    package.copy(C / "examples/model.S", "share/kinglet/model.S")
    package.copy(C / "examples", "examples")
    (package.root / "examples/model.S").unlink()
    package.copy(HERE / "zephyr", "zephyr")
    return package


def assemble_esp_idf(values, built):
    chips = {chip: archive["name"] for archive, _ in built for chip in archive["esp-idf"]}
    if not chips:
        return None
    package = Package("kinglet-esp-idf", values)
    names = "\n".join(f"  - {chip}" for chip in chips)
    package.fill(HERE / "esp-idf/idf_component.yml.in", "idf_component.yml", CHIPS=names)
    package.fill(HERE / "esp-idf/CMakeLists.txt.in", "CMakeLists.txt",
                 CHIPS="\n".join(f"set(kinglet_{chip} {name})" for chip, name in chips.items()))
    package.fill(HERE / "esp-idf/README.md", "README.md", CHIPS=", ".join(chips))
    package.copy(HERE / "esp-idf/examples", "examples")
    package.copy(C / "examples/stories.h", "examples/story/main/stories.h")
    package.copy(STORIES, "examples/story/stories.kinglet")
    package.licences()
    package.copy(C / "include", "include")
    for archive, file in built:
        if archive["esp-idf"]:
            package.copy(file, f"lib/{archive['name']}/libkinglet.a")
    return package


def assemble_arduino(values, built):
    places = [(place, file) for archive, file in built for place in archive["arduino"]]
    if not places:
        return None
    package = Package("kinglet-arduino", values)
    package.fill(HERE / "arduino/library.properties.in", "library.properties")
    package.copy(HERE / "arduino/README.md", "README.md")
    package.copy(HERE / "arduino/src", "src")
    package.copy(HERE / "arduino/examples", "examples")
    package.copy(C / "examples/stories.h", "src/KingletStoriesSizes.h")
    package.copy(STORIES, "src/stories.kinglet")
    package.licences()
    package.copy(C / "include", "src")
    for place, file in places:
        package.copy(file, f"src/{place}/libkinglet.a")
    return package


def assemble_platformio(values, built):
    package = Package("kinglet-platformio", values)
    package.fill(HERE / "platformio/library.json.in", "library.json")
    package.copy(HERE / "platformio/README.md", "README.md")
    package.copy(HERE / "platformio/link.py", "link.py")
    package.copy(HERE / "platformio/examples", "examples")
    package.copy(C / "examples/story.c", "examples/story/src/main.c")
    package.copy(C / "examples/stories.h", "examples/story/src/stories.h")
    package.copy(C / "examples/model.S", "examples/story/src/model.S")
    package.copy(STORIES, "examples/story/stories.kinglet")
    package.licences()
    package.copy(C / "include", "include")
    package.write("archives.json", listing(built))
    for archive, file in built:
        package.copy(file, f"lib/{archive['name']}/libkinglet.a")
    return package


def table(built):
    rows = ["| archive | core | GCC flags | Rust target | boards, for example |",
            "|---|---|---|---|---|"]
    for archive, _ in built:
        gcc = f"`{archive['gcc']}`" if archive["gcc"] else ""
        rows.append(f"| `{archive['name']}` | {archive['core']} | {gcc} | `{archive['target']}` "
                    f"| {archive['boards']} |")
    return "\n".join(rows) + "\n"


def readme(check):
    path = HERE / "README.md"
    found = path.read_text()
    wanted = TABLE.sub(lambda m: m[1] + table([(a, None) for a in archives()]) + m[2], found)
    if check and wanted != found:
        raise Failure(f"{path}: its table is not archives.json's; run assemble.py --readme")
    path.write_text(wanted)


def assemble(wanted):
    values = workspace()
    values = {"VERSION": values["version"], "REPOSITORY": values["repository"],
              "LICENCE": values["license"], "AUTHORS": ", ".join(values["authors"]),
              "NOTICES": notices()}

    def make(archive):
        file = BUILD / archive["name"] / "libkinglet.a"
        reduce(archive, build(archive), file)
        print(f"{archive['name']}: libkinglet.a, {file.stat().st_size:,} bytes", flush=True)
        return archive, file

    for archive in wanted:  # neither rustup nor apt-get can do two things at a time
        toolchain(archive["target"])
        tool(archive, "ld")
    # Most of a build is one crate, on one core.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        built = list(pool.map(make, wanted))
    DIST.mkdir(parents=True, exist_ok=True)
    time = commit_time()
    packages = [(assemble_c, "tar.gz"), (assemble_esp_idf, "tar.gz"), (assemble_arduino, "zip"),
                (assemble_platformio, "tar.gz")]
    packed = [package.finish(kind, time) for put_together, kind in packages
              if (package := put_together(values, built))]
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in packed]
    (DIST / "SHA256SUMS").write_text("".join(sums))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAMES", help="archives, with commas between them")
    parser.add_argument("--readme", action="store_true", help="write the table of README.md")
    parser.add_argument("--check", action="store_true", help="whether that table is current")
    arguments = parser.parse_args()
    if arguments.readme or arguments.check:
        readme(arguments.check)
        return
    all_of_them = archives()
    only = arguments.only.split(",") if arguments.only else [a["name"] for a in all_of_them]
    if unknown := set(only) - {archive["name"] for archive in all_of_them}:
        raise Failure(f"no archive {', '.join(sorted(unknown))}; there are "
                      f"{', '.join(archive['name'] for archive in all_of_them)}")
    assemble([archive for archive in all_of_them if archive["name"] in only])


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")
