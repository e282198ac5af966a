//! Adapters merged into a small base: a folder of Hugging Face PEFT, or with an empty
//! configuration a file of any container. The length of the configuration in two bytes, the
//! configuration, the file.
#![no_main]

use kinglet_fuzz::{checkpoint, disk, memory, mutate};
use kinglet_quantize::checkpoint::Checkpoint;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

static BASE: &[u8] = include_bytes!("../../data/cases/base.pth");

fuzz_mutator!(|data: &mut [u8], size: usize, _max: usize, seed: u32| {
    mutate::split_parts(data, size, seed)
});

fuzz_target!(|data: &[u8]| {
    let (config, file) = mutate::split(data);
    let base = disk::file("base.safetensors", BASE);
    let adapter = if config.is_empty() {
        disk::file("lora.pth", file)
    } else {
        disk::file("adapter/adapter_config.json", config);
        disk::file("adapter/adapter_model.safetensors", file);
        disk::folder().join("adapter")
    };
    memory::within(checkpoint::limit(BASE.len() + data.len()), || {
        let Some(adapter) = checkpoint::open(&adapter) else { return };
        let mut base = Checkpoint::open(&base).expect("the base");
        if base.merge(vec![adapter], Some(2.0)).is_ok() {
            checkpoint::read(&base);
        }
    });
});
