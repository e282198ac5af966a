//! Boards that people have, with the memory that their data sheets give.
//!
//! Each figure names its source, so that it can be checked and mended. A bandwidth is one that
//! somebody measured on the board; what nobody did is absent, and then there is no estimate.

/// A piece of memory with addresses of its own; a buffer lies in one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bank {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
}

/// What a board has for a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Board {
    /// The name for `--board`.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// Memory that a program and its model are read from in place; `None` where
    /// they come from a card or a disk and are held in RAM.
    pub(crate) flash: Option<u64>,
    /// RAM for data, the fastest first.
    pub(crate) ram: &'static [Bank],
    /// Where the sizes are from.
    pub(crate) source: &'static str,
    /// What else there is to know.
    pub(crate) note: &'static str,
    /// Other names for `--board`.
    pub(crate) aliases: &'static [&'static str],
    /// How fast its memory is read, where decoding is bound by that.
    pub(crate) memory: Option<Memory>,
}

/// How fast a board's processor reads its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) bytes_per_second: u64,
    /// Where the figure is from.
    pub(crate) source: &'static str,
}

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const G: u64 = 1 << 30;

const fn bank(name: &'static str, bytes: u64) -> Bank {
    Bank { name, bytes }
}

/// Twice the bytes that `memcpy` copies in a second, because it reads and writes: 1.32 GB/s on a
/// Zero 2 W and 1.05 to 1.23 GB/s on a Pi 3 B+.
const SBC_BENCH: &str = "twice memcpy in sbc-bench, github.com/ThomasKaiser/sbc-bench, Results.md";
/// 3 and 9 tokens/s with weights of 1.17 GB.
const TINY_LLAMA: &str = "what TinyLlama 1.1B Q8_0 reads in llamafile 0.7, justine.lol/matmul";

const fn memory(megabytes: u64, source: &'static str) -> Option<Memory> {
    Some(Memory { bytes_per_second: 1_000_000 * megabytes, source })
}

/// A Raspberry Pi with a 64-bit system.
const fn pi(
    [id, name]: [&'static str; 2],
    ram: &'static [Bank],
    source: &'static str,
    aliases: &'static [&'static str],
    memory: Option<Memory>,
) -> Board {
    Board { id, name, flash: None, ram, source, note: "", aliases, memory }
}

const SDRAM_512M: &[Bank] = &[bank("SDRAM", 512 * M)];
const SDRAM_1G: &[Bank] = &[bank("SDRAM", G)];
const SDRAM_2G: &[Bank] = &[bank("SDRAM", 2 * G)];
const SDRAM_4G: &[Bank] = &[bank("SDRAM", 4 * G)];
const SDRAM_8G: &[Bank] = &[bank("SDRAM", 8 * G)];
const SDRAM_16G: &[Bank] = &[bank("SDRAM", 16 * G)];
const PI_3: &str = "Raspberry Pi 3 Model B+ product brief";
const PI_4: &str = "Raspberry Pi 4 Model B product brief";
const PI_5: &str = "Raspberry Pi 5 product brief";
const MEMORY_4: Option<Memory> = memory(3_500, TINY_LLAMA);
const MEMORY_5: Option<Memory> = memory(10_500, TINY_LLAMA);

