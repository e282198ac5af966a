//! Maps the model's partition into the address space, as the bootloader does the program's.

use core::ptr;

/// The partition of `partitions.csv`.
const PARTITION: u32 = 0x11_0000;
/// Pages of 64 KB, of which the partition is a whole number.
const PAGE: u32 = 64 << 10;
const PAGES: u32 = 0x2F_0000 / PAGE;

// Of the chip's ROM, as ESP-IDF's `esp_rom` declares them for the ESP32-P4.
unsafe extern "C" {
    static _kinglet_model: u8;

    /// `page`: in KB; `fixed`: 0 where physical pages follow each other. 0 is success.
    fn Cache_FLASH_MMU_Set(
        encrypted: u32,
        address: u32,
        flash: u32,
        page: u32,
        pages: u32,
        fixed: u32,
    ) -> i32;
    fn Cache_Invalidate_Addr(caches: u32, address: u32, bytes: u32) -> i32;
}

/// The caches that data of flash goes through: that of level 1, and level 2.
const CACHES: u32 = 1 << 4 | 1 << 5;

/// Maps the partition at `_kinglet_model`.
///
/// # Panics
///
/// When the ROM refuses the pages.
pub(crate) fn map() {
    let status = critical_section::with(|_| set(ptr::addr_of!(_kinglet_model).addr() as u32));
    assert_eq!(status, 0, "the ROM does not map the model's partition");
}

/// In RAM, with interrupts off: nothing is fetched from flash while its map changes.
#[esp_hal::ram]
fn set(address: u32) -> i32 {
    // SAFETY: functions of the ROM; nothing else uses these addresses.
    unsafe {
        let status = Cache_FLASH_MMU_Set(0, address, PARTITION, PAGE >> 10, PAGES, 0);
        Cache_Invalidate_Addr(CACHES, address, PAGES * PAGE);
        status
    }
}
