//! GGUF files, with their vocabulary.
#![no_main]

use kinglet_fuzz::{checkpoint, disk, memory};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = disk::file("model.gguf", data);
    memory::within(checkpoint::limit(data.len()), || drop(checkpoint::open(&path)));
});
