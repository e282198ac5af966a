//! Adapters and tuned states on the command line.

mod support;

use support::{Folder, golden, kinglet, refusal, stories, succeed};

fn info(model: &str) -> serde_json::Value {
    serde_json::from_str(&succeed(&["info", "--json", "-m", model])).expect("JSON")
}

/// A safetensors file of f32: a tuned state for the shipped model, 6 layers of 2 heads of 64.
fn write_stories_state(path: &str) {
    const SHAPE: [usize; 3] = [2, 64, 64];
    let len = 4 * SHAPE.iter().product::<usize>();
    let header: serde_json::Map<_, _> = (0..6)
        .map(|layer| {
            let offsets = [layer * len, (layer + 1) * len];
            let entry = serde_json::json!({
                "dtype": "F32", "shape": SHAPE, "data_offsets": offsets
            });
            (format!("blocks.{layer}.att.time_state"), entry)
        })
        .collect();
    let header = serde_json::to_vec(&header).expect("JSON");
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    // Large enough to change what a text says.
    let value = |i: usize| (i as f32 * 0.61).sin() * 8.0;
    file.extend((0..6 * len / 4).flat_map(|i| value(i).to_le_bytes()));
    std::fs::write(path, file).expect("the state");
}

#[test]
fn a_tuned_state_starts_every_text_from_the_model_or_from_a_file() {
    let folder = Folder::new("tuning-state");
    let [state, plain, tuned, file] =
        ["state.safetensors", "plain.kinglet", "tuned.kinglet", "tuned.state"]
            .map(|name| folder.file(name));
    write_stories_state(&state);
    let (base, vocab) = (stories("stories.pth"), stories("stories.vocab.txt"));
    succeed(&["quantize", &base, "--vocab", &vocab, "-o", &plain]);
    succeed(&["quantize", &base, "--vocab", &vocab, "--tuned-state", &state, "-o", &tuned]);
    succeed(&["state", &state, "-m", &plain, "-o", &file]);
    assert_eq!(folder.contents().len(), 4);

    let tell = |args: &[&str]| succeed(&[&["run", "--temp", "0", "-n", "40"], args].concat());
    for prompt in [&["Once upon a time"][..], &[]] {
        let of_model = tell(&[prompt, &["-m", &tuned]].concat());
        let of_file = tell(&[prompt, &["-m", &plain, "--state", &file]].concat());
        let rest = of_file.strip_prefix(prompt.first().unwrap_or(&"")).expect("the prompt");
        assert!(of_model.ends_with(rest), "{of_model:?} and {of_file:?}");
        assert_ne!(of_model, tell(&[prompt, &["-m", &plain]].concat()));
    }
    // The weights are the same, so that a state file fits both.
    tell(&["Once", "-m", &tuned, "--state", &file]);
    let digest = |model: &str, more: &[&str]| succeed(&[&["digest", "-m", model], more].concat());
    assert_ne!(digest(&tuned, &[]), digest(&plain, &[]));
    assert_eq!(digest(&tuned, &[]), digest(&tuned, &["--restore", "--batch", "7"]));

    let (of_tuned, of_plain) = (info(&tuned), info(&plain));
    assert_eq!(of_tuned["tuned_start_state"], true);
    assert_eq!(of_plain["tuned_start_state"], false);
    assert_eq!(of_tuned["content_hash"], of_plain["content_hash"]);
    assert_eq!(of_tuned["section_bytes"]["start_state"], of_tuned["state_bytes"]);
    let provenance = of_tuned["provenance"].as_str().expect("text");
    assert!(provenance.contains("state: state.safetensors\nstate-sha256: "), "{provenance}");
    let text = succeed(&["info", "-m", &tuned]);
    assert!(text.contains("starts from a tuned state"), "{text}");
    assert!(!succeed(&["info", "-m", &plain]).contains("tuned state"));
}

#[test]
fn a_tuned_state_becomes_a_file_for_an_f16_engine() {
    let folder = Folder::new("tuning-f16");
    let [state, f32, f16] =
        ["state.safetensors", "f32.state", "f16.state"].map(|name| folder.file(name));
    write_stories_state(&state);
    succeed(&["state", &state, "-o", &f32]);
    succeed(&["state", &state, "--state-type", "f16", "-o", &f16]);
    let [f32, f16_bytes] = [&f32, &f16].map(|path| std::fs::read(path).expect("a state"));
    let floats = f32[64..].chunks(4).map(|x| f32::from_le_bytes(x.try_into().unwrap()));
    let halves = f16_bytes[64..].chunks(2).map(|x| u16::from_le_bytes(x.try_into().unwrap()));
    assert_eq!(floats.len(), halves.len());
    let rounded = floats.map(kinglet::num::state_dtype::StateElement::narrow);
    assert!(rounded.map(kinglet::num::state_dtype::f16::to_bits).eq(halves));

    let tell = ["run", "--temp", "0", "-n", "20", "--state", &f16];
    let told = succeed(&[&tell[..], &["--state-type", "f16"]].concat());
    assert_ne!(told, succeed(&["run", "--temp", "0", "-n", "20", "--state-type", "f16"]));
    assert!(refusal(&tell).contains("--state-type f16"));
}

