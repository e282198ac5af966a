//! Writes the board's record, for `kinglet bench --board`.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, record, run};
use kinglet_stm32f746_disco::Disco;

#[cortex_m_rt::entry]
fn main() -> ! {
    let _parts = kinglet_stm32f746_disco::init();
    run::<Disco, _>(Teller::new(), record::<Disco, _>)
}
