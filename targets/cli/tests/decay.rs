//! `kinglet info --decay`: how long each layer remembers.
#![cfg(feature = "decay")]

mod support;

use serde_json::Value;
use support::{Folder, golden, succeed};

fn decay(args: &[&str]) -> Value {
    let text = succeed(&[&["info", "--decay", "--json"], args].concat());
    serde_json::from_str(&text).expect("JSON")
}

/// `[layer]` of the half-lives.
fn lives(json: &Value) -> Vec<Vec<f64>> {
    let layers = json["layers"].as_array().expect("layers");
    let lives = |layer: &Value| -> Vec<f64> {
        let lives = layer["half_lives"].as_array().expect("half-lives");
        lives.iter().map(|life| life.as_f64().unwrap_or(f64::INFINITY)).collect()
    };
    layers.iter().map(lives).collect()
}

fn quantized(folder: &Folder, version: &str) -> String {
    let model = folder.file(&format!("{version}.kinglet"));
    let checkpoint = golden(&format!("{version}/model.pth"));
    succeed(&["quantize", &checkpoint, "-q", "-o", &model]);
    model
}

#[test]
fn a_text_decides_how_long_rwkv_7_remembers() {
    let folder = Folder::new("decay-7");
    let own = decay(&[]);
    assert_eq!(own["source"]["text"], "its own");
    assert_eq!((&own["unit"], &own["source"]["tokens"]), (&"channel".into(), &511.into()));
    let own = lives(&own);
    assert_eq!((own.len(), own[0].len()), (6, 128));
    // No channel forgets faster than a factor of exp(-e^-0.5) a token.
    let fastest = std::f64::consts::LN_2 / (-0.5f64).exp();
    assert!(own.iter().flatten().all(|life| *life >= fastest && *life < 1e6));
    let text = folder.write("text.txt", "Tom had a red ball. He lost it.\n<|endoftext|>\nOne day");
    let read = decay(&["--text", &text]);
    let ids = succeed(&["tokenize", "--json", "Tom had a red ball. He lost it."]);
    let tokens = ids.matches(',').count() + 1;
    assert!(read["source"]["tokens"].as_u64().unwrap() as usize > tokens + 2);
    assert_ne!(lives(&read), own);
    assert_eq!(lives(&read), lives(&decay(&["--text", &text])), "the same text");
}

/// The matrix that adds to the decay is met in every layer: without it, each half-life would be
/// that of the vector alone.
#[test]
fn every_layer_hears_the_text() {
    let folder = Folder::new("decay-layers");
    let texts = ["Tom ran and ran.", "\"Yes!\" said the big, red bird."];
    let [a, b] = texts.map(|text| lives(&decay(&["--text", &folder.write("t.txt", text)])));
    for (layer, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!(a.iter().zip(b).any(|(a, b)| (a / b - 1.0).abs() > 1e-3), "layer {layer}");
    }
}

#[test]
fn the_weights_decide_it_before_rwkv_6() {
    let folder = Folder::new("decay-old");
    for (version, unit) in [("v4", "channel"), ("v5_0", "head"), ("v5_2", "channel")] {
        let model = quantized(&folder, version);
        let json = decay(&["-m", &model]);
        assert_eq!((&json["source"], &json["unit"]), (&"weights".into(), &unit.into()));
        let export = folder.file("weights.safetensors");
        succeed(&["export", "-m", &model, "-o", &export, "--force"]);
        let decay = vector(&std::fs::read(&export).unwrap(), "blocks.0.att.time_decay");
        for (life, z) in lives(&json)[0].iter().zip(&decay) {
            let expected = std::f64::consts::LN_2 / f64::from(*z).exp();
            assert!((life / expected - 1.0).abs() < 1e-6, "{version}: {life}, {expected}");
        }
    }
}

/// The values of an f32 tensor in a safetensors file.
fn vector(file: &[u8], name: &str) -> Vec<f32> {
    let len = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + len]).unwrap();
    let at = |i: usize| 8 + len + header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    let values = file[at(0)..at(1)].chunks_exact(4);
    values.map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect()
}

#[test]
fn the_horizons_are_drawn() {
    use support::{refusal, stories};
    let folder = Folder::new("decay-plot");
    let svg = folder.file("horizon.svg");
    let table = succeed(&["info", "--decay", "-o", &svg]);
    assert!(table.contains("half-life") && table.contains("median"), "{table}");
    assert_eq!(table.lines().count(), 2 + 6, "a line for each layer");
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    assert!(picture.contains("half-life by channel"), "{picture}");
    // A box for each layer, and the background.
    assert!(picture.matches("<rect").count() > 6);
    let notes = folder.write("notes.txt", "keep");
    assert!(refusal(&["info", "--decay", "-o", &notes]).contains("not an SVG picture"));
    let model = folder.copy(&stories("stories.kinglet"), "m.kinglet");
    let error = refusal(&["info", "--decay", "-m", &model, "-o", &model]);
    assert!(error.contains("would replace"), "{error}");
    assert!(refusal(&["info", "-o", &svg]).contains("--decay"));
    let png = folder.file("horizon.PNG");
    assert!(refusal(&["info", "--decay", "-o", &png]).contains("ends in .svg"));
    let state = folder.file("a.state");
    succeed(&["run", "-n", "1", "--save-state", &state]);
    assert!(refusal(&["info", "--decay", &state]).contains("a.state is a state"));
}
