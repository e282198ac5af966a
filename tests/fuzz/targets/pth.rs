//! Archives of `torch.save`, and files of before its version 1.6: the bytes of the whole file.
#![no_main]

use kinglet_fuzz::{checkpoint, disk, memory};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = disk::file("model.pth", data);
    memory::within(checkpoint::limit(data.len()), || drop(checkpoint::open(&path)));
});
