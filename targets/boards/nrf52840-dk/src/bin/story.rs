//! Checks the model and tells a story.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, run};
use kinglet_nrf52840_dk::Dk;

#[cortex_m_rt::entry]
fn main() -> ! {
    let _parts = kinglet_nrf52840_dk::init();
    run::<Dk, _>(Teller::new(), Teller::story::<Dk>)
}
