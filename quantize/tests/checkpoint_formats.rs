//! Containers of other ecosystems: whatever they did to names, layouts and values is undone.

mod support;

use std::fs;
use std::path::Path;

use half::f16;
use kinglet_quantize::checkpoint::{Checkpoint, Container, Dtype, Problem};
use kinglet_quantize::vocabulary::Vocabulary;
use proptest::prelude::*;
use support::{Meta, gguf, le_bytes, rwkv_cpp, safetensors_f32};

const F32: u32 = 0;

fn open(bytes: &[u8]) -> Result<Checkpoint, Problem> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    support::problem_of(Checkpoint::open(file.path()))
}

fn all(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let mut values = Vec::new();
    let tensor = checkpoint.tensor(name).unwrap_or_else(|| panic!("{name} is missing"));
    tensor.read_all(&mut values);
    values
}

fn shape(checkpoint: &Checkpoint, name: &str) -> Vec<usize> {
    checkpoint.tensor(name).unwrap().shape().to_vec()
}

/// The values 0, 1, 2, ... as bytes.
fn counting(len: usize) -> Vec<u8> {
    le_bytes(&(0..len).map(|i| i as f32).collect::<Vec<_>>())
}

fn transposed(rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| (i % rows * columns + i / rows) as f32).collect()
}

fn rwkv7() -> (&'static str, Meta<'static>) {
    ("general.architecture", Meta::Text("rwkv7"))
}

#[test]
fn gguf_v7_layouts_are_undone() {
    let file = gguf(
        &[
            rwkv7(),
            ("rwkv7.wkv.head_size", Meta::Number(2)),
            ("tokenizer.ggml.tokens", Meta::Texts(&["<s>", "\\x00"])),
        ],
        &[
            ("token_embd.weight", &[4, 3], F32, counting(12)),
            ("blk.1.time_mix_lerp_fused.weight", &[4, 1, 1, 6], F32, counting(24)),
            ("blk.1.time_mix_w1.weight", &[4, 2], F32, counting(8)),
            ("blk.1.time_mix_w0.weight", &[4], F32, counting(4)),
            ("blk.1.time_mix_r_k.weight", &[4], F32, counting(4)),
            ("blk.0.time_mix_v1.weight", &[4, 2], F32, counting(8)),
            ("blk.1.attn_norm_2.bias", &[4], F32, counting(4)),
        ],
    );
    let checkpoint = open(&file).unwrap();

    assert_eq!(checkpoint.container(), Container::Gguf);
    assert_eq!(shape(&checkpoint, "emb.weight"), [3, 4]);
    for (part, name) in ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"].into_iter().enumerate() {
        let name = format!("blocks.1.att.{name}");
        assert_eq!(shape(&checkpoint, &name), [1, 1, 4]);
        let expected: Vec<f32> = (0..4).map(|i| (4 * part + i) as f32).collect();
        assert_eq!(all(&checkpoint, &name), expected);
    }
    assert_eq!(shape(&checkpoint, "blocks.1.att.w1"), [4, 2]);
    assert_eq!(all(&checkpoint, "blocks.1.att.w1"), transposed(2, 4));
    assert_eq!(shape(&checkpoint, "blocks.1.att.w0"), [1, 1, 4]);
    assert_eq!(shape(&checkpoint, "blocks.1.att.r_k"), [2, 2]);
    assert_eq!(all(&checkpoint, "blocks.1.att.r_k"), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(shape(&checkpoint, "blocks.1.ln2.bias"), [4]);
    assert!(checkpoint.tensor("blocks.0.att.v1").is_none(), "a filler of the converter");
    assert!(checkpoint.tensors().all(|tensor| tensor.is_exact()));
}

/// The vocabulary of a GGUF file with these metadata.
fn gguf_vocabulary(metadata: &[(&'static str, Meta<'_>)]) -> Result<Option<Vocabulary>, String> {
    let mut all = vec![rwkv7(), ("rwkv7.wkv.head_size", Meta::Number(2))];
    all.extend(metadata.iter().map(|(key, value)| (*key, value.clone())));
    let file = gguf(&all, &[("token_embd.weight", &[4, 3], F32, counting(12))]);
    open(&file).unwrap().vocabulary().map_err(|error| error.to_string())
}

