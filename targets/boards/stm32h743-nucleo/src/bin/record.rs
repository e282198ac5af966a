//! Writes the board's record, for `kinglet bench --board`.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, record, run};
use kinglet_stm32h743_nucleo::Nucleo;

#[cortex_m_rt::entry]
fn main() -> ! {
    let _parts = kinglet_stm32h743_nucleo::init();
    run::<Nucleo, _>(Teller::new(), record::<Nucleo, _>)
}