/// All boards, the smallest RAM first.
pub(crate) const BOARDS: &[Board] = &[
    Board {
        id: "nrf52840",
        name: "nRF52840",
        flash: Some(M),
        ram: &[bank("RAM", 256 * K)],
        source: "nRF52840 Product Specification, Memory",
        note: "",
        aliases: &["nrf52840-dk"],
        memory: None,
    },
    Board {
        id: "rp2040",
        name: "Raspberry Pi Pico (RP2040)",
        flash: Some(2 * M),
        ram: &[bank("SRAM", 264 * K)],
        source: "RP2040 Datasheet, SRAM; Pico Datasheet (2 MB of flash)",
        note: "Cortex-M0+: no FPU",
        aliases: &["pico", "pi-pico"],
        memory: None,
    },
    Board {
        id: "stm32f746",
        name: "STM32F746",
        flash: Some(M),
        ram: &[bank("DTCM, SRAM1 and SRAM2", 320 * K)],
        source: "ST DS10916",
        note: "",
        aliases: &["nucleo-f746"],
        memory: None,
    },
    Board {
        id: "nrf5340",
        name: "nRF5340, application core",
        flash: Some(M),
        ram: &[bank("RAM", 512 * K)],
        source: "nRF5340 Product Specification, Memory",
        note: "",
        aliases: &[],
        memory: None,
    },
    Board {
        id: "esp32-c6",
        name: "ESP32-C6 with 4 MB of flash",
        flash: Some(4 * M),
        ram: &[bank("HP SRAM", 512 * K)],
        source: "ESP32-C6 Datasheet (HP SRAM); ESP32-C6-WROOM-1 Datasheet (flash)",
        note: "RV32IMAC: no FPU",
        aliases: &["esp32c6", "xiao-esp32c6"],
        memory: None,
    },
    Board {
        id: "rp2350",
        name: "Raspberry Pi Pico 2 (RP2350)",
        flash: Some(4 * M),
        ram: &[bank("SRAM", 520 * K)],
        source: "RP2350 Datasheet, SRAM; Pico 2 Datasheet (4 MB of flash)",
        note: "",
        aliases: &["pico-2", "pi-pico-2"],
        memory: None,
    },
    Board {
        id: "stm32u585",
        name: "STM32U585",
        flash: Some(2 * M),
        ram: &[bank("SRAM1 to SRAM3", 768 * K), bank("SRAM4", 16 * K)],
        source: "ST DS13086",
        note: "",
        aliases: &[],
        memory: None,
    },
    Board {
        id: "stm32h743",
        name: "STM32H743",
        flash: Some(2 * M),
        ram: &[
            bank("DTCM", 128 * K),
            bank("AXI SRAM", 512 * K),
            bank("SRAM1 to SRAM3", 288 * K),
            bank("SRAM4", 64 * K),
        ],
        source: "ST DS12110",
        note: "",
        aliases: &["nucleo-h743"],
        memory: None,
    },
    Board {
        id: "esp32-s3",
        name: "ESP32-S3-WROOM-1-N16R8",
        flash: Some(16 * M),
        ram: &[bank("SRAM", 512 * K), bank("PSRAM", 8 * M)],
        source: "ESP32-S3-WROOM-1 Datasheet",
        note: "upstream Rust does not build for Xtensa; needs Espressif's fork",
        aliases: &["esp32s3"],
        memory: None,
    },
    Board {
        id: "esp32-p4",
        name: "ESP32-P4NRW32 with 16 MB of flash",
        flash: Some(16 * M),
        ram: &[bank("HP L2MEM", 768 * K), bank("PSRAM", 32 * M)],
        source: "ESP32-P4 Datasheet; ESP32-P4-Function-EV-Board user guide (flash)",
        note: "the L2 cache takes 128 to 512 KB of the L2MEM",
        aliases: &[],
        memory: None,
    },
    Board {
        id: "imxrt1060",
        name: "MIMXRT1060-EVK (i.MX RT1062)",
        flash: Some(8 * M),
        ram: &[bank("DTCM", 128 * K), bank("OCRAM", 768 * K), bank("SDRAM", 32 * M)],
        source: "NXP IMXRT1060CEC; MIMXRT1060 EVK Board Hardware User's Guide (QSPI flash, SDRAM)",
        note: "FlexRAM as after reset",
        aliases: &["mimxrt1060-evk", "imxrt1062"],
        memory: None,
    },
    pi(
        ["pi-zero-2w", "Raspberry Pi Zero 2 W"],
        SDRAM_512M,
        "Raspberry Pi Zero 2 W product brief",
        &["pi-zero-2", "zero-2w"],
        memory(2_600, SBC_BENCH),
    ),
    pi(
        ["pi-3", "Raspberry Pi 3 Model B, B+"],
        SDRAM_1G,
        PI_3,
        &["pi-3b"],
        memory(2_200, SBC_BENCH),
    ),
    pi(["pi-4-1gb", "Raspberry Pi 4 Model B, 1 GB"], SDRAM_1G, PI_4, &[], MEMORY_4),
    pi(["pi-4-2gb", "Raspberry Pi 4 Model B, 2 GB"], SDRAM_2G, PI_4, &[], MEMORY_4),
    pi(["pi-5-2gb", "Raspberry Pi 5, 2 GB"], SDRAM_2G, PI_5, &[], MEMORY_5),
    pi(
        ["pi-4-4gb", "Raspberry Pi 4 Model B, 4 GB"],
        SDRAM_4G,
        PI_4,
        &["pi-4", "pi-4b", "pi-400"],
        MEMORY_4,
    ),
    pi(["pi-5-4gb", "Raspberry Pi 5, 4 GB"], SDRAM_4G, PI_5, &[], MEMORY_5),
    pi(["pi-4-8gb", "Raspberry Pi 4 Model B, 8 GB"], SDRAM_8G, PI_4, &[], MEMORY_4),
    pi(["pi-5-8gb", "Raspberry Pi 5, 8 GB"], SDRAM_8G, PI_5, &["pi-5", "pi-500"], MEMORY_5),
    pi(["pi-5-16gb", "Raspberry Pi 5, 16 GB"], SDRAM_16G, PI_5, &["pi-500-plus"], MEMORY_5),
];