#[test]
fn gguf_brings_its_rwkv_vocabulary() {
    let vocabulary = gguf_vocabulary(&[
        ("tokenizer.ggml.model", Meta::Text("rwkv")),
        (
            "tokenizer.ggml.tokens",
            Meta::Texts(&[
                "<s>",
                "\\x00",
                "a",
                "\\n",
                "it's",
                "say \"it\\'s\"",
                "\\xe4\\xbd",
                "[PAD7]",
            ]),
        ),
        ("tokenizer.ggml.token_type", Meta::Numbers(&[3, 1, 1, 1, 1, 1, 1, 5])),
    ]);
    let tokens: [&[u8]; 7] = [b"", b"\0", b"a", b"\n", b"it's", b"say \"it's\"", b"\xE4\xBD"];
    let expected = Vocabulary::from_tokens(tokens.map(<[u8]>::to_vec).to_vec()).unwrap();
    assert_eq!(vocabulary, Ok(Some(expected)));
}

#[test]
fn gguf_brings_its_byte_pairs() {
    let model = ("tokenizer.ggml.model", Meta::Text("gpt2"));
    let tokens = Meta::Texts(&["<|endoftext|>", "h", "e", "Ġ", "he", "Ġhe", "  "]);
    let tokens = ("tokenizer.ggml.tokens", tokens);
    let types = ("tokenizer.ggml.token_type", Meta::Numbers(&[3, 1, 1, 1, 1, 1, 4]));
    let merges = ("tokenizer.ggml.merges", Meta::Texts(&["h e", "Ġ he"]));
    let all = [model.clone(), tokens.clone(), types.clone(), merges.clone()];
    let vocabulary = gguf_vocabulary(&all).unwrap().unwrap();
    let section = vocabulary.pack().unwrap();
    let tokenizer = kinglet::tokenizer::Tokenizer::parse(&section).unwrap();
    let ids: Vec<u32> = tokenizer.encode(b"he he  <|endoftext|>hhe").map(Result::unwrap).collect();
    assert_eq!(ids, [4, 5, 6, 0, 1, 4]);
    assert_eq!(tokenizer.token(5), Some(&b" he"[..]));
    assert_eq!((tokenizer.token(0), tokenizer.end_of_text()), (None, Some(0)));

    let known = [all.to_vec(), vec![("tokenizer.ggml.pre", Meta::Text("olmo"))]].concat();
    assert_eq!(gguf_vocabulary(&known), Ok(Some(vocabulary)));
    let other = [all.to_vec(), vec![("tokenizer.ggml.pre", Meta::Text("llama-bpe"))]].concat();
    let error = gguf_vocabulary(&other).unwrap_err();
    assert!(error.contains("pre-tokenizer \"llama-bpe\" is not supported"), "{error}");
    let error = gguf_vocabulary(&[model, tokens, types]).unwrap_err();
    assert!(error.contains("no merges"), "{error}");
}

