//! From a name to a model, against a hub on this machine.

#![cfg(all(feature = "pull", unix))]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::hub::{File, Hub, Request, Site, sha256};
use support::{Folder, golden};

/// What a checkpoint of 1.5 MB is pulled by.
const SOURCE: &str = "hf:owner/repo/model.pth";

struct Machine {
    hub: Hub,
    folder: Folder,
    /// The checkpoint's bytes.
    bytes: Vec<u8>,
}

impl Machine {
    /// A machine with an empty models folder, and a hub with a checkpoint.
    fn new(name: &str) -> Self {
        let bytes = fs::read(golden("v7/model.pth")).expect("a checkpoint");
        Self { hub: Hub::new(File::new(bytes.clone())), folder: Folder::new(name), bytes }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command
            .args(args)
            .env_remove("HF_TOKEN")
            .env("HF_ENDPOINT", &self.hub.endpoint)
            .env("KINGLET_MODELS", self.folder.file("models"));
        command
    }

    fn kinglet(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// The standard output of a command that must work.
    #[track_caller]
    fn succeed(&self, args: &[&str]) -> String {
        let output = self.kinglet(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// What the program says when it refuses `args`.
    #[track_caller]
    fn refusal(&self, args: &[&str]) -> String {
        refused(self.kinglet(args))
    }

    #[track_caller]
    fn pull(&self) -> String {
        self.notes(&["pull", SOURCE, "--as", "small", "--vocab", "bytes"])
    }

    /// What is said beside the output of a command that must work.
    #[track_caller]
    fn notes(&self, args: &[&str]) -> String {
        let output = self.kinglet(args);
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{args:?}: {errors}");
        errors
    }

    /// The file names in the models folder, sorted, without the notes on where models came from.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.file("models")).expect("the models folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.retain(|name| !name.ends_with(".source"));
        names.sort();
        names
    }

    fn folder_is_empty(&self) -> bool {
        let mut entries = fs::read_dir(self.folder.file("models")).expect("the models folder");
        entries.next().is_none()
    }

    fn part(&self) -> String {
        self.folder.file("models/small.download")
    }

    /// The requests for the file itself.
    fn downloads(&self) -> Vec<Request> {
        self.hub.requests().into_iter().filter(|request| request.site == Site::Cdn).collect()
    }

    /// The model is the one that `quantize` makes of the checkpoint.
    #[track_caller]
    fn assert_is_pulled(&self) {
        let own = self.folder.file("own.kinglet");
        self.succeed(&["quantize", &golden("v7/model.pth"), "--vocab", "bytes", "-o", &own]);
        let info = |model: &str| -> Value {
            serde_json::from_str(&self.succeed(&["info", "--json", model])).expect("JSON")
        };
        assert_eq!(info("small")["content_hash"], info(&own)["content_hash"]);
        assert_eq!(self.names(), ["small.kinglet"]);
    }
}

#[track_caller]
fn refused(output: Output) -> String {
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{errors}");
    errors
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(String::as_str)
}

#[test]
fn a_model_is_pulled_listed_run_and_removed() {
    let machine = Machine::new("pull-whole-way");
    let said = machine.pull();
    assert!(said.contains("kinglet run -m small"), "{said}");
    machine.assert_is_pulled();
    let downloads = machine.downloads();
    assert_eq!(downloads.len(), 1);
    assert_eq!(downloads[0].sent, machine.bytes.len());

    // Random weights, whose bytes are no text.
    let run = machine.kinglet(&["run", "-m", "small", "--temp", "0", "-n", "4", "abc"]);
    assert!(run.status.success() && run.stdout.starts_with(b"abc"), "{run:?}");
    assert!(machine.succeed(&["list"]).contains("small "));
    let list: Value = serde_json::from_str(&machine.succeed(&["list", "--json"])).expect("JSON");
    let entry = &list["models"][0];
    assert_eq!((&entry["name"], &entry["architecture"]), (&"small".into(), &"RWKV-7".into()));
    let info: Value = serde_json::from_str(&machine.succeed(&["info", "small", "--json"])).unwrap();
    assert_eq!(
        (&entry["parameters"], &entry["state_bytes"]),
        (&info["parameters"], &info["state_bytes"])
    );
    assert_eq!(entry["bytes"], info["file_bytes"]);

    let args = ["pull", SOURCE, "--as", "small", "--json"];
    let pulled: Value = serde_json::from_str(&machine.succeed(&args)).expect("JSON");
    assert_eq!((&pulled["name"], &pulled["source"]), (&"small".into(), &SOURCE.into()));
    assert_eq!(pulled["bytes"], info["file_bytes"]);
    assert_eq!(pulled["content_hash"], info["content_hash"]);
    let again = [&args[..], &["--vocab", "bytes", "--force"]].concat();
    assert_eq!(machine.succeed(&again), machine.succeed(&args));

    let error = machine.refusal(&["rm", "small"]);
    assert!(error.contains("--yes"), "{error}");
    machine.succeed(&["rm", "small", "--yes"]);
    assert!(machine.folder_is_empty());
    let error = machine.refusal(&["info", "-m", "small"]);
    assert!(error.contains("no model of that name"), "{error}");
}

#[test]
fn what_is_there_is_not_pulled_again_unless_forced() {
    let machine = Machine::new("pull-again");
    machine.pull();
    machine.hub.requests();
    assert!(machine.pull().contains("there already"));
    assert!(machine.hub.requests().is_empty());
    machine.succeed(&["pull", SOURCE, "--as", "small", "--vocab", "bytes", "--force"]);
    assert_eq!(machine.downloads().len(), 1);
    machine.assert_is_pulled();
}

#[test]
fn the_checkpoint_is_kept_where_that_is_asked_for() {
    let machine = Machine::new("pull-keep");
    machine.succeed(&["pull", SOURCE, "--vocab", "bytes", "--keep"]);
    assert_eq!(machine.names(), ["model.kinglet", "model.pth"]);
    let kept = fs::read(machine.folder.file("models/model.pth")).expect("the checkpoint");
    assert_eq!(sha256(&kept), sha256(&machine.bytes));
}

#[test]
fn a_token_goes_to_the_endpoint_alone() {
    let machine = Machine::new("pull-token");
    machine.hub.change(|file| file.wants = Some("secret"));
    // The repository has another name by now: a redirection within the hub.
    let args = ["pull", "hf:old/repo/model.pth", "--as", "small", "--vocab", "bytes"];
    let error = machine.refusal(&args);
    assert!(error.contains("HF_TOKEN"), "{error}");
    machine.hub.requests();
    let output = machine.command(&args).env("HF_TOKEN", "secret").output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let requests = machine.hub.requests();
    let of = |site| requests.iter().filter(move |request| request.site == site);
    assert_eq!(of(Site::Hub).count(), 2, "the old name and the new one");
    assert!(of(Site::Hub).all(|request| header(request, "authorization") == Some("Bearer secret")));
    assert_eq!(of(Site::Cdn).count(), 1);
    assert!(of(Site::Cdn).all(|request| header(request, "authorization").is_none()));
    // No other server gets it either.
    let url = format!("{}/model.pth", machine.hub.cdn);
    let mut command = machine.command(&["pull", &url, "--as", "other", "--vocab", "bytes"]);
    assert!(command.env("HF_TOKEN", "secret").status().expect("it starts").success());
    let requests = machine.hub.requests();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|request| header(request, "authorization").is_none()));
}

