//! `--device`: what the program says where there is no GPU, no driver or no CUDA in it, which
//! options go together; and under the feature `cuda-emulation`, every command on an emulated GPU,
//! whose kernels are the real ones.

mod support;

use support::{Folder, kinglet, refusal, stories, succeed};

/// No machine has so many.
const NO_GPU: &str = "cuda:60000";

/// Each command that runs a model, as it would run without a device.
fn commands(folder: &Folder) -> Vec<Vec<String>> {
    let text = folder.write("text.txt", "Once upon a time there was a fox.\n");
    let tokens = folder.write("tokens.json", "[0, 1, 2]");
    let logits = folder.file("logits.npy");
    [
        &["run", "-n", "3"][..],
        &["digest"],
        &["perplexity", &text],
        &["logits", "--tokens", &tokens, "-o", &logits],
        &["bench", "-p", "4", "-n", "2", "-r", "1"],
        &["info"],
    ]
    .map(|words| words.iter().map(|&word| word.to_owned()).collect())
    .to_vec()
}

fn words<'a>(command: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    command.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

#[test]
fn a_machine_without_a_gpu_is_told_what_is_missing() {
    let folder = Folder::new("device-none");
    for command in commands(&folder) {
        let said = refusal(&words(&command, &["--device", NO_GPU]));
        assert!(said.starts_with("kinglet: --device cuda:60000: "), "{command:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        if said.contains("built without CUDA") {
            assert!(said.contains("leave --device out"), "{said}");
        } else {
            assert!(said.contains("driver"), "{said}");
            let next = ["install the NVIDIA driver", "update the NVIDIA driver", "nvidia-smi -L"];
            let next = next.iter().any(|next| said.contains(next));
            assert!(next || said.contains("leave --device out"), "{said}");
        }
    }
    assert!(!std::path::Path::new(&folder.file("logits.npy")).exists(), "a file of nothing");
}

#[cfg(all(feature = "cuda", target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[test]
fn cuda_is_in_the_program() {
    assert!(!refusal(&["digest", "--device", NO_GPU]).contains("built without CUDA"));
}

#[test]
fn the_cpu_is_the_default() {
    let plain = succeed(&["digest"]);
    assert_eq!(succeed(&["digest", "--device", "cpu"]), plain);
    assert_eq!(succeed(&["digest", "--device", "cpu", "-t", "1"]), plain);
    let json = succeed(&["bench", "-p", "4", "-n", "2", "-r", "1", "--json"]);
    assert!(json.contains("\"device\": \"cpu\""), "{json}");
    assert!(succeed(&["info", "--json"]).contains("\"device\": null"));
}

#[test]
fn options_that_mean_nothing_there_are_refused() {
    let model = stories("stories.kinglet");
    for (line, said) in [
        (&["digest", "--device", NO_GPU, "-t", "2"][..], "--threads is of the CPU"),
        (&["digest", "--device", NO_GPU, "--kernel", "scalar"], "--kernel is of the CPU"),
        (&["run", "--device", NO_GPU, "-m", &model, "--preload"], "--preload is of the CPU"),
        (&["run", "--device", NO_GPU, "-m", &model, "--lock"], "--lock is of the CPU"),
        (&["bench", "--device", NO_GPU, "-t", "1,2"], "--threads is of the CPU"),
        (&["digest", "--device-layers", "2"], "give --device cuda as well"),
        (&["bench", "--device-layers", "2"], "give --device cuda as well"),
        (&["info", "--device", "cpu", "--device-layers", "2"], "give --device cuda as well"),
        (&["digest", "--device", "gpu"], "known are cpu, cuda and cuda:N"),
        (&["digest", "--device", "cuda:x"], "`x` is no index of a GPU"),
    ] {
        let found = refusal(line);
        assert!(found.contains(said), "{line:?}: {found}");
    }
    // With layers on the CPU they mean something: the device is what is missing.
    let found = refusal(&["digest", "--device", NO_GPU, "--device-layers", "1", "-t", "2"]);
    assert!(found.contains("driver") || found.contains("without CUDA"), "{found}");
}

#[test]
fn help_names_the_devices() {
    for command in ["run", "digest", "perplexity", "logits", "bench", "info"] {
        let help = succeed(&[command, "--help"]);
        assert!(help.contains("--device <DEVICE>") && help.contains("cuda:N"), "{command}");
        assert!(!help.contains("emulated"), "{command}: for tests alone");
    }
    let output = kinglet(&["tokenize", "--device", "cpu", "a"]);
    assert_eq!(output.status.code(), Some(2), "tokenize computes nothing");
}

#[cfg(feature = "cuda-emulation")]
mod emulated {
    use super::*;

    const EMULATED: [&str; 2] = ["--device", "emulated"];

    fn on(args: &[&str], more: &[&str]) -> String {
        succeed(&[args, &EMULATED, more].concat())
    }

    #[test]
    fn the_digest_is_that_of_the_cpu() {
        for args in [
            &["digest"][..],
            &["digest", "--batch", "7", "--tokens", "30", "--restore"],
            &["digest", "--batch", "64", "--state-type", "f16"],
        ] {
            assert_eq!(on(args, &[]), succeed(args), "{args:?}");
        }
        assert_eq!(on(&["digest"], &[]), "5774c7a9\n");
    }