#[test]
fn gguf_tokenizers_that_cannot_be_used_are_named() {
    assert_eq!(gguf_vocabulary(&[]), Ok(None));
    assert_eq!(gguf_vocabulary(&[("tokenizer.ggml.model", Meta::Text("none"))]), Ok(None));
    let model = ("tokenizer.ggml.model", Meta::Text("rwkv"));
    let refused = |entry| gguf_vocabulary(&[model.clone(), entry]).unwrap_err();
    let error = refused(("tokenizer.ggml.tokens", Meta::Texts(&["<s>", "\\q"])));
    assert!(error.contains(r#"token 1 is "\\q""#), "{error}");
    let error = refused(("tokenizer.ggml.tokens", Meta::Numbers(&[1])));
    assert!(error.contains("found an array of type 5"), "{error}");
    let error = refused(("tokenizer.ggml.tokens", Meta::Text("a")));
    assert!(error.contains("expected an array"), "{error}");
    let error = gguf_vocabulary(&[("tokenizer.ggml.model", Meta::Text("llama"))]).unwrap_err();
    assert!(error.contains("model \"llama\" is not supported"), "{error}");
}

#[test]
fn gguf_v6_rescaling_is_undone() {
    let names: Vec<String> = [0, 5, 6, 13]
        .into_iter()
        .flat_map(|layer| {
            ["time_mix_output", "channel_mix_value", "time_mix_key"]
                .map(|name| format!("blk.{layer}.{name}.weight"))
        })
        .collect();
    let tensors: Vec<support::GgmlTensor<'_>> = names
        .iter()
        .map(|name| (name.as_str(), &[2, 1][..], F32, le_bytes(&[1.0, -0.5])))
        .collect();
    let metadata = [
        ("general.architecture", Meta::Text("rwkv6")),
        ("rwkv6.rescale_every_n_layers", Meta::Number(6)),
    ];
    let checkpoint = open(&gguf(&metadata, &tensors)).unwrap();
    for (layer, factor) in [(0, 1.0), (5, 1.0), (6, 2.0), (13, 4.0)] {
        for name in ["att.output", "ffn.value"] {
            let values = all(&checkpoint, &format!("blocks.{layer}.{name}.weight"));
            assert_eq!(values, [factor, -0.5 * factor]);
        }
        assert_eq!(all(&checkpoint, &format!("blocks.{layer}.att.key.weight")), [1.0, -0.5]);
    }
    // Without the entry nothing was divided.
    let checkpoint = open(&gguf(&metadata[..1], &tensors)).unwrap();
    assert_eq!(all(&checkpoint, "blocks.13.att.output.weight"), [1.0, -0.5]);
}

/// Packs 32 numbers below 16 as ggml does: value `i` beside value `i + 16`.
fn nibbles(values: &[u8]) -> Vec<u8> {
    (0..16).map(|i| values[i] & 15 | (values[i + 16] & 15) << 4).collect()
}

fn high_bits(values: &[u8]) -> [u8; 4] {
    let bits = values.iter().enumerate().fold(0, |bits, (i, v)| bits | u32::from(v >> 4) << i);
    bits.to_le_bytes()
}

/// Encodes blocks of stored numbers below 32 (or bytes for Q8_0) and says what they mean.
fn encode(dtype: Dtype, numbers: &[u8], scale: f16, minimum: f16) -> (Vec<u8>, Vec<f32>) {
    let (d, m) = (scale.to_f32(), minimum.to_f32());
    let mut bytes = Vec::new();
    let mut values = Vec::new();
    for block in numbers.chunks(32) {
        bytes.extend_from_slice(&scale.to_le_bytes());
        match dtype {
            Dtype::Q4_0 => {
                bytes.extend(nibbles(block));
                values.extend(block.iter().map(|&q| d * (f32::from(q & 15) - 8.0)));
            }
            Dtype::Q4_1 => {
                bytes.extend_from_slice(&minimum.to_le_bytes());
                bytes.extend(nibbles(block));
                values.extend(block.iter().map(|&q| d * f32::from(q & 15) + m));
            }
            Dtype::Q5_0 => {
                bytes.extend(high_bits(block));
                bytes.extend(nibbles(block));
                values.extend(block.iter().map(|&q| d * (f32::from(q) - 16.0)));
            }
            Dtype::Q5_1 => {
                bytes.extend_from_slice(&minimum.to_le_bytes());
                bytes.extend(high_bits(block));
                bytes.extend(nibbles(block));
                values.extend(block.iter().map(|&q| d * f32::from(q) + m));
            }
            _ => {
                bytes.extend_from_slice(block);
                values.extend(block.iter().map(|&q| d * f32::from(q as i8)));
            }
        }
    }
    (bytes, values)
}

proptest! {
    #[test]
    fn blocks_decode_as_ggml_defines_them(
        numbers in prop::collection::vec(0u8..32, 3 * 64),
        scale in -2.0f32..2.0,
        minimum in -2.0f32..2.0,
        in_gguf in any::<bool>(),
    ) {
        let (scale, minimum) = (f16::from_f32(scale), f16::from_f32(minimum));
        for (dtype, gguf_type, cpp_type) in [
            (Dtype::Q4_0, 2, 2),
            (Dtype::Q4_1, 3, 3),
            (Dtype::Q5_0, 6, 7),
            (Dtype::Q5_1, 7, 8),
            (Dtype::Q8_0, 8, 9),
        ] {
            // All bytes for the 8-bit type, to cover the sign.
            let spread = if dtype == Dtype::Q8_0 { 37 } else { 1 };
            let numbers: Vec<u8> = numbers.iter().map(|q| q.wrapping_mul(spread)).collect();
            let (bytes, expected) = encode(dtype, &numbers, scale, minimum);
            let checkpoint = if in_gguf {
                open(&gguf(&[rwkv7()], &[("output.weight", &[64, 3], gguf_type, bytes)]))
            } else {
                open(&rwkv_cpp(101, &[("head.weight", &[64, 3], cpp_type, bytes)]))
            };
            let checkpoint = checkpoint.unwrap();
            let tensor = checkpoint.tensor("head.weight").unwrap();
            prop_assert_eq!(tensor.dtype(), dtype);
            prop_assert_eq!(tensor.byte_len(), 6 * dtype.block().1);
            prop_assert_eq!(&all(&checkpoint, "head.weight"), &expected);

            // Columns cut across blocks.
            let mut columns = Vec::new();
            tensor.transposed().read_all(&mut columns);
            for (i, &value) in columns.iter().enumerate() {
                prop_assert_eq!(value, expected[i % 3 * 64 + i / 3]);
            }
        }
    }
}

/// Random blocks as `blk.N.time_mix_key`, one type to a layer, and as `time_mix_value` in f32 what
/// the Python package `gguf` 0.19 makes of them.
#[test]
fn blocks_with_scales_of_parts_decode_as_in_the_gguf_package() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/k_quants.gguf");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let types =
        [Dtype::Q2K, Dtype::Q3K, Dtype::Q4K, Dtype::Q5K, Dtype::Q6K, Dtype::Iq4Nl, Dtype::Iq4Xs];
    for (layer, dtype) in types.into_iter().enumerate() {
        let (blocks, values) =
            (format!("blocks.{layer}.att.key.weight"), format!("blocks.{layer}.att.value.weight"));
        let tensor = checkpoint.tensor(&blocks).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[2, 512][..]));
        let bits = |name: &str| all(&checkpoint, name).into_iter().map(f32::to_bits);
        assert!(bits(&blocks).eq(bits(&values)), "{dtype}");
        // Columns cut across blocks.
        let mut columns = Vec::new();
        tensor.transposed().read_all(&mut columns);
        let expected = all(&checkpoint, &values);
        assert!(columns.iter().enumerate().all(|(i, x)| *x == expected[i % 2 * 512 + i / 2]));
    }
    assert_eq!(checkpoint.tensors().len(), 2 * types.len());
}

