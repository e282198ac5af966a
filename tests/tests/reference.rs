//! The reference computes the same bits whether weights are in memory or in a
//! file, and however tokens are divided.

use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::reference::{MAX_BATCH, Reference, Version};
use kinglet_tests::fixture::load;
use kinglet_tests::random::{Dims, checkpoint, write_safetensors};

const DIMS: Dims =
    Dims { layers: 2, width: 24, head_size: 8, ffn: 36, vocab: 77, ranks: [5, 3, 7, 9, 5, 5] };

#[test]
fn blocks_and_files_change_no_bit() {
    let versions = [
        Version::V4,
        Version::V5_0,
        Version::V5_1,
        Version::V5_2,
        Version::V6,
        Version::V7,
        Version::V7a,
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let tokens: Vec<u32> = (0..MAX_BATCH as u32 + 30).map(|i| i * 7919 % 77).collect();
    for version in versions {
        write_safetensors(&checkpoint(version, DIMS, 7), &path);
        let mut held = Reference::new(load(&path).unwrap()).unwrap();
        let steps: Vec<f64> = tokens.iter().flat_map(|&token| held.step(token)).collect();

        let file = Checkpoint::open(&path).unwrap();
        let mut stored = Reference::open(&file).unwrap();
        assert_eq!(stored.version(), version);
        assert!(stored.forward(&tokens) == steps, "RWKV-{version}: whole");
        assert!(stored.state() == held.state(), "RWKV-{version}: state");
        stored.reset();
        let parts: Vec<f64> = tokens.chunks(7).flat_map(|part| stored.forward(part)).collect();
        assert!(parts == steps, "RWKV-{version}: in parts");
    }
}
