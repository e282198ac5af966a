//! Writes the seeds that fuzzing starts from: whole files of every form, as small as they go.
//!
//!     cargo run --example seeds -- FOLDER
//!
//! Run in `tests/fuzz`. What `cargo fuzz cmin` keeps of them, and of what a run has found, is in
//! `seeds`.

#[path = "../../../quantize/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use kinglet::engine::Engine;
use kinglet::format::state_file::StateSection;
use kinglet::num::state_dtype::{StateElement, f16};
use kinglet::tokenizer::layout::{Header, Kind};
use kinglet::{
    Cpu, Model, Requirements, Sampler, SamplerOptions, Scalar, Section, StateFile, Tokenizer,
};
use kinglet_fuzz::state::MODEL;
use kinglet_quantize::calibrate::Calibration;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::vocabulary::Vocabulary;
use kinglet_quantize::{Bits, Limit, Options, TunedState, convert};
use kinglet_talk::{Session, SessionOptions, Template};
use kinglet_tests::oracle::Version;
use kinglet_tests::quantized::Plain;
use kinglet_tests::random::{Dims, checkpoint, write_safetensors};
use support::{Meta, StateDict, gguf, le_bytes, legacy_pth, pth, rwkv_cpp, safetensors_f32};

const F32: u32 = 0;
const DIMS: Dims = Dims { layers: 2, width: 8, head_size: 4, ffn: 8, vocab: 32, ranks: [2; 6] };
const VERSIONS: [(&str, Version); 7] = [
    ("v4", Version::V4),
    ("v5_0", Version::V5_0),
    ("v5_1", Version::V5_1),
    ("v5_2", Version::V5_2),
    ("v6", Version::V6),
    ("v7", Version::V7),
    ("v7a", Version::V7a),
];
const VOCABULARY: &str = "1 'O' 1\n2 'n' 1\n3 'c' 1\n4 'e' 1\n5 ' ' 1\n6 'once upon' 9\n7 ' up' 3\n\
    8 'on' 2\n9 b'\\xc3' 1\n10 b'\\xa9' 1\n11 'é' 2\n12 '\\n' 1\n13 '\\n\\n' 2\n14 'a' 1\n";

/// The folder that seeds are written to.
struct Seeds(PathBuf);

impl Seeds {
    fn put(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }

    /// Files of the tests' data, by the ends of their names.
    fn put_data(&self, target: &str, ends: &[&str], most: u64) {
        let mut folders =
            vec![PathBuf::from("../data"), PathBuf::from("../../quantize/tests/data")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.display().to_string().replace("../", "").replace('/', "-");
                if path.is_dir() {
                    folders.push(path);
                } else if ends.iter().any(|end| name.ends_with(end))
                    && fs::metadata(&path).unwrap().len() <= most
                {
                    self.put(target, &name, fs::read(&path).unwrap());
                }
            }
        }
    }
}

/// A first part with its length, and a second.
fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    [&(first.len() as u16).to_le_bytes(), first, second].concat()
}