#[test]
fn rwkv_cpp_decays_are_computed_back() {
    let decay = [-6.0f32, -3.5, -1.0, 0.0, 0.75, 1.5];
    let check = |checkpoint: &Checkpoint, name: &str, expected: &[f32], tolerance: f32| {
        assert!(!checkpoint.tensor(name).unwrap().is_exact());
        for (value, expected) in all(checkpoint, name).into_iter().zip(expected) {
            assert!((value - expected).abs() <= tolerance, "{name}: {expected} is {value}");
        }
    };
    let minus_exp = decay.map(|x| (-f64::from(x).exp()) as f32);
    let v4 = rwkv_cpp(
        101,
        &[
            ("blocks.0.att.time_decay", &[6], F32, le_bytes(&minus_exp)),
            ("blocks.0.att.time_mix_k", &[6], F32, counting(6)),
            ("blocks.0.att.time_first", &[6], F32, counting(6)),
        ],
    );
    let v4 = open(&v4).unwrap();
    assert_eq!(v4.container(), Container::RwkvCpp);
    check(&v4, "blocks.0.att.time_decay", &decay, 1e-6);
    assert_eq!(shape(&v4, "blocks.0.att.time_mix_k"), [1, 1, 6]);
    assert_eq!(shape(&v4, "blocks.0.att.time_first"), [6]);
    assert!(v4.tensor("blocks.0.att.time_first").unwrap().is_exact());

    let exp_minus_exp = decay.map(|x| (-f64::from(x).exp()).exp() as f32);
    let exp = decay.map(|x| f64::from(x).exp() as f32);
    let v5 = rwkv_cpp(
        101,
        &[
            ("blocks.0.att.ln_x.weight", &[6], F32, counting(6)),
            ("blocks.0.att.time_decay", &[1, 3, 2], F32, le_bytes(&exp_minus_exp)),
            ("blocks.0.att.time_first", &[1, 1, 6], F32, le_bytes(&exp)),
            ("blocks.0.att.time_faaaa", &[1, 3, 2], F32, counting(6)),
            ("blocks.1.att.time_decay", &[1, 1, 2], F32, le_bytes(&[0.0, 1.0])),
        ],
    );
    let v5 = open(&v5).unwrap();
    // At -6 the stored number is 0.9975, whose f32 rounding is 1e-5 of its distance from one.
    check(&v5, "blocks.0.att.time_decay", &decay, 3e-5);
    check(&v5, "blocks.0.att.time_first", &decay, 1e-6);
    assert_eq!(shape(&v5, "blocks.0.att.time_decay"), [2, 3]);
    assert_eq!(shape(&v5, "blocks.0.att.time_first"), [6]);
    assert_eq!(shape(&v5, "blocks.0.att.time_faaaa"), [2, 3]);
    // A decay that rounded to 0 or 1 stays finite and rounds there again.
    let extremes = all(&v5, "blocks.1.att.time_decay");
    assert!(extremes.iter().all(|x| x.is_finite()), "{extremes:?}");
    let again: Vec<f32> = extremes.iter().map(|&x| (-f64::from(x).exp()).exp() as f32).collect();
    assert_eq!(again, [0.0, 1.0]);
}

