//! Checks the model and tells a story, on both cores.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, run, two_cores};
use kinglet_rp2350::Pico2;

#[cortex_m_rt::entry]
fn main() -> ! {
    kinglet_rp2350::init();
    run::<Pico2, _>(two_cores::teller(), Teller::story::<Pico2>)
}
