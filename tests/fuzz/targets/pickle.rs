//! The pickle of a `torch.save` archive: wrapped with eight storages, keys 0 to 7.
#![no_main]

use std::io::{Cursor, Write};

use kinglet_fuzz::{checkpoint, disk, memory};
use libfuzzer_sys::fuzz_target;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn archive(pickle: &[u8]) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut member = |name: &str, bytes: &[u8]| {
        zip.start_file(name, options).expect("a member");
        zip.write_all(bytes).expect("room for a member");
    };
    member("m/data.pkl", pickle);
    let storage: Vec<u8> = (0..1024u32).map(|i| (i * 7) as u8).collect();
    for key in 0..8 {
        member(&format!("m/data/{key}"), &storage);
    }
    zip.finish().expect("an archive").into_inner()
}

fuzz_target!(|data: &[u8]| {
    let file = archive(data);
    let path = disk::file("model.pth", &file);
    memory::within(checkpoint::limit(file.len()), || drop(checkpoint::open(&path)));
});