    #[cfg(feature = "quantizer")]
    #[test]
    fn four_bits_compute_the_same() {
        let folder = Folder::new("device-int4");
        let (checkpoint, model) = (support::golden("v6/model.pth"), folder.file("q4.kinglet"));
        let vocabulary = folder.write("vocab.txt", "1 'a' 1\n2 'b' 1\n3 ' ' 1\n");
        let quantize = ["quantize", &checkpoint, "--vocab", &vocabulary, "--bits", "4"];
        succeed(&[&quantize[..], &["-o", &model]].concat());
        let digest = ["digest", "-m", &model, "--batch", "20", "--tokens", "30"];
        assert_eq!(on(&digest, &[]), succeed(&digest));
        assert_eq!(on(&digest, &["--device-layers", "1"]), succeed(&digest));
        let run = ["run", "-m", &model, "--temp", "0", "-n", "8", "abab a"];
        assert_eq!(on(&run, &[]), succeed(&run));
    }

    #[test]
    fn layers_on_the_cpu_do_not_show() {
        for layers in ["0", "1", "2"] {
            let more = ["--device-layers", layers, "-t", "2", "--tokens", "20"];
            assert_eq!(on(&["digest"], &more), succeed(&["digest", "--tokens", "20"]), "{layers}");
        }
        let wrong = refusal(&["digest", "--device", "emulated", "--device-layers", "9999"]);
        assert!(wrong.contains("--device-layers 9999 is more than the model's"), "{wrong}");
    }

    #[test]
    fn what_does_not_fit_stays_on_the_cpu_and_is_told_with_numbers() {
        let digest = |memory: u64, tokens: &str| {
            let device = format!("emulated:{memory}");
            kinglet(&["digest", "--device", &device, "--tokens", tokens])
        };
        let all = succeed(&["info", "--json", "--device", "emulated"]);
        let all: serde_json::Value = serde_json::from_str(&all).expect("JSON");
        let layers = all["device"]["layers"].as_u64().expect("layers");
        assert_eq!(all["device"]["layers"], all["layers"]);
        let weights = all["device"]["weights_bytes"].as_u64().expect("bytes");
        let some = digest(weights / 2, "12");
        let note = String::from_utf8(some.stderr).expect("UTF-8");
        assert!(
            note.starts_with("note: the model needs ") && note.contains("MB are free"),
            "{note}"
        );
        let said = format!("of its {layers} layers are there, the others stay on the CPU");
        assert!(note.contains(&said), "{note}");
        assert_eq!(some.stdout, succeed(&["digest", "--tokens", "12"]).into_bytes());
        let small = digest(1000, "12");
        let error = String::from_utf8(small.stderr).expect("UTF-8");
        assert_eq!(small.status.code(), Some(2));
        for said in ["the model needs", "0 MB are free", "weights", "states", "--batch"] {
            assert!(error.contains(said), "{said}: {error}");
        }
        // What was asked for and does not fit is refused, not divided otherwise.
        let device = format!("emulated:{}", weights / 2);
        let error =
            refusal(&["digest", "--device", &device, "--device-layers", &layers.to_string()]);
        assert!(error.contains("MB are free"), "{error}");
        let info = succeed(&["info", "--device", "emulated"]);
        assert!(info.contains("emulated, bytes") && info.contains("layers"), "{info}");
    }

    #[test]
    fn texts_and_states_go_from_one_to_the_other() {
        let folder = Folder::new("device-states");
        let state = folder.file("fox.state");
        let run = ["run", "--temp", "0"];
        let prompt = "Once upon a time, there was a little fox";
        let whole = succeed(&[&run[..], &[prompt, "-n", "24"]].concat());
        assert_eq!(on(&run, &[prompt, "-n", "24"]), whole);
        let save = [prompt, "-n", "10", "--save-state", &state];
        let rest = ["-n", "14", "--state", &state];
        for (first, second) in [(&EMULATED[..], &[][..]), (&[], &EMULATED)] {
            let start = succeed(&[&run[..], &save, first].concat());
            let end = succeed(&[&run[..], &rest, second].concat());
            assert_eq!(format!("{}{end}", start.trim_end_matches('\n')), whole);
        }
    }

    #[test]
    fn every_command_computes_the_same() {
        let folder = Folder::new("device-commands");
        let text = folder.write("text.txt", "Once upon a time there was a fox.\n");
        let perplexity = ["perplexity", &text, "--json"];
        assert_eq!(on(&perplexity, &[]), succeed(&perplexity));
        let [cpu, gpu] = ["cpu.npy", "gpu.npy"].map(|name| folder.file(name));
        let tokens = folder.write("tokens.json", "[0, 5, 9, 300, 2]");
        let logits = ["logits", "--tokens", &tokens];
        succeed(&[&logits[..], &["-o", &cpu]].concat());
        on(&logits, &["-o", &gpu]);
        assert_eq!(std::fs::read(cpu).expect("a file"), std::fs::read(gpu).expect("a file"));
        let bench = on(&["bench", "-p", "4", "-n", "2", "-r", "1", "--json"], &[]);
        assert!(bench.contains("\"device\": \"emulated\""), "{bench}");
        assert!(bench.contains("\"kernel\": \"cuda\""), "{bench}");
    }
}
