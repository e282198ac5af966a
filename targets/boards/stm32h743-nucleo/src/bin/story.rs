//! Checks the model and tells a story.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, run};
use kinglet_stm32h743_nucleo::Nucleo;

#[cortex_m_rt::entry]
fn main() -> ! {
    let _parts = kinglet_stm32h743_nucleo::init();
    run::<Nucleo, _>(Teller::new(), Teller::story::<Nucleo>)
}