fn models(seeds: &Seeds) {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("a.safetensors"), dir.path().join("a.kinglet"));
    let vocabulary = Vocabulary::from_rwkv_text(VOCABULARY.as_bytes()).unwrap();
    for (name, version) in VERSIONS {
        write_safetensors(&checkpoint(version, DIMS, 7), &source);
        let checkpoint = Checkpoint::open(&source).unwrap();
        let options = || Options { vocabulary: Some(&vocabulary), ..Options::default() };
        convert(&checkpoint, &out, &options(), &mut |_, _| ()).unwrap();
        seeds.put("model", name, fs::read(&out).unwrap());
        seeds.put("safetensors", name, fs::read(&source).unwrap());
        let int8 = fs::metadata(&out).unwrap().len();
        let four = Options { bits: Bits::Four, ..options() };
        convert(&checkpoint, &out, &four, &mut |_, _| ()).unwrap();
        seeds.put("model", &format!("{name}-int4"), fs::read(&out).unwrap());
        // Of both types: nothing is measured but on a few tokens.
        let size = int8.midpoint(fs::metadata(&out).unwrap().len());
        let (runner, texts) = (Plain(1), [(0..16).collect()]);
        let calibration = Some(Calibration { texts: &texts, runner: &runner });
        let mixed = Options { bits: Bits::Auto(Limit::Size(size)), calibration, ..options() };
        convert(&checkpoint, &out, &mixed, &mut |_, _| ()).unwrap();
        seeds.put("model", &format!("{name}-mixed"), fs::read(&out).unwrap());
        if name == "v7" {
            let state: Vec<_> = ["blocks.0.att.time_state", "blocks.1.att.time_state"]
                .map(|name| (name, vec![2, 4, 4], (0..32).map(|i| i as f32 / 32.0).collect()))
                .into();
            let path = dir.path().join("state.safetensors");
            let file = safetensors_f32(&state);
            fs::write(&path, &file).unwrap();
            seeds.put("safetensors", "state", file);
            let shape = kinglet_quantize::shape(&checkpoint).unwrap();
            let state = TunedState::read(&Checkpoint::open(&path).unwrap(), &shape).unwrap();
            let options = Options { state: Some(&state), ..options() };
            convert(&checkpoint, &out, &options, &mut |_, _| ()).unwrap();
            let file = fs::read(&out).unwrap();
            seeds.put("model", "start", &file);
            let aligned = kinglet_fuzz::model::Aligned::new(&file);
            let model = Model::open(aligned.bytes()).unwrap();
            kinglet_quantize::export(&model, &source).unwrap();
            seeds.put("safetensors", "export", fs::read(&source).unwrap());
        }
    }
}

fn state<S: StateElement>(seeds: &Seeds, name: &str) {
    let values: Vec<f32> = (0..MODEL.shape.state_len()).map(|i| i as f32 / 8.0).collect();
    let mut elements = vec![S::zeroed(); values.len()];
    S::narrow_all(&values, &mut elements);
    let mut sampler = Sampler::with_counts(
        SamplerOptions { presence: 0.5, ..SamplerOptions::default() },
        1,
        [0.0; 64],
    )
    .unwrap();
    for token in [3, 5, 5] {
        sampler.accept(token);
    }
    let mut snapshot = vec![0; sampler.snapshot_len()];
    sampler.snapshot(&mut snapshot).unwrap();
    let sections: [(StateSection, &[u8]); 4] = [
        (StateSection::UnfinishedBytes, b"\xc3"),
        (StateSection::Sampler, &snapshot),
        (StateSection::StartState, &[1, 2, 3, 4]),
        (StateSection::Text, b"{}"),
    ];
    for count in 0..=4 {
        let sections = &sections[..count];
        let len = StateFile::<S>::len(&MODEL.shape) + StateFile::<S>::sections_len(sections);
        let mut file = vec![0; len];
        StateFile::write_sections(&MODEL, &elements, Some(17), sections, &mut file).unwrap();
        seeds.put("state", &format!("{name}-{count}"), file);
    }
}

fn sessions(seeds: &Seeds) {
    let bytes = kinglet_fuzz::session::model();
    let model = Model::open(bytes.bytes()).unwrap();
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).unwrap();
    let chat = Template::HuggingFace(
        kinglet_talk::template::ChatTemplate::new(
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}",
        )
        .unwrap(),
    );
    for (name, template) in
        [("g1", Template::named("g1")), ("plain", Template::named("plain")), ("chat", Some(chat))]
    {
        let needs = Requirements::of::<f32>(model.shape(), 8);
        let (mut state, mut work) = (vec![0.0; needs.state], vec![0.0; needs.workspace]);
        let mut engine = Cpu::new(model, Scalar, 8, &mut state, &mut work).unwrap();
        assert_eq!(engine.sequences(), 1);
        let options = SessionOptions {
            seed: 1,
            answer_tokens: 4,
            system: Some("Be brief.".into()),
            ..SessionOptions::default()
        };
        let mut session = Session::new(&mut engine, tokenizer, template.unwrap(), options).unwrap();
        for user in ["Hi", "é?"] {
            session.ask(user).unwrap();
            while session.next_piece().unwrap().is_some() {}
        }
        let file = session.fork().unwrap().to_bytes::<f32>(&model).unwrap();
        seeds.put("session", name, file);
    }
}

