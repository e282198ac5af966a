//! Damaged, hostile and foreign checkpoints: each is refused with its reason, at once, in little
//! memory, and nothing is left behind.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// What the message must say, for each case of `tests/data/golden/bad`.
const REASONS: [(&str, &[&str]); 45] = [
    ("converted_strategy", &["rwkv PyPI package", "\"_strategy\"", "use the original"]),
    ("empty", &["is empty"]),
    ("ggmf_bad_magic", &["ggml file from before GGUF"]),
    ("ggmf_negative_dim", &["emb.weight", "dimension of -16"]),
    ("ggmf_truncated", &["at byte 8721: the file ends"]),
    ("gguf_dim_overflow", &["token_embd.weight", "4611686018427387904] overflows"]),
    ("gguf_empty", &["is empty"]),
    ("gguf_huge_dim", &["token_embd.weight", "5344..35184372094176 of 21344"]),
    ("gguf_kv_count", &["1152921504606846976 metadata entries"]),
    ("gguf_llama_arch", &["\"llama\" model; expected rwkv6 or rwkv7"]),
    ("gguf_ndims", &["token_embd.weight", "2147483648 dimensions"]),
    ("gguf_offset", &["token_embd.weight", "9223372036854781152..", "of 21344 bytes"]),
    ("gguf_string_length", &["metadata key; expected 9223372036854775808"]),
    ("gguf_tensor_count", &["1152921504606846976 tensors"]),
    ("gguf_tensor_type", &["token_embd.weight", "ggml type 9999"]),
    ("gguf_truncated", &["blk.1.time_mix_w1.weight", "13984..14240 of 14229 bytes"]),
    ("inf", &["blocks.0.ln2.weight holds inf at row 0, column 5"]),
    ("integer_tensor", &["blocks.0.att.value.weight", "stored as int64"]),
    ("missing_layer", &["layer 0 is missing, layer 1 is there"]),
    ("missing_tensor", &["blocks.1.ffn.value.weight is missing"]),
    ("nan", &["blocks.1.att.key.weight holds NaN at row 0, column 5"]),
    ("pickle_eval", &["__builtin__.eval", "nothing was executed"]),
    ("pickle_garbage", &["data.pkl at byte 0: found opcode 0xfb"]),
    ("pickle_list", &["holds a list; expected a state dict"]),
    ("pickle_os_system", &["posix.system", "nothing was executed"]),
    ("pickle_prefix", &["os.system", "nothing was executed"]),
    ("st_empty", &["is empty"]),
    ("st_header_too_long", &["header of 55424 bytes; expected at most 19959"]),
    ("st_header_u64max", &["header of 18446744073709551615 bytes; expected at most 19959"]),
    ("st_llama_names", &["Llama family, not RWKV"]),
    ("st_overlap", &["blocks.0.att.value.weight", "begins at byte 3104; expected 3616"]),
    ("st_reversed_offsets", &["blocks.0.att.key.weight", "has bytes 3616..3104"]),
    ("st_shape_overflow", &["blocks.0.att.key.weight", "[8589934592, 8589934592] overflows"]),
    ("st_size_mismatch", &["blocks.0.att.key.weight", "[16, 17] has 512 bytes; expected 544"]),
    ("st_truncated", &["head.weight", "12576..13856 of 13756 bytes"]),
    ("storage_missing", &["blocks.0.ln1.weight", "archive/data/3", "is missing"]),
    ("tensor_beyond_storage", &["emb.weight", "[40, 8192] reaches 327680", "has 640"]),
    ("truncated_half", &["not a readable zip archive", "cut short"]),
    ("truncated_tail", &["not a readable zip archive", "cut short"]),
    ("v7b_keys", &["RWKV-7b, which keeps a growing cache"]),
    ("v8_enn_keys", &["RWKV-8, which is not released"]),
    ("vocab_mismatch", &["emb.weight has shape [40, 16], expected [39, 16]"]),
    ("wrong_lora_rank", &["blocks.1.att.a2 has shape [5, 16], expected [4, 16]"]),
    ("wrong_shape", &["blocks.1.att.key.weight has shape [16, 12], expected [16, 16]"]),
    ("zip_without_pickle", &["0 members named data.pkl"]),
];

