//! Checks the model and tells a story, on both cores.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, run, two_cores};
use kinglet_rp2040::Pico;

#[cortex_m_rt::entry]
fn main() -> ! {
    kinglet_rp2040::init();
    run::<Pico, _>(two_cores::teller(), Teller::story::<Pico>)
}