/// The NeoX tokenizer with its first merges only.
fn small_byte_pairs() -> Vec<u8> {
    let json = fs::read("../../quantize/tests/data/neox_4096.tokenizer.json").unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    vocab.retain(|_, id| id.as_u64().unwrap() < 300);
    let vocab = vocab.clone();
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    merges.retain(|merge| vocab.contains_key(&merge.as_str().unwrap().replacen(' ', "", 1)));
    let added = json["added_tokens"].as_array_mut().unwrap();
    added.retain(|token| token["id"].as_u64().unwrap() < 2);
    let spaces = serde_json::json!({"id": 300, "special": false, "content": "   ",
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": true});
    added.push(spaces);
    serde_json::to_vec(&json).unwrap()
}

fn tokenizers(seeds: &Seeds) {
    let text = "Once upon  a time é\u{301} 12\n\nonce".as_bytes();
    for offset in [0, 1] {
        let vocab_len = 256 + u32::from(offset);
        let header = Header { kind: Kind::Bytes { offset }, max_token_len: 1, vocab_len };
        seeds.put("tokenizer", &format!("bytes-{offset}"), joined(&header.to_bytes(), text));
    }
    let stories: String =
        kinglet_stories::VOCABULARY.lines().take(300).collect::<Vec<_>>().join("\n");
    let id_json = r#"{"1":"a","2":[195],"3":"b\n","65":"once upon"}"#;
    let lines = "<s>\n'a'\n\"b'\"\nb'\\xff'\n'once upon a time'\n";
    let forms: [(&str, Vec<u8>); 5] = [
        ("text", VOCABULARY.into()),
        ("stories", stories.into()),
        ("ids", id_json.into()),
        ("lines", lines.into()),
        ("pairs", small_byte_pairs()),
    ];
    for (name, file) in forms {
        seeds.put("vocabulary", name, &file);
        seeds.put("vocabulary", &format!("{name}-mark"), [b"\xEF\xBB\xBF", &*file].concat());
        match Vocabulary::read(&file).map(|vocabulary| vocabulary.pack()) {
            Ok(section) => seeds.put("tokenizer", name, joined(&section.unwrap(), text)),
            Err(error) => println!("{name}: {error}"),
        }
    }
}

/// Tables without calls and with them, and texts of theirs.
fn grammars(seeds: &Seeds) {
    let options = kinglet_grammar::Options::default();
    let (regex, gbnf) = (kinglet_grammar::from_regex, kinglet_grammar::from_gbnf);
    let nested = r#"root ::= "[" (root ("," root)*)? "]" | "0""#;
    let led_servo = fs::read("../../targets/grammar/tests/data/led_servo.grammar").unwrap();
    for (name, table, text) in [
        ("led-servo", led_servo, "\u{10}{\"servo\":{\"angle\":90}}"),
        ("date", regex("[0-9]{4}-(0[1-9]|1[0-2])", &options).unwrap(), "\u{1}2026-12"),
        ("any", regex("(?s).*", &options).unwrap(), "\u{20}anything"),
        ("characters", regex("\"[^\"]{0,40}\"", &options).unwrap(), "\u{21}\"é"),
        ("nested", gbnf(nested, &options).unwrap(), "\u{20}[[0,[]],0]"),
    ] {
        seeds.put("grammar", name, joined(&table, text.as_bytes()));
    }
}

fn counting(len: usize) -> Vec<u8> {
    le_bytes(&(0..len).map(|i| i as f32).collect::<Vec<_>>())
}

fn pickles(seeds: &Seeds) {
    let tensors = |mut dict: StateDict, prefix: &str| {
        let name = |name: &str| format!("{prefix}{name}");
        dict.tensor(&name("emb.weight"), "FloatStorage", "0", 16, 0, &[4, 4], &[4, 1]);
        dict.tensor(&name("head.weight"), "BFloat16Storage", "1", 16, 0, &[4, 4], &[1, 4]);
        dict.parameter(
            &name("blocks.0.att.x_r"),
            "HalfStorage",
            "2",
            16,
            4,
            &[1, 1, 4],
            &[4, 4, 1],
        );
        dict.tensor(&name("blocks.0.ln0.weight"), "FloatStorage", "0", 16, 3, &[4], &[0]);
        dict
    };
    let plain = tensors(StateDict::new(), "").finish();
    let ordered = tensors(StateDict::ordered(), "_orig_mod.").finish();
    let mut metadata = tensors(StateDict::ordered(), "module.");
    metadata.metadata();
    let mut nested = StateDict::new();
    nested.number("epoch", 3);
    nested.nest("state_dict", &tensors(StateDict::new(), "model."));
    let legacy = tensors(StateDict::legacy(), "").finish();
    for (name, pickle) in [
        ("plain", plain),
        ("ordered", ordered),
        ("metadata", metadata.finish()),
        ("nested", nested.finish()),
    ] {
        seeds.put("pickle", name, &pickle);
        let storages = ["0", "1", "2"].map(|key| (key, counting(16)));
        seeds.put("pth", name, pth(&pickle, &storages));
    }
    let storages = [("0", 16, counting(16)), ("1", 16, counting(8)), ("2", 16, counting(8))];
    seeds.put("pth", "legacy", legacy_pth(&legacy, &storages));
    seeds.put_data("pth", &[".pth"], 36 << 10);
    // Pickles of files as torch writes them; the files themselves where they are short.
    for file in fs::read_dir(seeds.0.join("pth")).unwrap() {
        let path = file.unwrap().path();
        let Ok(bytes) = fs::read(&path) else { continue };
        let Ok(mut zip) = zip::ZipArchive::new(std::io::Cursor::new(&*bytes)) else { continue };
        for index in 0..zip.len() {
            let Ok(member) = zip.by_index_raw(index) else { continue };
            let stored = member.compression() == zip::CompressionMethod::Stored;
            if stored && member.name().is_ok_and(|name| name.ends_with("data.pkl")) {
                let start = member.data_start().unwrap() as usize;
                let Some(pickle) = bytes.get(start..start + member.size() as usize) else {
                    continue;
                };
                seeds.put("pickle", &path.file_name().unwrap().to_string_lossy(), pickle);
            }
        }
        if bytes.len() > 12 << 10 {
            fs::remove_file(path).unwrap();
        }
    }
}

fn ggml(seeds: &Seeds) {
    let architecture = ("general.architecture", Meta::Text("rwkv7"));
    let tokens = ["<s>", "\\x00", "a", "b\\n", "\\xc3"];
    let file = gguf(
        &[
            architecture.clone(),
            ("rwkv7.wkv.head_size", Meta::Number(2)),
            ("rwkv7.attention.layer_norm_epsilon", Meta::Float(1e-5)),
            ("tokenizer.ggml.model", Meta::Text("rwkv")),
            ("tokenizer.ggml.tokens", Meta::Texts(&tokens)),
            ("tokenizer.ggml.token_type", Meta::Numbers(&[3, 1, 1, 1, 1])),
            ("tokenizer.ggml.eot_token_id", Meta::Number(0)),
        ],
        &[
            ("token_embd.weight", &[4, 3], F32, counting(12)),
            ("blk.1.time_mix_lerp_fused.weight", &[4, 1, 1, 6], F32, counting(24)),
            ("blk.1.time_mix_w1.weight", &[4, 2], F32, counting(8)),
            ("blk.1.time_mix_w0.weight", &[4], F32, counting(4)),
            ("blk.1.time_mix_r_k.weight", &[4], F32, counting(4)),
            ("output.weight", &[32, 2], 8, vec![7; 68]),
        ],
    );
    seeds.put("gguf", "small", file);
    let file = gguf(
        &[
            ("general.architecture", Meta::Text("rwkv6")),
            ("rwkv6.rescale_every_n_layers", Meta::Number(6)),
            ("tokenizer.ggml.model", Meta::Text("gpt2")),
            ("tokenizer.ggml.pre", Meta::Text("olmo")),
            ("tokenizer.ggml.tokens", Meta::Texts(&["a", "b", "ab", "Ġ"])),
            ("tokenizer.ggml.merges", Meta::Texts(&["a b"])),
        ],
        &[
            ("blk.6.time_mix_output.weight", &[4, 4], 1, vec![1; 32]),
            ("blk.6.channel_mix_value.weight", &[256, 1], 12, vec![3; 144]),
        ],
    );
    seeds.put("gguf", "v6", file);
    // A block or some of every type: type number, bytes of 256 values.
    let types = [
        (2, 144),
        (3, 160),
        (6, 176),
        (7, 192),
        (8, 272),
        (10, 84),
        (11, 110),
        (12, 144),
        (13, 176),
        (14, 210),
        (20, 144),
        (23, 136),
        (28, 2048),
        (30, 512),
    ];
    let names = types.map(|(kind, _)| format!("blk.0.type_{kind}.weight"));
    let tensors: Vec<_> = types
        .iter()
        .zip(&names)
        .map(|(&(kind, len), name)| (&**name, &[256][..], kind, vec![3; len]))
        .collect();
    seeds.put("gguf", "types", gguf(&[architecture], &tensors));
    seeds.put_data("gguf", &[".gguf"], 16 << 10);
    let vectors = |names: &[&'static str]| -> Vec<(&'static str, &'static [u32], u32, Vec<u8>)> {
        names.iter().map(|&name| (name, &[4][..], F32, counting(4))).collect()
    };
    let mut v4 = vectors(&["blocks.0.att.time_decay", "blocks.0.att.time_mix_k"]);
    v4.push(("emb.weight", &[4, 3], 1, vec![1; 24]));
    seeds.put("rwkv_cpp", "v4", rwkv_cpp(101, &v4));
    let mut v6 = vectors(&["blocks.0.att.time_maa_x", "blocks.0.att.time_decay"]);
    v6.push(("blocks.0.att.time_maa_w1", &[4, 10], F32, counting(40)));
    v6.push(("blocks.0.att.time_maa_w2", &[2, 4, 5], F32, counting(40)));
    seeds.put("rwkv_cpp", "v6", rwkv_cpp(101, &v6));
    let mut v7 = vectors(&["blocks.0.att.w0", "blocks.0.att.a0"]);
    v7.push(("blocks.0.att.x_rwkvag", &[4, 1, 6], F32, counting(24)));
    v7.push(("blocks.0.att.r_k", &[2, 2], F32, counting(4)));
    v7.push(("blocks.0.att.g2", &[2, 4], F32, counting(8)));
    v7.push(("blocks.0.ffn.value.weight", &[32, 1], 2, vec![5; 18]));
    seeds.put("rwkv_cpp", "v7", rwkv_cpp(101, &v7));
    seeds.put_data("rwkv_cpp", &["-model.bin"], 10 << 10);
}

fn adapters(seeds: &Seeds) {
    let read = |path: &str| fs::read(Path::new("../data/cases").join(path)).unwrap();
    let config = read("adapter-hf-peft/adapter/adapter_config.json");
    let file = read("adapter-hf-peft/adapter/adapter_model.safetensors");
    seeds.put("adapter", "peft", joined(&config, &file));
    let small = safetensors_f32(&[
        ("base_model.model.blocks.0.att.key.lora_A.weight", vec![1, 16], vec![0.5; 16]),
        ("base_model.model.blocks.0.att.key.lora_B.weight", vec![16, 1], vec![0.25; 16]),
    ]);
    for kind in ["LORA", "MISS", "BONE"] {
        let config = format!(
            r#"{{"peft_type":"{kind}","lora_alpha":4,"r":1,"alpha_pattern":{{"att.key":2}},"use_rslora":true,"init_lora_weights":"pissa"}}"#
        );
        seeds.put("adapter", kind, joined(config.as_bytes(), &small));
    }
    seeds.put("adapter", "lora", joined(b"", &read("lora.pth")));
    let base = Checkpoint::open(Path::new("../data/cases/base.pth")).unwrap();
    let key = base.tensor("blocks.0.att.key.weight").unwrap().shape().to_vec();
    println!("the base's keys are {key:?}");
    let d = key[0];
    for kind in ["bone", "disha"] {
        let name = format!("blocks.0.att.key.{kind}");
        let file = safetensors_f32(&[(&*name, vec![1, d], vec![0.5; d])]);
        seeds.put("adapter", kind, joined(b"", &file));
    }
    let factors = ["lora_A", "lora_B", "init_lora_A", "init_lora_B"].map(|part| {
        (
            format!("blocks.0.att.key.{part}"),
            if part.ends_with('A') { vec![1, d] } else { vec![d, 1] },
        )
    });
    let tensors: Vec<_> =
        factors.iter().map(|(name, shape)| (&**name, shape.clone(), vec![0.5; d])).collect();
    seeds.put("adapter", "pissa", joined(b"", &safetensors_f32(&tensors)));
    for case in ["config-hidden-act", "no-embedding-norm"] {
        let file = read(&format!("{case}/hf/model.safetensors"));
        let config = read(&format!("{case}/hf/config.json"));
        seeds.put("folder", case, joined(&config, &joined(b"", &file)));
    }
    let file = safetensors_f32(&[
        ("rwkv.embeddings.weight", vec![2, 2], vec![0.0, 1.0, 2.0, 3.0]),
        ("rwkv.blocks.0.pre_ln.bias", vec![2], vec![4.0, 5.0]),
        ("rwkv.blocks.0.attention.time_mix_key", vec![1, 1, 2], vec![6.0, 7.0]),
    ]);
    let index = br#"{"metadata":{},"weight_map":{"rwkv.embeddings.weight":"model.safetensors",
        "rwkv.blocks.0.pre_ln.bias":"model.safetensors",
        "rwkv.blocks.0.attention.time_mix_key":"model.safetensors"}}"#;
    let config = br#"{"model_type":"rwkv","head_size":2,"layer_norm_epsilon":1e-5,"tie_word_embeddings":true}"#;
    seeds.put("folder", "index", joined(config, &joined(index, &file)));
}