/// What the hostile pickles would create if they were run.
const CANARY: &str = "/tmp/golden_PWNED_1017";

/// Address space in KiB: more than the memory that is ever resident.
const MEMORY: u32 = 200 << 10;
/// Seconds, of the processor and by the clock.
const TIME: u64 = 1;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/golden")
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder for the test");
    path
}

/// `kinglet quantize` within the limits; the system ends it beyond them.
fn quantize(checkpoint: &Path, out: &Path) -> Output {
    let limited = format!("ulimit -v {MEMORY} && ulimit -t {TIME} && exec \"$@\"");
    Command::new("sh")
        .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_kinglet"), "quantize"])
        .arg(checkpoint)
        .arg("-o")
        .arg(out)
        // A stack for each of many processors is address space too.
        .env("RAYON_NUM_THREADS", "2")
        .output()
        .expect("sh starts")
}

#[test]
fn every_bad_checkpoint_is_refused_with_its_reason() {
    let folder = folder("bad");
    let out = folder.join("out.kinglet");
    for (case, reasons) in REASONS {
        let directory = golden().join("bad").join(case);
        let text = fs::read_to_string(directory.join("expectation.json")).expect(case);
        let expectation: serde_json::Value = serde_json::from_str(&text).expect(case);
        assert_eq!(expectation["must"], "error", "{case}");
        let file = directory.join(expectation["file"].as_str().expect(case));

        // Other programs may keep the machine busy, so that the fastest run of three counts.
        let mut fastest = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            let output = quantize(&file, &out);
            fastest = fastest.min(start.elapsed());
            let message = String::from_utf8(output.stderr).expect("UTF-8");
            assert_eq!(output.status.code(), Some(2), "{case}: {message}");
            assert!(output.stdout.is_empty(), "{case} wrote to the standard output");
            assert_eq!(message.lines().count(), 1, "{case}: {message}");
            assert!(message.contains(file.to_str().expect("UTF-8")), "{case}: {message}");
            for reason in reasons {
                assert!(message.contains(reason), "{case}: {message} does not say {reason:?}");
            }
            if fastest < Duration::from_secs(TIME) {
                break;
            }
        }
        assert!(fastest < Duration::from_secs(TIME), "{case} took {fastest:?}");
        assert!(!Path::new(CANARY).exists(), "{case} was executed");
        let left: Vec<_> = fs::read_dir(&folder).expect("the folder").collect();
        assert!(left.is_empty(), "{case} left {left:?}");
    }
}

#[test]
fn every_case_has_its_reason() {
    let cases = fs::read_dir(golden().join("bad")).expect("the cases");
    let mut cases: Vec<_> =
        cases.map(|case| case.expect("a case").file_name().into_string().unwrap()).collect();
    cases.sort();
    assert_eq!(cases, REASONS.map(|(case, _)| case.to_owned()));
}

/// The limits are such that a good checkpoint of the same size keeps them, so that it is the
/// reasons that refuse the bad ones; and they do hold the program.
#[test]
fn good_checkpoints_pass_within_the_limits() {
    let folder = folder("bad-but-good");
    let out = folder.join("out.kinglet");
    for case in ["v4/model.pth", "v7_formats/hf", "v7_formats/model-f16.gguf"] {
        let output = quantize(&golden().join(case), &out);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{case}: {message}");
        fs::remove_file(&out).expect("the model file");
    }
    // A sparse file, of which a map takes address space only.
    let large = folder.join("large.bin");
    fs::File::create(&large).unwrap().set_len(u64::from(MEMORY) << 10).unwrap();
    let output = quantize(&large, &out);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("large.bin") && message.contains("emory"), "{message}");
}