#[test]
fn rwkv_cpp_v6_and_v7_layouts_are_undone() {
    let v6 = rwkv_cpp(
        101,
        &[
            ("blocks.0.att.time_maa_x", &[4], F32, counting(4)),
            ("blocks.0.att.time_maa_w1", &[4, 10], F32, counting(40)),
            ("blocks.0.att.time_maa_w2", &[2, 4, 5], F32, counting(40)),
            ("blocks.0.att.time_decay", &[4], F32, counting(4)),
        ],
    );
    let v6 = open(&v6).unwrap();
    assert_eq!(shape(&v6, "blocks.0.att.time_maa_x"), [1, 1, 4]);
    assert_eq!(shape(&v6, "blocks.0.att.time_maa_w1"), [4, 10]);
    assert_eq!(all(&v6, "blocks.0.att.time_maa_w1"), transposed(10, 4));
    assert_eq!(shape(&v6, "blocks.0.att.time_maa_w2"), [5, 2, 4]);
    // Plane 1, row 0: every second value from 8 on.
    assert_eq!(all(&v6, "blocks.0.att.time_maa_w2")[8..12], [8.0, 10.0, 12.0, 14.0]);
    assert_eq!(all(&v6, "blocks.0.att.time_decay"), [0.0, 1.0, 2.0, 3.0]);

    let v7 = rwkv_cpp(
        101,
        &[
            ("blocks.0.att.r_k", &[2, 2], F32, counting(4)),
            ("blocks.0.att.x_rwkvag", &[4, 1, 6], F32, counting(24)),
            ("blocks.0.att.g2", &[2, 4], F32, counting(8)),
        ],
    );
    let v7 = open(&v7).unwrap();
    assert_eq!(all(&v7, "blocks.0.att.x_g"), [20.0, 21.0, 22.0, 23.0]);
    assert_eq!(shape(&v7, "blocks.0.att.g2"), [2, 4]);
    assert_eq!(all(&v7, "blocks.0.att.g2"), transposed(4, 2));
}

#[test]
fn web_rwkv_is_told_by_the_orientation_of_its_low_rank_matrices() {
    let file = |w1: [usize; 2]| {
        let values = |len: usize| (0..len).map(|i| i as f32).collect::<Vec<_>>();
        open(&safetensors_f32(&[
            ("emb.weight", vec![3, 4], values(12)),
            ("blocks.0.att.w1", w1.to_vec(), values(8)),
        ]))
        .unwrap()
    };
    let official = file([4, 2]);
    assert_eq!(official.container(), Container::Safetensors);
    let web = file([2, 4]);
    assert_eq!(web.container(), Container::WebRwkv);
    assert_eq!(shape(&web, "blocks.0.att.w1"), [4, 2]);
    assert_eq!(all(&web, "blocks.0.att.w1"), transposed(2, 4));
}