fn templates(seeds: &Seeds) {
    for (name, source) in [
        (
            "plain",
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}",
        ),
        (
            "marks",
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ),
        (
            "g1",
            "{{ '<|rwkv_tokenizer_end_of_text|>' }}{%- for message in messages -%}{%- if message['role'] == 'user' -%}{{ 'User: ' + message['content'].strip() + '\\n\\n' }}{%- else -%}{{ 'Assistant: ' + message['content'] + '\\n\\n' }}{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{ 'Assistant: <think' if enable_thinking else 'Assistant: <think>\\n</think>' }}{%- endif -%}",
        ),
        (
            "macro",
            "{%- macro turn(m) -%}{{ m.content | trim | upper }}{%- endmacro -%}{% set ns = namespace(text='') %}{% for m in messages %}{% set ns.text = ns.text ~ turn(m) %}{{ turn(m) }};{% endfor %}",
        ),
        (
            "raise",
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages | tojson }}",
        ),
        (
            "filters",
            "{{ messages | map(attribute='content') | join(' ') }}{{ messages[-1].content.split('a')[0] * 3 }}{{ 'x'.join(['a','b']) | replace('a','b') | length }}",
        ),
    ] {
        seeds.put("template", name, source);
    }
}

fn main() {
    let seeds = Seeds(std::env::args_os().nth(1).expect("a folder").into());
    models(&seeds);
    state::<f32>(&seeds, "f32");
    state::<f16>(&seeds, "f16");
    sessions(&seeds);
    tokenizers(&seeds);
    grammars(&seeds);
    pickles(&seeds);
    seeds.put_data("safetensors", &[".safetensors", ".st", ".state"], 12 << 10);
    ggml(&seeds);
    adapters(&seeds);
    templates(&seeds);
    // Any bytes are a sampler.
    for (name, byte) in [("low", 1), ("high", 190)] {
        seeds.put("sampler", name, vec![byte; 128]);
    }
}
