//! safetensors files, those of web-rwkv and of exports among them.
#![no_main]

use kinglet_fuzz::{checkpoint, disk, memory, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

// The header's length stands before it.
fuzz_mutator!(|data: &mut [u8], size: usize, _max: usize, seed: u32| {
    let len = data.first_chunk().map_or(0, |len| u64::from_le_bytes(*len) as usize);
    if seed.is_multiple_of(8) || size < 8 || len > size - 8 {
        return mutate::any(data, size);
    }
    let (size, len) = mutate::within(data, size, 8..8 + len);
    data[..8].copy_from_slice(&(len as u64).to_le_bytes());
    size
});

fuzz_target!(|data: &[u8]| {
    let path = disk::file("model.safetensors", data);
    memory::within(checkpoint::limit(data.len()), || drop(checkpoint::open(&path)));
});
