//! How much memory `kinglet run` has, and that `--lock` and `--preload` do what
//! they say. The program is stopped at one of its first tokens by a reader that does
//! not read, and looked at in /proc.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kinglet::format::model::{Model, Section};
use kinglet::format::shape::{Architecture, Ranks, Shape};
use kinglet_quantize::synthetic::SyntheticModel;

/// What a process may have beside the weights it touches and the state.
const MAX_BESIDE: u64 = 8 << 20;
/// The pages that the system maps around those touched: huge ones of 2 MB, at both
/// sides of the rest of the embedding.
const MAX_AROUND: u64 = 4 << 20;
/// No page of the model is touched later than this.
const PATIENCE: Duration = Duration::from_secs(120);

/// As wide as the smallest official model. Its file is above the 64 MB up to
/// which a file is verified whole, and a seventh of it is an embedding of which a
/// prompt of bytes needs the first rows only.
const LARGE: Shape = Shape {
    architecture: Architecture::Rwkv7,
    layers: 9,
    width: 768,
    head_size: 64,
    ffn: 3072,
    vocab: 16384,
    ranks: Ranks { decay: 64, iclr: 64, value: 32, gate: 128, ..Ranks::NONE },
};

/// A model that every system allows to lock.
const SMALL: Shape = Shape {
    layers: 1,
    width: 32,
    head_size: 32,
    ffn: 128,
    vocab: 288,
    ranks: Ranks { decay: 32, iclr: 32, value: 32, gate: 32, ..Ranks::NONE },
    ..LARGE
};

/// A file that is removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, bytes).expect("a file for the test");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A program that waits for its output to be read.
struct Waiting {
    child: Child,
    /// Not read.
    _output: UnixStream,
}

