//! Checks the model and tells a story.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, run};
use kinglet_stm32f746_disco::Disco;

#[cortex_m_rt::entry]
fn main() -> ! {
    let _parts = kinglet_stm32f746_disco::init();
    run::<Disco, _>(Teller::new(), Teller::story::<Disco>)
}
