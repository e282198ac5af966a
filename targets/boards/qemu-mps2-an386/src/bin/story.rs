//! Checks the model and tells a story.
#![no_std]
#![no_main]

use kinglet_boards::{Teller, run};
use kinglet_qemu_mps2_an386::Mps2;

#[cortex_m_rt::entry]
fn main() -> ! {
    run::<Mps2, _>(Teller::new(), Teller::story::<Mps2>)
}
