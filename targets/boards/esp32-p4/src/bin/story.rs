//! Checks the model and tells a story.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, run};
use kinglet_esp32_p4::Esp32P4;

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_hal::main]
fn main() -> ! {
    let _parts = kinglet_esp32_p4::init();
    run::<Esp32P4, _>(Teller::new(), Teller::story::<Esp32P4>)
}
