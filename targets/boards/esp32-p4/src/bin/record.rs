//! Writes the board's record, for `kinglet bench --board`.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, record, run};
use kinglet_esp32_p4::Esp32P4;

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_hal::main]
fn main() -> ! {
    let _parts = kinglet_esp32_p4::init();
    run::<Esp32P4, _>(Teller::new(), record::<Esp32P4, _>)
}