impl Waiting {
    /// Starts `kinglet run` with an output that takes the prompt and few tokens.
    fn new(model: &Path, options: &[&str]) -> Self {
        let (mut sink, mut output) = UnixStream::pair().expect("a pair of sockets");
        sink.set_nonblocking(true).expect("a socket that does not block");
        let full = loop {
            if let Err(error) = sink.write(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        // The last bytes, too few for the piece.
        while sink.write(&[0]).is_ok() {}
        // Room for the prompt, which the program writes before it computes.
        output.read_exact(&mut [0; 4096]).expect("a piece");
        sink.set_nonblocking(false).expect("a socket that blocks");
        let child = Command::new(env!("CARGO_BIN_EXE_kinglet"))
            .args(["run", "--temp", "0", "-n", "1000", "-t", "2", "-m"])
            .arg(model)
            .args(options)
            .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
            .arg("a prompt of more tokens than a block ".repeat(4))
            .stdin(Stdio::null())
            .stdout(OwnedFd::from(sink))
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        Self { child, _output: output }
    }

    /// A field of the process's status, in bytes; 0 where it is not there (yet).
    fn status(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        1024 * kib.unwrap_or(0)
    }

    /// Bytes of the file at `path` that are mapped and in memory.
    fn mapped(&self, path: &Path) -> u64 {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.child.id()));
        let smaps = smaps.expect("the process waits");
        let name = path.canonicalize().expect("the file").display().to_string();
        let mut lines = smaps.lines().skip_while(|line| !line.ends_with(&name));
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).expect("a mapping");
        let kib: u64 = line.trim().strip_suffix(" kB").expect("kB").parse().expect("a number");
        1024 * kib
    }

    /// Waits until `field` is at least `bytes`.
    fn reaches(&self, field: &str, bytes: u64) {
        let start = Instant::now();
        while self.status(field) < bytes {
            let found = self.status(field);
            assert!(start.elapsed() < PATIENCE, "{field} is {found}, not yet {bytes}");
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the memory does not change any more, with at least `bytes` of the model's file.
    fn computes_with(&self, model: &Path, bytes: u64) {
        let start = Instant::now();
        loop {
            self.settles();
            let mapped = self.mapped(model);
            if mapped >= bytes {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{mapped} bytes of the model, not yet {bytes}");
        }
    }

    /// Waits until the memory does not change any more: until all there is to do
    /// is to wait for the reader.
    fn settles(&self) {
        let figures = || ["VmRSS", "RssAnon", "VmHWM"].map(|field| self.status(field));
        let mut last = figures();
        let mut same = 0;
        while same < 20 {
            sleep(Duration::from_millis(20));
            let now = figures();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that runs its arguments with a limit of 16 KiB on locked memory,
/// which holds for root too once the capability to exceed it is gone.
fn with_little_to_lock() -> Command {
    let status = fs::read_to_string("/proc/self/status").expect("the status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    let capabilities = u64::from_str_radix(line.trim(), 16).expect("a hexadecimal number");
    let limited = ["sh", "-c", "ulimit -l 16 && exec \"$@\"", "sh"];
    if capabilities & CAP_IPC_LOCK == 0 {
        let mut command = Command::new(limited[0]);
        command.args(&limited[1..]);
        return command;
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]).args(limited);
    command
}

/// The capability to lock any amount of memory (capabilities(7)).
const CAP_IPC_LOCK: u64 = 1 << 14;

fn stderr(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn memory_is_weights_state_and_little_more() {
    let synthetic = SyntheticModel::new(&LARGE, 0.5, 7).expect("a model");
    let model = Model::open(synthetic.bytes()).expect("a model");
    let embedding = model.section(Section::Embedding).len() as u64;
    let len = synthetic.bytes().len() as u64;
    let touched = len - embedding;
    let state = 4 * LARGE.state_len() as u64;
    let file = Temporary::new("residence.kinglet", synthetic.bytes());
    drop(synthetic);

    let process = Waiting::new(&file.0, &[]);
    // The file is verified first, which touches all of it; that memory is given back.
    process.computes_with(&file.0, touched / 2);
    let own = process.status("RssAnon");
    assert!(own >= state / 2, "{own} bytes of its own are less than the state's {state}");
    assert!(own <= state + MAX_BESIDE, "{own} bytes of its own; the state has {state}");
    let mapped = process.mapped(&file.0);
    assert!(mapped <= touched + MAX_AROUND, "{mapped} bytes of the model for {touched} touched");
    // Nor was there a copy in between; the program and its libraries count here.
    let peak = process.status("VmHWM");
    assert!(peak <= len + state + 2 * MAX_BESIDE, "a peak of {peak} bytes for {len} of model");

    let process = Waiting::new(&file.0, &["--preload"]);
    process.reaches("RssFile", len);
    process.settles();
    let mapped = process.mapped(&file.0);
    assert!(mapped >= len, "{mapped} bytes of a model of {len} after --preload");
    assert_eq!(process.status("VmLck"), 0);
}

#[test]
fn lock_keeps_the_model_in_memory() {
    let synthetic = SyntheticModel::new(&SMALL, 0.5, 7).expect("a model");
    let len = synthetic.bytes().len() as u64;
    assert!(len <= 64 << 10, "{len} bytes are more than the smallest limit in use");
    let file = Temporary::new("residence-lock.kinglet", synthetic.bytes());

    Waiting::new(&file.0, &["--lock"]).reaches("VmLck", len);

    let mut command = with_little_to_lock();
    let run = [env!("CARGO_BIN_EXE_kinglet"), "run", "--lock", "-m"];
    let said = stderr(&command.args(run).arg(&file.0).output().expect("the command"));
    let name = file.0.to_str().expect("UTF-8");
    assert!(said.contains(name) && said.contains("`ulimit -l "), "{said}");
}

#[test]
fn only_a_file_can_be_read_in_or_locked() {
    let kinglet = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kinglet")).args(args).output();
        stderr(&output.expect("the program"))
    };
    for option in ["--preload", "--lock"] {
        let said = kinglet(&["run", option]);
        assert!(said.contains("is for a model file; give one with -m"), "{said}");
        let said = kinglet(&["run", option, "-m", "Cargo.toml"]);
        assert!(said.contains("not a Kinglet model"), "{said}");
    }
}