#[test]
fn web_rwkv_names_of_v5_and_v6_are_undone() {
    let values = |len: usize| (0..len).map(|i| i as f32).collect::<Vec<_>>();
    // The width is that of a decay matrix too, whose orientation follows the other matrices'.
    let v6 = |w1: [usize; 2], w2: [usize; 3]| {
        open(&safetensors_f32(&[
            ("emb.weight", vec![3, 4], values(12)),
            ("blocks.0.att.time_mix_x", vec![1, 1, 4], values(4)),
            ("blocks.0.att.time_mix_w1", w1.to_vec(), values(40)),
            ("blocks.0.att.time_mix_w2", w2.to_vec(), values(40)),
            ("blocks.0.att.time_decay_w1", vec![4, 4], values(16)),
            ("blocks.0.att.time_first", vec![2, 2], values(4)),
            ("blocks.0.ffn.time_mix_k", vec![1, 1, 4], values(4)),
        ]))
        .unwrap()
    };
    for (file, decay) in
        [(v6([10, 4], [5, 4, 2]), transposed(4, 4)), (v6([4, 10], [5, 2, 4]), values(16))]
    {
        assert_eq!(file.container(), Container::WebRwkv);
        assert_eq!(shape(&file, "blocks.0.att.time_maa_x"), [1, 1, 4]);
        assert_eq!(shape(&file, "blocks.0.att.time_maa_w1"), [4, 10]);
        assert_eq!(shape(&file, "blocks.0.att.time_maa_w2"), [5, 2, 4]);
        assert_eq!(all(&file, "blocks.0.att.time_decay_w1"), decay);
        assert_eq!(shape(&file, "blocks.0.att.time_faaaa"), [2, 2]);
        assert_eq!(shape(&file, "blocks.0.ffn.time_maa_k"), [1, 1, 4]);
    }

    let v5 = open(&safetensors_f32(&[
        ("emb.weight", vec![3, 4], values(12)),
        ("blocks.0.att.ln_x.weight", vec![4], values(4)),
        ("blocks.0.att.time_first", vec![2, 2], values(4)),
        ("blocks.0.att.time_mix_k", vec![1, 1, 4], values(4)),
    ]))
    .unwrap();
    assert_eq!(v5.container(), Container::WebRwkv);
    assert_eq!(shape(&v5, "blocks.0.att.time_faaaa"), [2, 2]);
    assert_eq!(shape(&v5, "blocks.0.att.time_mix_k"), [1, 1, 4]);
}

/// Writes a directory of two shards and the given index.
fn sharded(index: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    let first = [
        ("rwkv.embeddings.weight", vec![2, 2], vec![0.0, 1.0, 2.0, 3.0]),
        ("rwkv.blocks.0.pre_ln.bias", vec![2], vec![4.0, 5.0]),
    ];
    let second = [
        ("rwkv.blocks.0.attention.time_mix_key", vec![1, 1, 2], vec![6.0, 7.0]),
        ("rwkv.blocks.0.feed_forward.key.weight", vec![1, 2], vec![8.0, 9.0]),
        ("head.weight", vec![2, 2], vec![0.0; 4]),
    ];
    write("a.safetensors", &safetensors_f32(&first));
    write("b.safetensors", &safetensors_f32(&second));
    write("model.safetensors.index.json", index.as_bytes());
    directory
}

fn open_directory(directory: &Path) -> Result<Checkpoint, Problem> {
    support::problem_of(Checkpoint::open(directory))
}

#[test]
fn hugging_face_directories_are_one_checkpoint() {
    let index = r#"{"metadata":{}, "weight_map":{
        "rwkv.embeddings.weight":"a.safetensors", "rwkv.blocks.0.pre_ln.bias":"a.safetensors",
        "rwkv.blocks.0.attention.time_mix_key":"b.safetensors", "head.weight":"b.safetensors",
        "rwkv.blocks.0.feed_forward.key.weight":"b.safetensors"}}"#;
    let directory = sharded(index);
    let checkpoint = open_directory(directory.path()).unwrap();
    assert_eq!(checkpoint.container(), Container::HuggingFace);
    assert_eq!(all(&checkpoint, "emb.weight"), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(all(&checkpoint, "blocks.0.ln0.bias"), [4.0, 5.0]);
    assert_eq!(all(&checkpoint, "blocks.0.att.time_mix_k"), [6.0, 7.0]);
    assert_eq!(all(&checkpoint, "blocks.0.ffn.key.weight"), [8.0, 9.0]);
    assert_eq!(checkpoint.tensors().len(), 5);
}

