//! Writes the board's record, for `kinglet bench --board`.
#![no_std]
#![no_main]

use kinglet_boards::{record, run, two_cores};
use kinglet_rp2350::Pico2;

#[cortex_m_rt::entry]
fn main() -> ! {
    kinglet_rp2350::init();
    run::<Pico2, _>(two_cores::teller(), record::<Pico2, _>)
}
