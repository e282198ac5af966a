//! The list itself: only files whose name, length and SHA-256 a source has.
//!
//! | source | what it has |
//! |---|---|
//! | the pages `tree/main` of the repositories on huggingface.co, their model cards | names, rounded lengths, the licence Apache-2.0 |
//! | `manifest.json` of github.com/josStorer/RWKV-Runner | lengths and SHA-256 of the World files |
//! | records of downloads that were compared with the hub's LFS SHA-256, in public repositories | lengths and SHA-256 of the G1 files |
//!
//! `rwkv7-g1d-0.1b` has its SHA-256 from three of those records, and its length from one that rounds.

use kinglet::format::shape::{Architecture, Ranks, Shape};

use super::Entry;

const APACHE: &str = "Apache-2.0";

/// An RWKV-7. `ranks` is decay, iclr, value, gate.
const fn rwkv7(layers: usize, width: usize, [decay, iclr, value, gate]: [usize; 4]) -> Shape {
    let ranks = Ranks { decay, iclr, value, gate, ..Ranks::NONE };
    shape(Architecture::Rwkv7, layers, width, 4 * width, ranks)
}

/// An RWKV-6: its ranks double from a width of 4096 on.
const fn rwkv6(layers: usize, width: usize) -> Shape {
    let twice = if width < 4096 { 1 } else { 2 };
    let ranks = Ranks { shift: 32 * twice, decay: 64 * twice, ..Ranks::NONE };
    shape(Architecture::Rwkv6, layers, width, width * 7 / 2, ranks)
}

/// An RWKV-5.2.
const fn rwkv5(layers: usize, width: usize) -> Shape {
    shape(Architecture::Rwkv5_2, layers, width, width * 7 / 2, Ranks::NONE)
}

const fn rwkv4(layers: usize, width: usize) -> Shape {
    shape(Architecture::Rwkv4, layers, width, 4 * width, Ranks::NONE)
}

const fn shape(
    architecture: Architecture,
    layers: usize,
    width: usize,
    ffn: usize,
    ranks: Ranks,
) -> Shape {
    let head_size = if matches!(architecture, Architecture::Rwkv4) { 1 } else { 64 };
    Shape { architecture, layers, width, head_size, ffn, vocab: 65_536, ranks }
}