#[test]
fn an_adapter_is_merged_and_named() {
    let folder = Folder::new("tuning-lora");
    let [plain, merged] = ["plain.kinglet", "merged.kinglet"].map(|name| folder.file(name));
    let (base, lora) = (golden("v7/model.pth"), golden("v7/lora.pth"));
    succeed(&["quantize", &base, "-o", &plain]);
    let quantized = kinglet(&["quantize", &base, "--lora", &lora, "--alpha", "16", "-o", &merged]);
    let said = String::from_utf8(quantized.stderr).expect("UTF-8");
    assert!(quantized.status.success(), "{said}");
    assert!(said.contains("LoRA on 18 matrices, 2 tensors replaced"), "{said}");
    let (of_merged, of_plain) = (info(&merged), info(&plain));
    assert_ne!(of_merged["content_hash"], of_plain["content_hash"]);
    let provenance = of_merged["provenance"].as_str().expect("text");
    assert!(provenance.starts_with("source: model.pth\n"), "{provenance}");
    for line in ["adapter: lora.pth\nadapter-sha256: ", "adapter-alpha: 16\n"] {
        assert!(provenance.contains(line), "{provenance}");
    }
}

#[test]
fn wrong_use_says_what_to_do() {
    let folder = Folder::new("tuning-refused");
    let out = folder.file("out.kinglet");
    let (base, lora, state) =
        (golden("v7/model.pth"), golden("v7/lora.pth"), golden("v7/state.pth"));
    let (other, dummy) = (golden("v6/model.pth"), golden("v7_dummy/model.pth"));
    let quantize = |args: &[&str]| refusal(&[&["quantize", "-o", &out], args].concat());
    for (args, said) in [
        (&[&*base, "--lora", &lora][..], &["lora.pth", "rank 8", "`--alpha N`"][..]),
        (&[&other, "--lora", &lora, "--alpha", "16"], &["lora.pth", "base"]),
        (
            &[&dummy, "--lora", &lora, "--alpha", "16"],
            &["lora.pth", "lora_A", "[64, 64]", "pass the base checkpoint"],
        ),
        (&[&base, "--lora", &state], &["state.pth", "holds no adapter", "pass a tuned state as"]),
        (&[&base, "--lora", &base], &["model.pth", "holds no adapter", "quantized by itself"]),
        (&[&base, "--lora", &folder.file("absent")], &["absent"]),
        (
            &[&base, "--lora", &lora, "--lora", &lora, "--alpha", "16"],
            &["lora.pth", "adapted twice"],
        ),
        (&[&base, "--alpha", "16"], &["--lora"]),
        (&[&base, "--lora", &lora, "--alpha", "inf"], &["not a finite number"]),
        (&[&base, "--tuned-state", &lora], &["lora.pth", "holds no tuned state"]),
        (
            &[&other, "--tuned-state", &state],
            &["state.pth", "the tuned state has 3 layers; the model has 2"],
        ),
        (&[&golden("v4/model.pth"), "--state", &state], &["state.pth", "RWKV-5, 6 or 7"]),
        (&[&lora], &["lora.pth", "--lora"]),
        (&[&state], &["state.pth", "--tuned-state", "`kinglet state`"]),
    ] {
        let message = quantize(args);
        for said in said {
            assert!(message.contains(said), "{args:?}: {message} does not say {said:?}");
        }
    }
    let message = refusal(&["state", &state, "-o", &out]);
    assert!(message.contains("state.pth, for the built-in model"), "{message}");
    assert!(message.contains("has 3 layers; the model has 6"), "{message}");
    let message = quantize(&[&base, "--lora", &lora, "--alpha", "1e308"]);
    assert!(message.contains("lora.pth, --alpha 1e308"), "{message}");
    assert_eq!(folder.contents().len(), 0);

    for (input, args) in [("--lora", &["--alpha", "16"][..]), ("--tuned-state", &[])] {
        let from = if input == "--lora" { &lora } else { &state };
        let copy = folder.file("copy.pth");
        std::fs::copy(from, &copy).expect("a copy");
        let all = [&["quantize", &base, input, &copy, "-o", &copy], args].concat();
        let message = refusal(&all);
        assert!(message.contains(&format!("would replace {copy}")), "{message}");
    }
}
