//! The kernel sets: types whose values prove the instructions.

mod dotprod;
mod i8mm;
mod neon;

pub use dotprod::Dotprod;
pub use i8mm::I8mm;
pub use neon::Neon;