#[test]
fn a_cut_connection_goes_on_where_it_ended() {
    let machine = Machine::new("pull-cut");
    machine.hub.change(|file| file.cuts = vec![300_000, 1_000_000]);
    machine.pull();
    machine.assert_is_pulled();
    let downloads = machine.downloads();
    let ranges: Vec<_> = downloads.iter().map(|request| header(request, "range")).collect();
    assert_eq!(ranges, [None, Some("bytes=300000-"), Some("bytes=1300000-")]);
    assert_eq!(header(&downloads[1], "if-range"), Some("\"first\""));
    // Every byte was sent once.
    assert_eq!(downloads.iter().map(|request| request.sent).sum::<usize>(), machine.bytes.len());
}

/// Pulls until `len` bytes are there, and kills the program.
fn kill_at(machine: &Machine, len: usize) {
    machine.hub.change(|file| (file.cuts, file.stalls) = (vec![len], true));
    let args = ["pull", SOURCE, "--as", "small", "--vocab", "bytes"];
    let mut child = machine.command(&args).spawn().expect("the program starts");
    while fs::metadata(machine.part()).map_or(0, |metadata| metadata.len()) < len as u64 {
        assert!(child.try_wait().expect("a child").is_none(), "it ended by itself");
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("a signal");
    child.wait().expect("a child");
    machine.hub.change(|file| file.stalls = false);
}

#[test]
fn a_killed_download_goes_on_where_it_ended() {
    let machine = Machine::new("pull-killed");
    kill_at(&machine, 700_000);
    assert_eq!(machine.names(), ["small.download", "small.download.json"]);
    assert!(machine.succeed(&["list"]).contains("small: 700 kB of its download"));
    machine.hub.requests();
    machine.pull();
    machine.assert_is_pulled();
    let downloads = machine.downloads();
    assert_eq!(downloads.len(), 1);
    assert_eq!(header(&downloads[0], "range"), Some("bytes=700000-"));
}

#[test]
fn one_program_at_a_time_pulls_a_model() {
    let machine = Machine::new("pull-twice");
    machine.hub.change(|file| (file.cuts, file.stalls) = (vec![1000], true));
    let args = ["pull", SOURCE, "--as", "small", "--vocab", "bytes"];
    let mut child = machine.command(&args).spawn().expect("the program starts");
    while fs::metadata(machine.part()).map_or(0, |metadata| metadata.len()) < 1000 {
        thread::sleep(Duration::from_millis(5));
    }
    let error = machine.refusal(&args);
    child.kill().expect("a signal");
    child.wait().expect("a child");
    assert!(error.contains("another kinglet writes"), "{error}");
}

#[test]
fn a_file_that_changed_meanwhile_begins_again() {
    // For the CDN it is another file: it sends all of it.
    let machine = Machine::new("pull-changed-cdn");
    kill_at(&machine, 500_000);
    machine.hub.change(|file| file.etag = "\"second\"".to_owned());
    machine.hub.requests();
    machine.pull();
    machine.assert_is_pulled();
    let downloads = machine.downloads();
    assert_eq!(downloads.len(), 1);
    assert_eq!(downloads[0].sent, machine.bytes.len());

    // For the hub it is another one, although the CDN's tag is the same.
    let machine = Machine::new("pull-changed-hub");
    let older = machine.bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
    machine.hub.change(|file| *file = File::new(older));
    kill_at(&machine, 500_000);
    machine.hub.change(|file| *file = File::new(machine.bytes.clone()));
    machine.pull();
    machine.assert_is_pulled();
}

#[test]
fn a_wrong_checksum_removes_the_file() {
    let machine = Machine::new("pull-checksum");
    let stated = sha256(b"another file");
    machine.hub.change(|file| file.linked_etag = Some(stated.clone()));
    let error = machine.refusal(&["pull", SOURCE, "--vocab", "bytes"]);
    let found = sha256(&machine.bytes);
    assert!(error.contains(&stated) && error.contains(&found), "{error}");
    assert!(machine.names().is_empty(), "{:?}", machine.names());
}

#[test]
fn a_file_without_a_checksum_is_taken_with_a_note() {
    let machine = Machine::new("pull-no-checksum");
    machine.hub.change(|file| (file.linked_etag, file.linked_size) = (None, None));
    let output = machine.kinglet(&["pull", SOURCE, "--as", "small", "--vocab", "bytes"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.contains("states no SHA-256"), "{errors}");
    machine.assert_is_pulled();
}

#[test]
fn a_full_disk_keeps_what_is_there() {
    const LIMIT: u64 = 600_000;
    let machine = Machine::new("pull-full");
    let mut command = machine.command(&["pull", SOURCE, "--as", "small", "--vocab", "bytes"]);
    // SAFETY: both calls are async-signal-safe, and change nothing but the process that begins.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let error = refused(command.output().expect("the program starts"));
    assert!(error.contains("cannot write") && error.contains("small.download"), "{error}");
    assert_eq!(fs::metadata(machine.part()).expect("the part").len(), LIMIT);
    machine.hub.requests();
    machine.pull();
    machine.assert_is_pulled();
    assert_eq!(header(&machine.downloads()[0], "range"), Some("bytes=600000-"));
}

#[test]
fn what_the_disk_has_no_room_for_is_not_begun() {
    let machine = Machine::new("pull-room");
    let size = 1 << 60;
    // The CDN says nothing of the length.
    machine.hub.change(|file| (file.linked_size, file.surplus) = (Some(size), 1));
    let error = machine.refusal(&["pull", SOURCE, "--vocab", "bytes"]);
    assert!(error.contains("1.15 EB for the download") && error.contains("free"), "{error}");
    assert!(!Path::new(&machine.part()).exists());
}

#[test]
fn servers_that_send_something_else_are_not_believed() {
    let machine = Machine::new("pull-hostile");
    let length = machine.bytes.len();
    machine.hub.change(|file| file.linked_size = Some(length as u64 + 1));
    let error = machine.refusal(&["pull", SOURCE, "--vocab", "bytes"]);
    assert!(error.contains(&format!("the hub states {}", length + 1)), "{error}");

    machine.hub.change(|file| (file.linked_size, file.surplus) = (Some(length as u64), 5));
    let error = machine.refusal(&["pull", SOURCE, "--vocab", "bytes"]);
    assert!(error.contains("more bytes than the file has"), "{error}");
    machine.succeed(&["rm", "model", "--yes"]);
    assert!(machine.names().is_empty());

    machine.hub.change(|file| *file = File::new(machine.bytes.clone()));
    kill_at(&machine, 100_000);
    machine.hub.change(|file| file.wrong_range = Some(50_000));
    let args = ["pull", SOURCE, "--as", "small", "--vocab", "bytes"];
    let error = machine.refusal(&args);
    assert!(error.contains("sends from byte 50000, asked for byte 100000"), "{error}");
    machine.hub.change(|file| file.wrong_range = None);
    machine.pull();
    machine.assert_is_pulled();
}

#[test]
fn a_server_that_never_sends_all_is_given_up() {
    let machine = Machine::new("pull-never-all");
    let length = machine.bytes.len() as u64;
    // The CDN states no length, and has less than the hub says.
    machine.hub.change(|file| (file.linked_size, file.surplus) = (Some(length + 2), 1));
    let error = machine.refusal(&["pull", SOURCE, "--vocab", "bytes"]);
    assert!(error.contains("never all of it"), "{error}");
    assert!(machine.downloads().len() < 10);
}

#[test]
fn what_is_no_checkpoint_stays_and_can_be_removed() {
    let machine = Machine::new("pull-no-checkpoint");
    machine.hub.change(|file| *file = File::new(b"<html>not a checkpoint</html>".to_vec()));
    let error = machine.refusal(&["pull", SOURCE, "--as", "small"]);
    assert!(error.contains("`kinglet rm small.download` removes it"), "{error}");
    let (cause, rest) = error.split_once("; what was downloaded stays").expect("both");
    assert!(cause.contains("small.download") && !rest.contains("format"), "{error}");
    machine.succeed(&["rm", "--yes", "small.download"]);
    assert!(machine.names().is_empty());
}

#[test]
fn a_model_file_is_taken_as_it_is() {
    let machine = Machine::new("pull-model-file");
    let model = fs::read(support::stories("stories.kinglet")).expect("the model");
    machine.hub.change(|file| *file = File::new(model));
    machine.succeed(&["pull", "hf:owner/repo/teller.kinglet"]);
    assert_eq!(machine.names(), ["teller.kinglet"]);
    assert_eq!(machine.succeed(&["digest", "teller"]).trim(), "5774c7a9");
}

#[test]
fn a_proxy_is_asked_and_its_exceptions_are_not() {
    let machine = Machine::new("pull-proxy");
    let pull = |name: &str, endpoint: &str, no_proxy: &str| {
        let args = ["pull", SOURCE, "--as", name, "--vocab", "bytes"];
        let mut command = machine.command(&args);
        command.env("HTTP_PROXY", &machine.hub.proxy).env("HTTPS_PROXY", &machine.hub.proxy);
        command.env("NO_PROXY", no_proxy).env("HF_ENDPOINT", endpoint);
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        machine.hub.requests()
    };
    // Only the proxy knows that host.
    let requests = pull("one", "http://hub.invalid", "127.0.0.1");
    assert!(
        requests
            .iter()
            .any(|request| request.site == Site::Proxy && request.target.contains("hub.invalid")),
        "{requests:?}"
    );
    let requests = pull("two", &machine.hub.endpoint, "127.0.0.1");
    assert!(requests.iter().all(|request| request.site != Site::Proxy), "{requests:?}");
}

#[test]
fn without_a_network_the_way_by_hand_is_shown() {
    let machine = Machine::new("pull-offline");
    // A port at which nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let mut command = machine.command(&["pull", "g1-0.1b", "--force"]);
    let error = refused(command.env("HF_ENDPOINT", &endpoint).output().expect("it starts"));
    let folder = machine.folder.file("models");
    for said in [
        &*format!("cannot reach {endpoint}"),
        "1. get https://huggingface.co/BlinkDL/rwkv7-g1/resolve/main/rwkv7-g1d-0.1b-20260129-ctx8192.pth (382 MB)",
        "2. kinglet quantize rwkv7-g1d-0.1b-20260129-ctx8192.pth -o g1-0.1b.kinglet",
        &format!("3. put g1-0.1b.kinglet into {folder}"),
        "4. kinglet chat g1-0.1b",
    ] {
        assert!(error.contains(said), "{said} is not in\n{error}");
    }
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let machine = Machine::new("pull-proxy-refuses");
    // It closes each connection before it answers.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = proxy.local_addr().expect("an address");
    thread::spawn(move || proxy.incoming().for_each(drop));
    let mut command = machine.command(&["pull", "g1-0.1b", "--force"]);
    command.env("HTTPS_PROXY", format!("http://me:secret@{address}"));
    command.env("HF_ENDPOINT", "https://hub.invalid");
    let error = refused(command.output().expect("it starts"));
    assert!(error.contains(&format!("by the proxy http://{address}")), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn what_is_here_is_not_pulled() {
    let machine = Machine::new("pull-here");
    let file = machine.folder.write("here.pth", "x");
    let error = machine.refusal(&["pull", &file]);
    assert!(error.contains(&format!("`kinglet quantize {file} -o NAME.kinglet`")), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_looked_for_elsewhere() {
    let machine = Machine::new("pull-missing");
    machine.hub.change(|file| file.refuses = Some("404 Not Found"));
    let error = machine.refusal(&["pull", "g1-0.1b", "--force"]);
    assert!(error.contains("404") && error.contains("hf:BlinkDL/rwkv7-g1/FILE"), "{error}");
    machine.hub.change(|file| *file = File::new(b"other".to_vec()));
    let error = machine.refusal(&["pull", "g1-0.1b", "--force"]);
    assert!(error.contains("it was replaced"), "{error}");
    assert!(machine.downloads().iter().all(|request| request.sent <= 5));
}

#[test]
fn the_list_says_what_fits_and_what_is_here() {
    let machine = Machine::new("pull-list");
    let list = machine.succeed(&["pull"]);
    assert!(list.contains("g1-0.1b") && list.contains("Apache-2.0"), "{list}");
    let json: Value = serde_json::from_str(&machine.succeed(&["pull", "--json"])).expect("JSON");
    let models = json["models"].as_array().expect("a list");
    assert!(models.iter().all(|model| model["here"] == false));
    // As `fit` counts it: RWKV-7 of 0.1B with the World vocabulary.
    assert_eq!((&models[0]["name"], &models[0]["bytes"]), (&"g1-0.1b".into(), &382_000_000.into()));
    let bytes = models[0]["model_bytes"].as_u64().expect("a number");
    assert!((203_000_000..206_000_000).contains(&bytes), "{bytes}");
    fs::create_dir_all(machine.folder.file("models")).expect("a folder");
    fs::write(machine.folder.file("models/g1-0.1b.kinglet"), "").expect("a file");
    let json: Value = serde_json::from_str(&machine.succeed(&["pull", "--json"])).expect("JSON");
    assert_eq!(json["models"][0]["here"], true);
    assert!(machine.hub.requests().is_empty());
    for (name, near) in [("g1-0.2b", "g1-0.1b"), ("world6", "world6-3b")] {
        let error = machine.refusal(&["pull", name]);
        assert!(error.contains(near), "{error}");
    }
}

#[test]
fn endpoints_that_are_none_are_refused() {
    let machine = Machine::new("pull-endpoint");
    for endpoint in ["huggingface.co", "ftp://x", "http://"] {
        let mut command = machine.command(&["pull", SOURCE]);
        let error = refused(command.env("HF_ENDPOINT", endpoint).output().expect("it starts"));
        assert!(error.contains("HF_ENDPOINT"), "{endpoint}: {error}");
    }
}

/// A model file that is shorter than it says.
fn cut_model() -> Vec<u8> {
    let mut model = fs::read(support::stories("stories.kinglet")).expect("the model");
    model.truncate(1_000_000);
    model
}

#[test]
fn a_good_model_stays_where_the_new_one_is_damaged() {
    let machine = Machine::new("pull-damaged");
    let good = fs::read(support::stories("stories.kinglet")).expect("the model");
    machine.hub.change(|file| *file = File::new(good.clone()));
    machine.succeed(&["pull", "hf:owner/repo/teller.kinglet"]);
    let mut flipped = good.clone();
    flipped[900_000] ^= 1;
    for damaged in [cut_model(), flipped] {
        machine.hub.change(|file| *file = File::new(damaged));
        let error = machine.refusal(&["pull", "hf:owner/repo/teller.kinglet", "--force"]);
        assert!(error.contains("no whole model"), "{error}");
        assert!(error.contains("`kinglet rm teller.download` removes it"), "{error}");
        let there = fs::read(machine.folder.file("models/teller.kinglet")).expect("the model");
        assert!(there == good);
        // What is advised leaves the model.
        assert!(machine.succeed(&["list"]).contains("kinglet rm teller.download"));
        machine.succeed(&["rm", "teller.download", "--yes"]);
        assert_eq!(machine.names(), ["teller.kinglet"]);
    }
}

/// Takes from the server all that tells one file from another.
fn tell_nothing(file: &mut File) {
    (file.linked_etag, file.linked_size, file.etag) = (None, None, String::new());
}

#[test]
fn a_cut_download_of_an_unknown_file_begins_again() {
    let machine = Machine::new("pull-unknown-file");
    let older = machine.bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
    machine.hub.change(|file| file.bytes = older);
    machine.hub.change(tell_nothing);
    kill_at(&machine, 500_000);
    machine.hub.change(|file| file.bytes = machine.bytes.clone());
    machine.hub.requests();
    machine.pull();
    machine.assert_is_pulled();
    let downloads = machine.downloads();
    assert_eq!(downloads.len(), 1);
    assert_eq!(header(&downloads[0], "range"), None);
}

#[test]
fn a_file_of_another_length_begins_again() {
    let machine = Machine::new("pull-other-length");
    machine.hub.change(|file| (file.linked_etag, file.linked_size) = (None, None));
    // The tag stays, the length does not.
    machine.hub.change(|file| {
        file.bytes = file.bytes.iter().map(|byte| byte ^ 1).chain([0; 10]).collect();
    });
    kill_at(&machine, 500_000);
    machine.hub.change(|file| file.bytes = machine.bytes.clone());
    machine.hub.requests();
    machine.pull();
    machine.assert_is_pulled();
    let ranges: Vec<_> =
        machine.downloads().iter().map(|request| header(request, "range").is_some()).collect();
    assert_eq!(ranges, [true, false]);
}

#[test]
fn what_was_damaged_on_the_way_is_fetched_again() {
    let machine = Machine::new("pull-damaged-on-the-way");
    machine.hub.change(|file| (file.linked_etag, file.linked_size) = (None, None));
    machine.hub.change(|file| file.bytes = b"<html>the proxy's own page</html>".to_vec());
    let args = ["pull", SOURCE, "--as", "small", "--vocab", "bytes"];
    let error = machine.refusal(&args);
    assert!(error.contains("the next pull begins again"), "{error}");
    machine.hub.change(|file| file.bytes = machine.bytes.clone());
    machine.pull();
    machine.assert_is_pulled();

    // With a checksum it is what is published, and is not fetched again for a wrong vocabulary.
    let machine = Machine::new("pull-wrong-vocabulary");
    let error = machine.refusal(&["pull", SOURCE, "--as", "small", "--vocab", "world"]);
    assert!(error.contains("--vocab"), "{error}");
    machine.hub.requests();
    machine.pull();
    machine.assert_is_pulled();
    assert!(machine.downloads().is_empty());
}

#[test]
fn another_checkpoint_of_the_same_name_is_refused() {
    let machine = Machine::new("pull-same-name");
    machine.succeed(&["pull", SOURCE, "--vocab", "bytes"]);
    let url = format!("{}/owner/repo/resolve/main/model.pth", machine.hub.endpoint);
    for same in [SOURCE, "hf:owner/repo@main/model.pth", &url] {
        let notes = machine.notes(&["pull", same]);
        assert!(notes.contains("is there already"), "{notes}");
    }
    for other in ["hf:other/repo/model.pth", "hf:owner/repo@v2/model.pth", "hf:owner/repo/model.pt"]
    {
        let error = machine.refusal(&["pull", other]);
        assert!(error.contains("another model") && error.contains("--as NAME"), "{error}");
        assert!(error.contains(SOURCE) && error.contains(other), "{error}");
    }
    // A file that was put there by hand tells by the name of its checkpoint.
    fs::remove_file(machine.folder.file("models/model.source")).expect("the note");
    machine.succeed(&["pull", SOURCE]);
    let error = machine.refusal(&["pull", "hf:owner/repo/model.safetensors"]);
    assert!(error.contains("came from model.pth"), "{error}");
    fs::write(machine.folder.file("models/model.kinglet"), "none").expect("a file");
    let error = machine.refusal(&["pull", SOURCE]);
    assert!(error.contains("cannot be used") && error.contains("--force"), "{error}");
}

#[test]
fn without_a_vocabulary_the_checkpoint_stays() {
    let machine = Machine::new("pull-mute");
    let notes = machine.notes(&["pull", SOURCE, "--as", "small"]);
    let next = format!("kinglet pull {SOURCE} --as small --vocab FILE --force");
    assert!(notes.contains(&next) && !notes.contains("kinglet run"), "{notes}");
    assert_eq!(machine.names(), ["small.download", "small.download.json", "small.kinglet"]);
    machine.hub.requests();
    machine.succeed(&["pull", SOURCE, "--as", "small", "--vocab", "bytes", "--force"]);
    assert!(machine.hub.requests().is_empty());
    machine.assert_is_pulled();
    // None was asked for.
    let notes = machine.notes(&["pull", SOURCE, "--as", "small", "--vocab", "none", "--force"]);
    assert!(!notes.contains("next:"), "{notes}");
    assert_eq!(machine.names(), ["small.kinglet"]);
}

#[test]
fn kept_checkpoints_have_the_models_names_and_replace_nothing() {
    let machine = Machine::new("pull-keep-names");
    for name in ["one", "two"] {
        machine.succeed(&["pull", SOURCE, "--as", name, "--vocab", "bytes", "--keep"]);
    }
    assert_eq!(machine.names(), ["one.kinglet", "one.pth", "two.kinglet", "two.pth"]);
    fs::write(machine.folder.file("models/three.pth"), "mine").expect("a file");
    machine.hub.requests();
    let error = machine.refusal(&["pull", SOURCE, "--as", "three", "--vocab", "bytes", "--keep"]);
    assert!(error.contains("three.pth is there already"), "{error}");
    let error = machine.refusal(&["pull", "hf:x/A/..", "--as", "dots", "--keep"]);
    assert!(error.contains("name of a file"), "{error}");
    assert!(machine.hub.requests().is_empty());
    assert_eq!(fs::read(machine.folder.file("models/three.pth")).expect("it"), b"mine");
    let list = machine.succeed(&["list"]);
    assert!(list.contains("`kinglet rm two.pth` removes that alone"), "{list}");
    machine.succeed(&["rm", "two.pth", "--yes"]);
    let list: Value = serde_json::from_str(&machine.succeed(&["list", "--json"])).expect("JSON");
    assert_eq!(list["checkpoints"].as_array().map(Vec::len), Some(2));
    let removed: Value =
        serde_json::from_str(&machine.succeed(&["rm", "one", "--yes", "--json"])).expect("JSON");
    let paths: Vec<_> = removed["removed"].as_array().into_iter().flatten().collect();
    let ends = |end: &str| paths.iter().any(|file| file["path"].as_str().unwrap().ends_with(end));
    assert!(ends("one.kinglet") && ends("one.pth"), "{removed}");
    assert_eq!(machine.names(), ["three.pth", "two.kinglet"]);
}

#[test]
fn secrets_of_a_url_are_not_shown() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::new("pull-secrets");
    machine.hub.change(|file| (file.cuts, file.stalls) = (vec![1000], true));
    let url = format!("{}/model.pth?token=SEC", machine.hub.cdn).replace("://", "://user:pw@");
    let args = ["pull", &url, "--as", "small", "--vocab", "bytes"];
    let mut child = machine.command(&args).spawn().expect("the program starts");
    while fs::metadata(machine.part()).map_or(0, |metadata| metadata.len()) < 1000 {
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("a signal");
    child.wait().expect("a child");
    let record = machine.folder.file("models/small.download.json");
    let mode = fs::metadata(&record).expect("the record").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    machine.hub.change(|file| file.stalls = false);
    machine.pull();
    let notes = fs::read_to_string(machine.folder.file("models/small.source")).expect("a note");
    let info = machine.succeed(&["info", "small"]);
    // A port at which nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let away = format!("http://user:pw@{address}/other.pth?token=SEC");
    let error = machine.refusal(&["pull", &away]);
    assert!(error.contains(&format!("get http://{address}/other.pth with")), "{error}");
    let bad = machine.refusal(&["pull", "http://user:pw@a b/other.pth?token=SEC"]);
    for said in [notes, info, error, bad] {
        assert!(!said.contains("SEC") && !said.contains("pw"), "{said}");
    }
}

#[test]
fn what_a_plain_server_refuses_has_nothing_to_do_with_the_hub() {
    let machine = Machine::new("pull-plain-refusals");
    // Another server than the endpoint, which answers as the hub does.
    let url = format!("{}/model.pth", machine.hub.endpoint);
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found"] {
        machine.hub.change(|file| file.refuses = Some(status));
        let mut command = machine.command(&["pull", &url]);
        let error = refused(command.env("HF_ENDPOINT", "http://hub.invalid").output().unwrap());
        assert!(error.contains(status) && error.contains("URL"), "{error}");
        assert!(!error.contains("HF_TOKEN") && !error.contains("repository"), "{error}");
    }
}

#[test]
fn the_provenance_has_the_published_name() {
    let machine = Machine::new("pull-provenance");
    machine.pull();
    let info: Value = serde_json::from_str(&machine.succeed(&["info", "small", "--json"])).unwrap();
    let provenance = info["provenance"].as_str().expect("a text");
    assert!(provenance.starts_with("source: model.pth\n"), "{provenance}");
}

#[test]
fn one_hint_ends_it_and_quiet_silences_it() {
    let machine = Machine::new("pull-hints");
    let output = machine.kinglet(&["pull", SOURCE, "--as", "small", "--vocab", "bytes"]);
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
    let hints = said.concat().matches("kinglet run").count();
    assert_eq!(hints, 1, "{said:?}");
    for again in [&["--force"][..], &[]] {
        let mut args = vec!["-q", "pull", SOURCE, "--as", "small", "--vocab", "bytes"];
        args.extend(again);
        let output = machine.kinglet(&args);
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("kinglet"), "{output:?}");
    }
    for alone in [&["--as", "x"][..], &["--vocab", "bytes"], &["--keep"], &["--force"]] {
        let mut args = vec!["pull"];
        args.extend(alone);
        let error = machine.refusal(&args);
        assert!(error.contains("required arguments"), "{error}");
    }
}
