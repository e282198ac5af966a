//! Damaged checkpoints: whatever bytes change, opening and reading them neither panics nor
//! allocates more than a small multiple of the file.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use kinglet_quantize::checkpoint::Checkpoint;
use proptest::prelude::*;
use support::{Member, Meta, StateDict, gguf, pth, rwkv_cpp, write_zip};

/// Counts the bytes that the current thread holds and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let held = HELD.get() + change;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting allocates nothing,
// since the thread-locals are constant-initialised and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opens `bytes` and reads what opens; returns the most memory that was held meanwhile.
fn exercise(bytes: &[u8]) -> isize {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let before = HELD.get();
    PEAK.set(before);
    match Checkpoint::open(file.path()) {
        Ok(checkpoint) => {
            let mut values = Vec::new();
            for tensor in checkpoint.tensors() {
                tensor.read_all(&mut values);
                tensor.transposed().read_all(&mut values);
            }
        }
        // The message is part of what a hostile file controls.
        Err(error) => assert!(error.to_string().len() < 2000, "{error}"),
    }
    PEAK.get() - before
}

/// A `.pth` with views and several types, below 3 kB.
fn small_pth() -> Vec<u8> {
    let mut dict = StateDict::ordered();
    dict.tensor("emb.weight", "BFloat16Storage", "0", 48, 0, &[6, 8], &[8, 1]);
    dict.tensor("head.weight", "BFloat16Storage", "0", 48, 0, &[8, 6], &[1, 8]);
    dict.parameter("blocks.0.att.x_r", "FloatStorage", "1", 8, 0, &[1, 1, 8], &[8, 8, 1]);
    dict.tensor("blocks.0.att.w1", "HalfStorage", "2", 32, 8, &[8, 2], &[2, 1]);
    dict.metadata();
    pth(&dict.finish(), &[("0", vec![1; 96]), ("1", vec![2; 32]), ("2", vec![3; 64])])
}

fn small_safetensors() -> Vec<u8> {
    let header = concat!(
        r#"{"__metadata__":{"format":"pt"},"#,
        r#""emb.weight":{"dtype":"BF16","shape":[6,8],"data_offsets":[0,96]},"#,
        r#""ln_out.weight":{"dtype":"F32","shape":[8],"data_offsets":[96,128]}}"#
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&[1; 128]);
    file
}

fn small_gguf() -> Vec<u8> {
    gguf(
        &[
            ("general.architecture", Meta::Text("rwkv7")),
            ("rwkv7.wkv.head_size", Meta::Number(8)),
            ("tokenizer.ggml.tokens", Meta::Texts(&["a", "b"])),
        ],
        &[
            ("blk.0.time_mix_lerp_fused.weight", &[8, 1, 1, 6], 0, vec![1; 192]),
            ("blk.0.time_mix_r_k.weight", &[16], 1, vec![2; 32]),
            ("output.weight", &[32, 2], 8, vec![3; 68]),
        ],
    )
}

fn small_rwkv_cpp() -> Vec<u8> {
    rwkv_cpp(
        101,
        &[
            ("blocks.0.att.ln_x.weight", &[8], 0, vec![1; 32]),
            ("blocks.0.att.time_decay", &[1, 4, 2], 0, vec![2; 32]),
            ("head.weight", &[32, 2], 7, vec![3; 44]),
        ],
    )
}

fn small_files() -> Vec<Vec<u8>> {
    vec![small_pth(), small_safetensors(), small_gguf(), small_rwkv_cpp()]
}

/// Ample for a file of some kilobytes: the archive reader keeps a window of 64 kB.
const ALLOWANCE: isize = 1 << 20;

#[test]
fn the_undamaged_files_open() {
    for bytes in small_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        Checkpoint::open(file.path()).unwrap();
    }
}

#[test]
fn every_truncation_is_survived() {
    for bytes in small_files() {
        for len in 0..bytes.len() {
            let held = exercise(&bytes[..len]);
            assert!(held < ALLOWANCE, "{held} bytes for a file cut to {len}");
        }
    }
}

#[test]
fn every_byte_may_be_wrong() {
    for bytes in small_files() {
        for at in 0..bytes.len() {
            for wrong in [0x00, 0xff, bytes[at] ^ 0x01, bytes[at] ^ 0x80] {
                let mut bytes = bytes.clone();
                bytes[at] = wrong;
                let held = exercise(&bytes);
                assert!(held < ALLOWANCE, "{held} bytes for {wrong:#04x} at {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn several_bytes_may_be_wrong(
        container in 0usize..4,
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = small_files().swap_remove(container);
        for (at, value) in wrong {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert!(exercise(&bytes) < ALLOWANCE);
    }

    #[test]
    fn any_pickle_is_survived(program in prop::collection::vec(
        prop_oneof![
            // Opcodes that the reader knows, which random bytes seldom line up to.
            prop::sample::select(&b"(0NGXJKMa]e)t}suqrhjcQRb.\x80\x85\x86\x87\x88\x8a\x8c\x93\x94\x95"[..]),
            0u8..4,
            any::<u8>(),
        ],
        0..400,
    )) {
        prop_assert!(exercise(&pth(&program, &[("0", vec![0; 8])])) < ALLOWANCE);
    }
}

/// The longest accepted pickle, filled with whatever costs the reader most, within the promise
/// of one second and 200 MB.
#[test]
fn the_most_expensive_pickles_stay_bounded() {
    const LEN: usize = 1 << 20;
    let repeat = |prefix: &[u8], item: &[u8]| -> Vec<u8> {
        let mut pickle = prefix.to_vec();
        while pickle.len() + item.len() <= LEN {
            pickle.extend_from_slice(item);
        }
        pickle
    };
    let long_name = [b"X\xf0\xff\x07\x00".as_slice(), &vec![b'a'; 0x7fff0], b"q\x00"].concat();
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((\x8c\x07storagectorch\nHalfStorage\n\
        \x8c\x010\x8c\x03cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89NtRq\x01";
    let pickles = [
        repeat(b"", b"}"),
        repeat(b"", b"("),
        repeat(b"", b")"),
        repeat(b"N", b"\x94"),
        repeat(b"N", b"\x85"),
        repeat(b"N", b"r\x00\x00\x00\x7f"),
        repeat(b"}(", b"NN"),
        // Nesting by reference: a reader that copied values would double them at every step.
        repeat(b"N", b"q\x00h\x00\x86"),
        repeat(b"", &long_name),
        // One tensor under a long name, again and again, by reference.
        repeat(&[&long_name[..], b"0}(h\x00", tensor].concat(), b"h\x00h\x01"),
    ];
    for mut pickle in pickles {
        pickle.truncate(LEN - 2);
        pickle.extend_from_slice(b"u.");
        let zip =
            write_zip(&[Member::new("m/data.pkl", &pickle), Member::new("m/data/0", &[0; 8])]);
        let opcode = char::from(pickle[pickle.len() - 3]);
        let held = exercise(&zip);
        assert!(held < 150 << 20, "{held} bytes for a pickle of {opcode:?}");
        // The best of three, because other work may hold the processor.
        let timed = || {
            let start = Instant::now();
            exercise(&zip);
            start.elapsed()
        };
        let elapsed = timed().min(timed()).min(timed());
        assert!(elapsed < Duration::from_secs(1), "{elapsed:?} for a pickle of {opcode:?}");
    }
}