#[test]
fn an_index_is_blamed_by_its_name() {
    let wrong_file = r#"{"weight_map":{"head.weight":"../x"}}"#;
    let wrong_shard = r#"{"weight_map":{"no.such.tensor":"a.safetensors"}}"#;
    for index in ["[]", wrong_file, wrong_shard] {
        let directory = sharded(index);
        let error = Checkpoint::open(directory.path()).unwrap_err();
        let expected = directory.path().join("model.safetensors.index.json");
        assert_eq!(error.path(), expected, "{index}: {error}");
    }
}

#[test]
fn indexes_that_lie_are_refused() {
    let open = |index: &str| open_directory(sharded(index).path()).unwrap_err();
    let swapped = r#"{"weight_map":{"head.weight":"a.safetensors"}}"#;
    assert!(matches!(open(swapped), Problem::NotInShard { tensor, .. } if tensor == "head.weight"));
    for name in ["../a.safetensors", "/etc/passwd", "..", ""] {
        let index = format!(r#"{{"weight_map":{{"head.weight":"{name}"}}}}"#);
        assert!(matches!(open(&index), Problem::Index { .. }), "{name}");
    }
    assert!(matches!(open("[]"), Problem::Index { .. }));

    let absent = sharded(r#"{"weight_map":{"head.weight":"c.safetensors"}}"#);
    let error = Checkpoint::open(absent.path()).unwrap_err();
    assert!(error.path().ends_with("c.safetensors"), "{error}");
    assert!(matches!(error.problem(), Problem::Io(_)), "{error}");
}

#[test]
fn another_epsilon_is_refused() {
    let with = |epsilon: f32| {
        let key = "rwkv7.attention.layer_norm_epsilon";
        let tensors = [("token_embd.weight", &[4, 3][..], F32, counting(12))];
        open(&gguf(&[rwkv7(), (key, Meta::Float(epsilon))], &tensors))
    };
    assert!(with(1e-5).is_ok());
    let error = with(1e-3).unwrap_err().to_string();
    assert!(error.contains("rwkv7.attention.layer_norm_epsilon is 0.001; expected"), "{error}");
}

#[test]
fn damaged_ggml_containers_are_refused() {
    let good =
        |kind: u32, dims: &[u32]| gguf(&[rwkv7()], &[("output.weight", dims, kind, vec![0; 68])]);
    assert!(open(&good(8, &[32, 2])).is_ok());
    assert!(matches!(open(&good(8, &[32, 3])).unwrap_err(), Problem::ByteRange { .. }));
    // 64 values are two blocks, but no whole number of them in a row.
    assert!(matches!(open(&good(8, &[16, 4])).unwrap_err(), Problem::Shape { .. }));
    assert!(matches!(open(&good(16, &[32, 2])).unwrap_err(), Problem::UnsupportedDtype { .. }));
    let llama = gguf(&[("general.architecture", Meta::Text("llama"))], &[]);
    assert!(
        matches!(open(&llama).unwrap_err(), Problem::ForeignArchitecture { found } if found == "llama")
    );
    let unknown = gguf(&[rwkv7()], &[("blk.0.attn_q.weight", &[1], F32, vec![0; 4])]);
    assert!(matches!(open(&unknown).unwrap_err(), Problem::UnknownTensor { .. }));
    let mut version = good(8, &[32, 2]);
    version[4] = 1;
    assert!(matches!(open(&version).unwrap_err(), Problem::Malformed { .. }));

    let old_blocks = rwkv_cpp(100, &[("head.weight", &[32], 2, vec![0; 18])]);
    assert!(matches!(open(&old_blocks).unwrap_err(), Problem::UnsupportedDtype { .. }));
    let negative = rwkv_cpp(101, &[("head.weight", &[u32::MAX, 2], F32, vec![0; 8])]);
    assert!(matches!(open(&negative).unwrap_err(), Problem::Shape { .. }));
}
