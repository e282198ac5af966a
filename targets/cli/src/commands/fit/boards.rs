//! Boards that people have, with the memory that their data sheets give.

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
}

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const G: u64 = 1 << 30;

const fn bank(name: &'static str, bytes: u64) -> Bank {
    Bank { name, bytes }
}

const LINUX: &str = "runs Linux";

/// All boards, the smallest RAM first.
pub(crate) const BOARDS: &[Board] = &[
    Board {
        id: "nrf52840",
        name: "nRF52840",
        flash: Some(M),
        ram: &[bank("RAM", 256 * K)],
        source: "nRF52840 Product Specification, Memory",
        note: "",
    },
    Board {
        id: "rp2040",
        name: "Raspberry Pi Pico (RP2040)",
        flash: Some(2 * M),
        ram: &[bank("SRAM", 264 * K)],
        source: "RP2040 Datasheet, SRAM; Pico Datasheet (2 MB of flash)",
        note: "Cortex-M0+: no FPU",
    },
    Board {
        id: "stm32f746",
        name: "STM32F746",
        flash: Some(M),
        ram: &[bank("DTCM, SRAM1 and SRAM2", 320 * K)],
        source: "ST DS10916",
        note: "",
    },
    Board {
        id: "nrf5340",
        name: "nRF5340, application core",
        flash: Some(M),
        ram: &[bank("RAM", 512 * K)],
        source: "nRF5340 Product Specification, Memory",
        note: "",
    },
    Board {
        id: "rp2350",
        name: "Raspberry Pi Pico 2 (RP2350)",
        flash: Some(4 * M),
        ram: &[bank("SRAM", 520 * K)],
        source: "RP2350 Datasheet, SRAM; Pico 2 Datasheet (4 MB of flash)",
        note: "",
    },
    Board {
        id: "stm32u585",
        name: "STM32U585",
        flash: Some(2 * M),
        ram: &[bank("SRAM1 to SRAM3", 768 * K), bank("SRAM4", 16 * K)],
        source: "ST DS13086",
        note: "",
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
    },
    Board {
        id: "esp32-s3",
        name: "ESP32-S3-WROOM-1-N16R8",
        flash: Some(16 * M),
        ram: &[bank("SRAM", 512 * K), bank("PSRAM", 8 * M)],
        source: "ESP32-S3-WROOM-1 Datasheet",
        note: "upstream Rust does not build for Xtensa; needs Espressif's fork",
    },
    Board {
        id: "esp32-p4",
        name: "ESP32-P4NRW32 with 16 MB of flash",
        flash: Some(16 * M),
        ram: &[bank("HP L2MEM", 768 * K), bank("PSRAM", 32 * M)],
        source: "ESP32-P4 Datasheet; ESP32-P4-Function-EV-Board user guide (flash)",
        note: "the L2 cache takes 128 to 512 KB of the L2MEM",
    },
    Board {
        id: "imxrt1060",
        name: "MIMXRT1060-EVK (i.MX RT1062)",
        flash: Some(8 * M),
        ram: &[bank("DTCM", 128 * K), bank("OCRAM", 768 * K), bank("SDRAM", 32 * M)],
        source: "NXP IMXRT1060CEC; MIMXRT1060 EVK Board Hardware User's Guide (QSPI flash, SDRAM)",
        note: "FlexRAM as after reset",
    },
    Board {
        id: "pi-zero-2w",
        name: "Raspberry Pi Zero 2 W",
        flash: None,
        ram: &[bank("SDRAM", 512 * M)],
        source: "Raspberry Pi Zero 2 W product brief",
        note: LINUX,
    },
    Board {
        id: "pi-4",
        name: "Raspberry Pi 4 Model B, 4 GB",
        flash: None,
        ram: &[bank("SDRAM", 4 * G)],
        source: "Raspberry Pi 4 Model B product brief",
        note: LINUX,
    },
    Board {
        id: "pi-5",
        name: "Raspberry Pi 5, 8 GB",
        flash: None,
        ram: &[bank("SDRAM", 8 * G)],
        source: "Raspberry Pi 5 product brief",
        note: LINUX,
    },
];

/// The board that `--board` names.
pub(crate) fn board(id: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.id.eq_ignore_ascii_case(id))
}