/// The board that `--board` names: by its name, another name, or what people write for one.
pub(crate) fn board(name: &str) -> Option<&'static Board> {
    let wanted = plain(name);
    BOARDS.iter().find(|board| names(board).any(|name| name == wanted))
}

/// The board whose name is most like the one given, where one is.
pub(crate) fn nearest(name: &str) -> Option<&'static Board> {
    /// So alike that one is a slip of the other: `nosuch` and `stm32h743` are not.
    const ALIKE: f64 = 0.8;
    let wanted = plain(name);
    // A short name has its letters in many a long one.
    let is_as_long = |name: &String| name.len().abs_diff(wanted.len()) <= 2;
    let alike = |board: &&Board| {
        let names = names(board).filter(is_as_long);
        names.map(|name| strsim::jaro(&name, &wanted)).fold(0.0, f64::max)
    };
    let near = BOARDS.iter().filter(|board| alike(board) > ALIKE);
    near.max_by(|a, b| alike(a).total_cmp(&alike(b)))
}

/// The names of a board, plain.
fn names(board: &Board) -> impl Iterator<Item = String> {
    [board.id, board.name].into_iter().chain(board.aliases.iter().copied()).map(plain)
}

/// A name as it is compared: letters and digits alone, without what goes without saying.
fn plain(name: &str) -> String {
    let lower = name.to_lowercase().replace("raspberry", "").replace("model", "");
    let plain: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    plain.strip_prefix("rpi").map(|rest| format!("pi{rest}")).unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_sane() {
        for (i, one) in BOARDS.iter().enumerate() {
            assert!(!one.source.is_empty() && one.ram.iter().all(|bank| bank.bytes > 0));
            for name in names(one) {
                assert!(board(&name).is_some_and(|found| found.id == one.id), "{name}");
                let others = BOARDS[..i].iter().flat_map(names);
                assert!(others.into_iter().all(|other| other != name), "{name} twice");
            }
        }
        let ram = |board: &Board| board.ram.iter().map(|bank| bank.bytes).sum::<u64>();
        assert!(BOARDS.is_sorted_by_key(ram));
    }

    #[test]
    fn people_s_names_are_known() {
        for (name, id) in [
            ("pi4", "pi-4-4gb"),
            ("raspberry pi 4", "pi-4-4gb"),
            ("Raspberry Pi 4 Model B", "pi-4-4gb"),
            ("Raspberry Pi 5, 16 GB", "pi-5-16gb"),
            ("pi5", "pi-5-8gb"),
            ("rpi4", "pi-4-4gb"),
            ("RPi 5", "pi-5-8gb"),
            ("raspberry pi zero 2", "pi-zero-2w"),
            ("PI_ZERO_2W", "pi-zero-2w"),
            ("pico2", "rp2350"),
            ("ESP32S3", "esp32-s3"),
        ] {
            assert_eq!(board(name).map(|board| board.id), Some(id), "{name}");
        }
        for (name, id) in
            [("rp2530", "rp2350"), ("pi-4-4g", "pi-4-4gb"), ("stm32h747", "stm32h743")]
        {
            assert!(board(name).is_none(), "{name}");
            assert_eq!(nearest(name).map(|board| board.id), Some(id), "{name}");
        }
        assert!(nearest("abacus").is_none() && nearest("pi6").is_none());
    }
}
