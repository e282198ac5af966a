//! Writes the board's record, for `kinglet bench --board`.
#![no_std]
#![no_main]

use kinglet_boards::{record, run, two_cores};
use kinglet_rp2040::Pico;

#[cortex_m_rt::entry]
fn main() -> ! {
    kinglet_rp2040::init();
    run::<Pico, _>(two_cores::teller(), record::<Pico, _>)
}
