//! Checkpoint readers: values, views, and every way a file can be wrong.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use kinglet_quantize::checkpoint::{Checkpoint, Container, Dtype, Problem};
use proptest::prelude::*;
use safetensors::tensor::{Dtype as StDtype, TensorView};
use support::{Member, StateDict, pth, write_zip};

/// Writes `bytes` to a temporary file and opens it as a checkpoint.
fn open(bytes: &[u8]) -> Result<Checkpoint, Problem> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    open_path(file.path())
}

fn open_path(path: &Path) -> Result<Checkpoint, Problem> {
    // The test looks at the reason alone; the path in front of it has a test of its own.
    support::problem_of(Checkpoint::open(path))
}

fn all(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let mut values = vec![f32::NAN; 3];
    checkpoint.tensor(name).unwrap().read_all(&mut values);
    values
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn pth_reads_every_float_type() {
    let values = [0.0f32, -1.5, 3.0e-5, f32::INFINITY, 65504.0, -0.0];
    let bytes16 = |f: fn(f32) -> u16| -> Vec<u8> {
        values.iter().flat_map(|&v| f(v).to_le_bytes()).collect()
    };
    let mut pickle = StateDict::new();
    for (i, storage) in
        ["DoubleStorage", "FloatStorage", "HalfStorage", "BFloat16Storage"].into_iter().enumerate()
    {
        pickle.tensor(storage, storage, &i.to_string(), 6, 0, &[2, 3], &[3, 1]);
    }
    let storages = [
        ("0", values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect()),
        ("1", le(&values)),
        ("2", bytes16(|v| f16::from_f32(v).to_bits())),
        ("3", bytes16(|v| bf16::from_f32(v).to_bits())),
    ];
    let checkpoint = open(&pth(&pickle.finish(), &storages)).unwrap();

    assert_eq!(checkpoint.container(), Container::Pth);
    let listed: Vec<_> = checkpoint.tensors().map(|t| (t.name().to_owned(), t.dtype())).collect();
    assert_eq!(
        listed,
        [
            ("DoubleStorage".to_owned(), Dtype::F64),
            ("FloatStorage".to_owned(), Dtype::F32),
            ("HalfStorage".to_owned(), Dtype::F16),
            ("BFloat16Storage".to_owned(), Dtype::Bf16),
        ]
    );
    assert_eq!(all(&checkpoint, "DoubleStorage"), values);
    assert_eq!(all(&checkpoint, "FloatStorage"), values);
    assert_eq!(all(&checkpoint, "HalfStorage"), values.map(|v| f16::from_f32(v).to_f32()));
    assert_eq!(all(&checkpoint, "BFloat16Storage"), values.map(|v| bf16::from_f32(v).to_f32()));
    assert!(all(&checkpoint, "FloatStorage")[5].is_sign_negative());

    let tensor = checkpoint.tensor("HalfStorage").unwrap();
    assert_eq!((tensor.shape(), tensor.rows(), tensor.columns()), (&[2, 3][..], 2, 3));
    assert_eq!(tensor.byte_len(), 12);
    assert!(checkpoint.tensor("blocks.0.att.key.weight").is_none());
}

#[test]
fn pth_honours_strides_offsets_and_shared_storages() {
    let stored: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let mut pickle = StateDict::new();
    pickle.tensor("whole", "FloatStorage", "0", 24, 0, &[4, 6], &[6, 1]);
    pickle.tensor("columns", "FloatStorage", "0", 24, 0, &[6, 4], &[1, 6]);
    pickle.tensor("part", "FloatStorage", "0", 24, 7, &[2, 3], &[6, 1]);
    pickle.tensor("spaced", "FloatStorage", "0", 24, 1, &[3, 2], &[6, 3]);
    pickle.tensor("scalar", "FloatStorage", "0", 24, 23, &[], &[]);
    pickle.tensor("empty", "FloatStorage", "0", 24, 0, &[0, 6], &[6, 1]);
    pickle.tensor("vector", "FloatStorage", "0", 24, 4, &[1, 1, 3], &[99, 99, 1]);
    let checkpoint = open(&pth(&pickle.finish(), &[("0", le(&stored))])).unwrap();

    assert_eq!(all(&checkpoint, "whole"), stored);
    let expected: Vec<f32> = (0..24).map(|i| (i % 4 * 6 + i / 4) as f32).collect();
    assert_eq!(all(&checkpoint, "columns"), expected);
    assert_eq!(all(&checkpoint, "part"), [7.0, 8.0, 9.0, 13.0, 14.0, 15.0]);
    assert_eq!(all(&checkpoint, "spaced"), [1.0, 4.0, 7.0, 10.0, 13.0, 16.0]);
    assert_eq!(all(&checkpoint, "scalar"), [23.0]);
    assert!(all(&checkpoint, "empty").is_empty());
    let vector = checkpoint.tensor("vector").unwrap();
    assert_eq!((vector.rows(), vector.columns()), (1, 3));
    assert_eq!(all(&checkpoint, "vector"), [4.0, 5.0, 6.0]);
}

#[test]
fn pth_accepts_parameters_and_module_metadata() {
    let mut pickle = StateDict::ordered();
    pickle.parameter("emb.weight", "FloatStorage", "0", 2, 0, &[2], &[1]);
    pickle.metadata();
    let checkpoint = open(&pth(&pickle.finish(), &[("0", le(&[1.0, 2.0]))])).unwrap();
    assert_eq!(all(&checkpoint, "emb.weight"), [1.0, 2.0]);
}

proptest! {
    /// Any view of a storage equals the textbook sum of index times stride, whatever rows are
    /// asked for and in whichever orientation.
    #[test]
    fn rows_of_any_view_match_the_definition(
        shape in prop::collection::vec(1usize..80, 2..4),
        order in Just([0usize, 1, 2]).prop_shuffle(),
        offset in 0usize..5,
        step in 1usize..3,
        cut in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let rank = shape.len();
        prop_assume!(shape.iter().product::<usize>() < 20_000);
        // Strides of a permuted tensor whose innermost dimension advances by `step`.
        let mut strides = vec![0; rank];
        let mut stride = step;
        for dim in order.into_iter().filter(|&dim| dim < rank) {
            strides[dim] = stride;
            stride *= shape[dim];
        }
        let len = offset + stride;
        // Integers below 2^24 are exact in f32, so every element names its place.
        let stored: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let mut pickle = StateDict::new();
        pickle.tensor("x", "FloatStorage", "0", len, offset, &shape, &strides);
        let checkpoint = open(&pth(&pickle.finish(), &[("0", le(&stored))])).unwrap();

        let plain = checkpoint.tensor("x").unwrap();
        for transpose in [false, true] {
            let (mut shape, mut strides) = (shape.clone(), strides.clone());
            let mut tensor = plain;
            if transpose {
                shape.swap(rank - 1, rank - 2);
                strides.swap(rank - 1, rank - 2);
                tensor = plain.transposed();
            }
            prop_assert_eq!(tensor.shape(), &shape[..]);
            let columns = shape[rank - 1];
            let rows = tensor.rows();
            let (a, b) = (cut.0.index(rows + 1), cut.1.index(rows + 1));
            let range = a.min(b)..a.max(b);
            let mut out = vec![f32::NAN; range.len() * columns];
            tensor.read_rows(range.clone(), &mut out);
            for (i, &value) in out.iter().enumerate() {
                let mut flat = range.start * columns + i;
                let mut element = offset;
                for dim in (0..rank).rev() {
                    element += flat % shape[dim] * strides[dim];
                    flat /= shape[dim];
                }
                prop_assert_eq!(value, element as f32);
            }
        }
    }

    /// What the reference crate writes is read back, in whatever order the header lists it.
    #[test]
    fn safetensors_of_the_reference_crate(
        shapes in prop::collection::btree_map("[a-z0-9._]{1,12}", prop::collection::vec(0usize..7, 0..4), 1..8),
    ) {
        let stored: Vec<u8> = (0..=255).cycle().take(7 * 7 * 7 * 4).collect();
        let view = |shape: &Vec<usize>| {
            let bytes = shape.iter().product::<usize>() * 2;
            TensorView::new(StDtype::BF16, shape.clone(), &stored[..bytes]).unwrap()
        };
        let file = safetensors::serialize(shapes.iter().map(|(n, s)| (n, view(s))), None).unwrap();
        let checkpoint = open(&file).unwrap();

        prop_assert_eq!(checkpoint.container(), Container::Safetensors);
        prop_assert_eq!(checkpoint.tensors().len(), shapes.len());
        for (name, shape) in &shapes {
            let tensor = checkpoint.tensor(name).unwrap();
            prop_assert_eq!(tensor.shape(), &shape[..]);
            prop_assert_eq!(tensor.dtype(), Dtype::Bf16);
            let bits: Vec<u32> = all(&checkpoint, name).iter().map(|v| v.to_bits()).collect();
            let expected: Vec<u32> = stored[..tensor.byte_len()]
                .chunks(2)
                .map(|b| u32::from_le_bytes([0, 0, b[0], b[1]]))
                .collect();
            prop_assert_eq!(bits, expected);
        }
    }
}

#[test]
#[should_panic(expected = "rows 1..3 of a tensor with 2 rows")]
fn reading_beyond_the_last_row_panics() {
    let mut pickle = StateDict::new();
    pickle.tensor("x", "FloatStorage", "0", 4, 0, &[2, 2], &[2, 1]);
    let checkpoint = open(&pth(&pickle.finish(), &[("0", le(&[0.0; 4]))])).unwrap();
    checkpoint.tensor("x").unwrap().read_rows(1..3, &mut [0.0; 4]);
}

macro_rules! refuses {
    ($opened:expr, $pattern:pat $(if $guard:expr)?) => {
        match $opened {
            Err($pattern) $(if $guard)? => {}
            Err(other) => panic!("refused for another reason: {other:?}"),
            Ok(checkpoint) => panic!("accepted: {checkpoint:?}"),
        }
    };
}

#[test]
fn what_is_no_checkpoint_is_named() {
    use Problem::*;
    refuses!(open(b""), Empty);
    refuses!(
        open(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        LfsPointer
    );
    refuses!(open(b"<!DOCTYPE html>\n<html lang=\"en\">"), Html);
    refuses!(open(b"\n  <HTML><head>"), Html);
    refuses!(open(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."), Pickle { .. });
    let tar = [&[b'a'; 257][..], b"ustar", &[0; 250]].concat();
    refuses!(open(&tar), LegacyTorch);
    refuses!(open(b"plain text, longer than a header"), UnknownContainer { found } if found == "70 6c 61 69 6e 20 74 65");
    refuses!(open(b"KINGLET\0\x02\0"), OtherFile { found, .. } if found.contains("already"));
    refuses!(open(b"KGLSTATE"), OtherFile { found: "a state of kinglet", .. });
    refuses!(open(b"\x1f\x8b\x08\0"), OtherFile { next: "unpack it first", .. });
    refuses!(open(b"x"), UnknownContainer { found } if found == "78");
    refuses!(open(b"{\"architectures\": [\"Rwkv7\"]}"), UnknownContainer { .. });
    refuses!(open_path(&std::env::temp_dir()), Directory);
    refuses!(open_path(Path::new("/absent/model.pth")), Io(error) if error.kind() == std::io::ErrorKind::NotFound);
    #[cfg(unix)]
    refuses!(open_path(Path::new("/dev/zero")), NotAFile);
}

/// A safetensors file of one header and `len` zero bytes of data.
fn safetensors_file(header: &str, len: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + len, 0);
    file
}

#[test]
fn safetensors_headers_are_checked_strictly() {
    use Problem::*;
    let one = r#""a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}"#;
    let open = |header: &str, len| open(&safetensors_file(header, len));
    assert_eq!(open(&format!("{{{one}}}"), 4).unwrap().tensors().len(), 1);
    refuses!(open(&format!("{{{one},{one}}}"), 4), NotContiguous { .. } | DuplicateTensor { .. });
    refuses!(open(&format!("{{{one}}}"), 6), TrailingBytes { found: 2 });
    refuses!(open("{}", 0), NoTensors);
    refuses!(open(r#"{"__metadata__":{"format":"pt"}}"#, 0), NoTensors);
    refuses!(open("{\"a\":", 0), Header { .. });
    refuses!(
        open(r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, 8),
        UnsupportedDtype { found, .. } if found == "I64"
    );
    refuses!(open(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4), Header { .. });
    refuses!(
        open(r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]}}"#, 4),
        Shape { .. }
    );
    let empty = r#""b":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}"#;
    refuses!(open(&format!("{{{empty},{empty}}}"), 0), DuplicateTensor { .. });
}

/// A `.pth` of one tensor `x` over a storage of four f32 values.
fn view(offset: usize, shape: &[usize], strides: &[usize]) -> Result<Checkpoint, Problem> {
    let mut pickle = StateDict::new();
    pickle.tensor("x", "FloatStorage", "0", 4, offset, shape, strides);
    open(&pth(&pickle.finish(), &[("0", le(&[0.0; 4]))]))
}

#[test]
fn impossible_views_are_refused() {
    use Problem::*;
    assert!(view(0, &[4], &[1]).is_ok());
    refuses!(view(1, &[4], &[1]), BeyondStorage { needed: 5, available: 4, .. });
    refuses!(view(0, &[2, 2], &[3, 1]), BeyondStorage { needed: 5, .. });
    refuses!(view(0, &[1 << 40], &[0]), BeyondStorage { .. });
    refuses!(view(0, &[usize::MAX >> 1, 2, 2], &[0, 0, 0]), Shape { .. });
    refuses!(view(0, &[2, 2], &[usize::MAX >> 1, 1]), BeyondStorage { .. });
    refuses!(view(0, &[1; 5], &[1; 5]), Shape { .. });
    refuses!(view(0, &[2, 2], &[1]), Shape { .. });
    refuses!(view(usize::MAX >> 1, &[1], &[1]), BeyondStorage { .. });
}

#[test]
fn expanded_dimensions_are_read() {
    let mut pickle = StateDict::new();
    pickle.tensor("x", "FloatStorage", "0", 1, 0, &[3, 2], &[0, 0]);
    let checkpoint = open(&pth(&pickle.finish(), &[("0", le(&[2.5]))])).unwrap();
    assert_eq!(all(&checkpoint, "x"), [2.5; 6]);
}

#[test]
fn legacy_files_are_read() {
    let mut pickle = StateDict::legacy();
    pickle.tensor("a", "FloatStorage", "7", 4, 1, &[3], &[1]);
    pickle.tensor("b", "HalfStorage", "12", 2, 0, &[2], &[1]);
    pickle.tensor("c", "FloatStorage", "7", 4, 0, &[2, 2], &[1, 2]);
    let halves = [f16::ONE, f16::from_f32(-2.0)].iter().flat_map(|x| x.to_le_bytes()).collect();
    let storages = [("12", 2, halves), ("7", 4, le(&[1.0, 2.0, 3.0, 4.0]))];
    let file = support::legacy_pth(&pickle.finish(), &storages);
    let checkpoint = open(&file).unwrap();
    assert_eq!(checkpoint.container(), Container::Pth);
    assert_eq!(all(&checkpoint, "a"), [2.0, 3.0, 4.0]);
    assert_eq!(all(&checkpoint, "b"), [1.0, -2.0]);
    assert_eq!(all(&checkpoint, "c"), [1.0, 3.0, 2.0, 4.0]);
    for len in 0..file.len() {
        assert!(open(&file[..len]).is_err(), "cut to {len}");
    }
}

#[test]
fn dicts_of_training_are_unwrapped() {
    use Problem::*;
    let weights = |name: &str| {
        let mut dict = StateDict::ordered();
        dict.tensor(name, "FloatStorage", "0", 4, 0, &[4], &[1]);
        dict
    };
    let open = |dict: StateDict| open(&pth(&dict.finish(), &[("0", le(&[1.0, 2.0, 3.0, 4.0]))]));
    // Lightning's, with an optimizer's state, and DeepSpeed's in another dict.
    let mut lightning = StateDict::new();
    lightning.number("epoch", 3);
    lightning.nest("state_dict", &weights("model.blocks.0.x"));
    lightning.nest("optimizer_states", &weights("exp_avg"));
    assert_eq!(all(&open(lightning).unwrap(), "blocks.0.x"), [1.0, 2.0, 3.0, 4.0]);
    let mut inner = StateDict::new();
    inner.nest("module", &weights("module._orig_mod.blocks.0.x"));
    let mut outer = StateDict::new();
    outer.nest("checkpoint", &inner);
    assert_eq!(all(&open(outer).unwrap(), "blocks.0.x"), [1.0, 2.0, 3.0, 4.0]);
    let mut two = StateDict::new();
    two.nest("model", &weights("blocks.0.x"));
    two.nest("ema", &weights("blocks.0.x"));
    refuses!(open(two), Candidates { found: 2, names } if names == ["model", "ema"]);
}

#[test]
fn archives_that_torch_would_not_write_are_refused() {
    use Problem::*;
    let mut pickle = StateDict::new();
    pickle.tensor("x", "FloatStorage", "0", 4, 0, &[4], &[1]);
    let pickle = pickle.finish();
    let storage = le(&[0.0; 4]);
    let archive = |members: &[Member<'_>]| open(&write_zip(members));
    let good = [Member::new("m/data.pkl", &pickle), Member::new("m/data/0", &storage)];
    assert!(archive(&good).is_ok());
    refuses!(
        archive(&[good[0], Member::new("m/data/0", &storage[..12])]),
        StorageLength { found: 12, expected: 16, .. }
    );
    refuses!(
        archive(&[good[0], good[1], Member::new("n/data.pkl", &pickle)]),
        PickleCount { found: 2 }
    );
    refuses!(
        archive(&[good[0], good[1], Member::new("m/byteorder", b"big")]),
        ByteOrder { found } if found == "big"
    );
    let long = vec![b'N'; 2 << 20];
    refuses!(archive(&[Member::new("m/data.pkl", &long)]), PickleTooLong { .. });

    // The compression method stands in the local and in the central header.
    let mut deflated = write_zip(&good);
    support::set_compression_method(&mut deflated, "m/data/0", 8);
    refuses!(open(&deflated), PackedMember { member, .. } if member == "m/data/0");
}

#[test]
fn malformed_pickles_are_refused() {
    use Problem::*;
    let open_pickle = |pickle: &[u8]| open(&pth(pickle, &[]));
    let cases: [&[u8]; 14] = [
        b"",                                              // no STOP
        b".",                                             // empty stack
        b"}(\x8c\x01xu.",                                 // key without a value
        b"u.",                                            // no mark
        b"(NNu.",                                         // no dict under the mark
        b"Ns.",                                           // SETITEM on too little
        b"K\x01(0.",                                      // pop across a mark
        b"(\x85.",                                        // TUPLE1 across a mark
        b"h\x00.",                                        // unset memo
        b"X\xff\xff\xff\xff.",                            // string beyond the end
        b"X\x01\x00\x00\x00\xff.",                        // not UTF-8
        b"\x8a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01.", // integer of nine bytes
        b"ccollections\nOrderedDict\nN\x85R.",            // arguments that a dict does not take
        b"NQ.",                                           // persistent id that is no storage
    ];
    for pickle in cases {
        refuses!(open_pickle(pickle), Pickle { .. });
    }
    refuses!(open_pickle(b"}\x8c\x01x}s."), NotATensor { found: "a dict", .. });
    refuses!(open_pickle(b"}K\x01Ns."), Pickle { .. });
    refuses!(open_pickle(b"}."), NoTensors);
    refuses!(open_pickle(b"\x80\x04\x8c\x02os\x8c\x06system\x93."), ForbiddenGlobal { name } if name == "os.system");
    refuses!(open_pickle(b"ctorch\nQInt8Storage\n."), ForbiddenGlobal { .. });

    let mut twice = StateDict::new();
    twice.tensor("x", "FloatStorage", "0", 1, 0, &[1], &[1]);
    twice.tensor("x", "FloatStorage", "0", 1, 0, &[1], &[1]);
    refuses!(
        open(&pth(&twice.finish(), &[("0", le(&[0.0]))])),
        DuplicateTensor { tensor } if tensor == "x"
    );
}

/// The folder of fixtures that are too large for the repository, when there is one.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn shared() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("KINGLET_SHARED").map(PathBuf::from) else {
        eprintln!("skipped: KINGLET_SHARED does not name the folder of fixtures");
        return None;
    };
    assert!(folder.join("golden").is_dir(), "KINGLET_SHARED names no folder of fixtures");
    Some(folder)
}

/// Asserts that `other` holds the tensors of `reference`, bit for bit where its types can: bf16
/// numbers below 2^-14 lose bits in f16.
fn assert_same(reference: &Checkpoint, other: &Checkpoint) {
    assert_eq!(reference.tensors().len(), other.tensors().len());
    for tensor in reference.tensors() {
        let name = tensor.name();
        let found = other.tensor(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(tensor.shape(), found.shape(), "{name}");
        let expected = all(reference, name);
        for (i, (expected, value)) in expected.into_iter().zip(all(other, name)).enumerate() {
            let expected = match found.dtype() {
                Dtype::F16 => f16::from_f32(expected).to_f32(),
                _ => expected,
            };
            if found.is_exact() {
                assert_eq!(expected.to_bits(), value.to_bits(), "{name}, value {i}");
            } else {
                assert!((expected - value).abs() <= 1e-5, "{name}: {expected} is {value}");
            }
        }
    }
}

#[test]
fn golden_checkpoints_open_in_every_container() {
    let Some(shared) = shared() else { return };
    let golden = shared.join("golden");
    let mut opened = 0;
    for folder in fs::read_dir(&golden).unwrap() {
        for name in ["model.pth", "state.pth", "lora.pth"] {
            let path = folder.as_ref().unwrap().path().join(name);
            if path.is_file() {
                let checkpoint = open_path(&path).unwrap();
                assert_eq!(checkpoint.container(), Container::Pth);
                assert!(checkpoint.tensors().all(|t| !t.shape().is_empty()));
                opened += 1;
            }
        }
    }
    assert!(opened >= 9, "{opened} checkpoints");
    let formats = [
        ("v7_formats/model.safetensors", Container::Safetensors),
        ("v7_formats/model-webrwkv.st", Container::WebRwkv),
        ("v7_formats/hf", Container::HuggingFace),
        ("v7_formats/model-f16.gguf", Container::Gguf),
        ("v7_formats/model-f32.gguf", Container::Gguf),
        ("v7_formats/model-rwkvcpp-fp16.bin", Container::RwkvCpp),
        ("v7_formats/model-rwkvcpp-fp32.bin", Container::RwkvCpp),
        ("v6/model-f16.gguf", Container::Gguf),
        ("v4/model-rwkvcpp-fp16.bin", Container::RwkvCpp),
        ("v4/model-rwkvcpp-fp32.bin", Container::RwkvCpp),
    ];
    for (name, container) in formats {
        let path = golden.join(name);
        let other = open_path(&path).unwrap();
        assert_eq!(other.container(), container);
        assert_same(&open_path(&path.with_file_name("model.pth")).unwrap(), &other);
    }
}

/// Fixtures whose container is sound: what is wrong with them is found by a later stage.
const WRONG_ABOVE_THE_CONTAINER: [&str; 10] = [
    "inf",
    "missing_layer",
    "missing_tensor",
    "nan",
    "st_llama_names",
    "v7b_keys",
    "v8_enn_keys",
    "vocab_mismatch",
    "wrong_lora_rank",
    "wrong_shape",
];

#[test]
fn golden_bad_checkpoints_are_refused() {
    let Some(shared) = shared() else { return };
    for folder in fs::read_dir(shared.join("golden/bad")).unwrap() {
        let folder = folder.unwrap().path();
        let text = fs::read_to_string(folder.join("expectation.json")).unwrap();
        let expectation: serde_json::Value = serde_json::from_str(&text).unwrap();
        let path = folder.join(expectation["file"].as_str().unwrap());
        let case = folder.file_name().unwrap().to_str().unwrap();
        let start = std::time::Instant::now();
        let refused = open_path(&path).is_err();
        assert!(start.elapsed().as_secs_f32() < 1.0, "{case} took {:?}", start.elapsed());
        assert_eq!(refused, !WRONG_ABOVE_THE_CONTAINER.contains(&case), "{case}");
    }
}

/// In safetensors the same name and shape are web-rwkv's for the bonus itself.
#[test]
fn a_logarithmic_bonus_per_channel_becomes_the_bonus() {
    let mut pickle = StateDict::new();
    let att = |name: &str| format!("blocks.0.att.{name}");
    for (key, name) in ["time_decay", "time_first"].into_iter().enumerate() {
        let key = key.to_string();
        pickle.tensor(&att(name), "FloatStorage", &key, 4, 0, &[2, 2], &[2, 1]);
    }
    pickle.tensor(&att("ln_x.weight"), "FloatStorage", "0", 4, 0, &[4], &[1]);
    let storages = [("0", le(&[1.0; 4])), ("1", le(&[0.0, 1.0, -2.0, 0.5]))];
    let checkpoint = open(&pth(&pickle.finish(), &storages)).unwrap();
    assert!(checkpoint.tensor("blocks.0.att.time_first").is_none());
    let bonus = [0.0f64, 1.0, -2.0, 0.5].map(|x| x.exp() as f32);
    assert_eq!(all(&checkpoint, "blocks.0.att.time_faaaa"), bonus);
    assert_eq!(checkpoint.tensor("blocks.0.att.time_faaaa").unwrap().shape(), [2, 2]);
    assert!(!checkpoint.tensor("blocks.0.att.time_faaaa").unwrap().is_exact());
}