/// The newest first, the smallest first.
pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        name: "g1-0.1b",
        version: "g1d-0.1b",
        title: "RWKV-7 G1d 0.1B",
        repository: "BlinkDL/rwkv7-g1",
        file: "rwkv7-g1d-0.1b-20260129-ctx8192.pth",
        bytes: 382_000_000,
        sha256: "e10d7b1930c2644c5c6b194444774d6d82ec8212a78763493149de09aac7d83f",
        licence: APACHE,
        shape: rwkv7(12, 768, [64, 64, 32, 128]),
        good_for: "a first try, and boards with 512 MB",
    },
    Entry {
        name: "g1-0.4b",
        version: "g1d-0.4b",
        title: "RWKV-7 G1d 0.4B",
        repository: "BlinkDL/rwkv7-g1",
        file: "rwkv7-g1d-0.4b-20260210-ctx8192.pth",
        bytes: 901_776_749,
        sha256: "947cb9b8013224e06b112b72204256bec65096cc935a7767ce63d8e3ddef83bb",
        licence: APACHE,
        shape: rwkv7(24, 1024, [64, 64, 32, 128]),
        good_for: "boards with 1 GB",
    },
    Entry {
        name: "g1-1.5b",
        version: "g1j-1.5b",
        title: "RWKV-7 G1j 1.5B",
        repository: "BlinkDL/rwkv7-g1",
        file: "rwkv7-g1j-1.5b-20260831-ctx16384.pth",
        bytes: 3_055_444_605,
        sha256: "c43176881caf85fe22ad654ab02e7519260d560f3d20420ab590adb0c823860f",
        licence: APACHE,
        shape: rwkv7(24, 2048, [96, 96, 64, 256]),
        good_for: "boards and laptops with 4 GB",
    },
    Entry {
        name: "g1-2.9b",
        version: "g1j-2.9b",
        title: "RWKV-7 G1j 2.9B",
        repository: "BlinkDL/rwkv7-g1",
        file: "rwkv7-g1j-2.9b-20260831-ctx16384.pth",
        bytes: 5_896_273_469,
        sha256: "966f3420f833532aae3fb1fd6326533b08d43d23b7b03eaa2f0694a30b64a239",
        licence: APACHE,
        shape: rwkv7(32, 2560, [96, 96, 64, 320]),
        good_for: "4 GB with little to spare, or 8 GB",
    },
    Entry {
        name: "g1-7.2b",
        version: "g1j-7.2b",
        title: "RWKV-7 G1j 7.2B",
        repository: "BlinkDL/rwkv7-g1",
        file: "rwkv7-g1j-7.2b-20260831-ctx16384.pth",
        bytes: 14_400_007_869,
        sha256: "e3091a579c23ea7ebce9a0ad1ecfbda27082eeecd64d7f0474016e626df8f9c3",
        licence: APACHE,
        shape: rwkv7(32, 4096, [128, 128, 96, 480]),
        good_for: "PCs with 16 GB: the strongest here",
    },
    Entry {
        name: "world6-1.6b",
        version: "world6-1.6b",
        title: "RWKV-6 World 1.6B",
        repository: "BlinkDL/rwkv-6-world",
        file: "RWKV-x060-World-1B6-v2.1-20240328-ctx4096.pth",
        bytes: 3_199_845_663,
        sha256: "cda1f0ebe802e2859bfa129546372fd1eac60319111f215f65ced67dd334db36",
        licence: APACHE,
        shape: rwkv6(24, 2048),
        good_for: "comparing with RWKV-7",
    },
    Entry {
        name: "world6-3b",
        version: "world6-3b",
        title: "RWKV-6 World 3B",
        repository: "BlinkDL/rwkv-6-world",
        file: "RWKV-x060-World-3B-v2.1-20240417-ctx4096.pth",
        bytes: 6_199_859_158,
        sha256: "c7c4e68ea6d561661de0562c8f229e62668f9c2d804346a87ae28d6209cc4738",
        licence: APACHE,
        shape: rwkv6(32, 2560),
        good_for: "comparing with RWKV-7",
    },
    Entry {
        name: "world6-7b",
        version: "world6-7b",
        title: "RWKV-6 World 7B",
        repository: "BlinkDL/rwkv-6-world",
        file: "RWKV-x060-World-7B-v3-20241112-ctx4096.pth",
        bytes: 15_271_627_549,
        sha256: "ad2809d8f49d14711dee58541226d9a2c9a46e9cbc0b19279f031721ecf87906",
        licence: APACHE,
        shape: rwkv6(32, 4096),
        good_for: "comparing with RWKV-7",
    },
    Entry {
        name: "world5-0.4b",
        version: "world5-0.4b",
        title: "RWKV-5 World 0.4B",
        repository: "BlinkDL/rwkv-5-world",
        file: "RWKV-5-World-0.4B-v2-20231113-ctx4096.pth",
        bytes: 923_523_954,
        sha256: "5a288c54c7f30b0e2d4af23991133fad2af2d5e59ec7ad850ffe78054a5e4f92",
        licence: APACHE,
        shape: rwkv5(24, 1024),
        good_for: "comparing with RWKV-7",
    },
    Entry {
        name: "world5-1.5b",
        version: "world5-1.5b",
        title: "RWKV-5 World 1.5B",
        repository: "BlinkDL/rwkv-5-world",
        file: "RWKV-5-World-1B5-v2-20231025-ctx4096.pth",
        bytes: 3_155_590_194,
        sha256: "5a89f56be7f82ab9dd0835af9a6838f788477471616c02f7b041e3aea0c57435",
        licence: APACHE,
        shape: rwkv5(24, 2048),
        good_for: "comparing with RWKV-7",
    },
    Entry {
        name: "world5-3b",
        version: "world5-3b",
        title: "RWKV-5 World 3B",
        repository: "BlinkDL/rwkv-5-world",
        file: "RWKV-5-World-3B-v2-20231113-ctx4096.pth",
        bytes: 6_126_106_674,
        sha256: "a4bd430343c6fd138b85bbc68bb20262d3a2f053ea57dc4b41078269af68ff9c",
        licence: APACHE,
        shape: rwkv5(32, 2560),
        good_for: "comparing with RWKV-7",
    },
    Entry {
        name: "world5-7b",
        version: "world5-7b",
        title: "RWKV-5 World 7B",
        repository: "BlinkDL/rwkv-5-world",
        file: "RWKV-5-World-7B-v2-20240128-ctx4096.pth",
        bytes: 15_036_197_526,
        sha256: "a88c7274184b211e5545c8f992f0b80d03c40a447980bbfcd0f6d5858982615a",
        licence: APACHE,
        shape: rwkv5(32, 4096),
        good_for: "comparing with RWKV-7",
    },
    Entry {
        name: "world4-0.1b",
        version: "world4-0.1b",
        title: "RWKV-4 World 0.1B",
        repository: "BlinkDL/rwkv-4-world",
        file: "RWKV-4-World-0.1B-v1-20230520-ctx4096.pth",
        bytes: 385_594_610,
        sha256: "a10ef99df2a8f8a6801edf4fc92a9c49bedd63dcb900d3e5667a2136b3d671e7",
        licence: APACHE,
        shape: rwkv4(12, 768),
        good_for: "the smallest state of all, 184 kB",
    },
    Entry {
        name: "world4-0.4b",
        version: "world4-0.4b",
        title: "RWKV-4 World 0.4B",
        repository: "BlinkDL/rwkv-4-world",
        file: "RWKV-4-World-0.4B-v1-20230529-ctx4096.pth",
        bytes: 923_362_866,
        sha256: "4b4a2733cf5e5dc97dd62106f391d99895d16b11c5ccd10c89f28c52067a4919",
        licence: APACHE,
        shape: rwkv4(24, 1024),
        good_for: "a small state, 492 kB",
    },
    Entry {
        name: "world4-1.5b",
        version: "world4-1.5b",
        title: "RWKV-4 World 1.5B",
        repository: "BlinkDL/rwkv-4-world",
        file: "RWKV-4-World-1.5B-v1-fixed-20230612-ctx4096.pth",
        bytes: 3_155_281_586,
        sha256: "71f0c3229f9227cbcb8ae5fee6461197129a57e26366c4d23a49058417b046c9",
        licence: APACHE,
        shape: rwkv4(24, 2048),
        good_for: "a small state, 983 kB",
    },
    Entry {
        name: "world4-3b",
        version: "world4-3b",
        title: "RWKV-4 World 3B",
        repository: "BlinkDL/rwkv-4-world",
        file: "RWKV-4-World-3B-v1-20230619-ctx4096.pth",
        bytes: 6_125_597_618,
        sha256: "1b227af317fa25b6939ab3c7cd321226ca48b8fe4bbbd2df3db669f1482c54ba",
        licence: APACHE,
        shape: rwkv4(32, 2560),
        good_for: "a small state, 1.6 MB",
    },
    Entry {
        name: "world4-7b",
        version: "world4-7b",
        title: "RWKV-4 World 7B",
        repository: "BlinkDL/rwkv-4-world",
        file: "RWKV-4-World-7B-v1-20230626-ctx4096.pth",
        bytes: 15_035_393_586,
        sha256: "db7b011247a0fe4389e1d76e3d6a904185f85d509c8a44ad18bf401094efc293",
        licence: APACHE,
        shape: rwkv4(32, 4096),
        good_for: "a small state, 2.6 MB",
    },
];
