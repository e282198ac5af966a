//! Writes the board's record, for `kinglet bench --board`.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, record, run};
use kinglet_qemu_mps2_an386::{Mps2, time};

#[cortex_m_rt::entry]
fn main() -> ! {
    time::start(cortex_m::Peripherals::take().expect("taken once").SYST);
    run::<Mps2, _>(Teller::new(), record::<Mps2, _>)
}
