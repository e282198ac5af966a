//! Folders of Hugging Face: configuration, index and a file of tensors. The lengths of the first
//! two in two bytes each before them.
#![no_main]

use kinglet_fuzz::{checkpoint, disk, memory, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_mutator!(|data: &mut [u8], size: usize, _max: usize, seed: u32| {
    let first = 2 + mutate::split(&data[..size]).0.len();
    if size < 4 || seed.is_multiple_of(3) || first + 2 > size {
        return mutate::split_parts(data, size, seed / 3);
    }
    first + mutate::split_parts(&mut data[first..], size - first, seed / 3)
});

fuzz_target!(|data: &[u8]| {
    let (config, rest) = mutate::split(data);
    let (index, file) = mutate::split(rest);
    disk::file("hf/config.json", config);
    let path = disk::file("hf/model.safetensors", file);
    let folder = path.parent().expect("a folder");
    let index_path = folder.join("model.safetensors.index.json");
    if index.is_empty() {
        let _ = std::fs::remove_file(index_path);
    } else {
        disk::file("hf/model.safetensors.index.json", index);
    }
    memory::within(checkpoint::limit(data.len()), || drop(checkpoint::open(folder)));
});
