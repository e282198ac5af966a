//! Lines to whoever holds the debugger: text over semihosting, or defmt frames.

/// The reason has been said.
#[derive(Debug)]
pub(crate) struct Failed;

/// Says a line.
#[cfg(not(feature = "defmt"))]
macro_rules! say {
    ($($part:tt)*) => { semihosting::println!($($part)*) };
}

/// Says a line.
#[cfg(feature = "defmt")]
macro_rules! say {
    ($($part:tt)*) => { defmt::println!($($part)*) };
}

/// Says why the firmware gives up.
macro_rules! fail {
    ($format:literal $($part:tt)*) => {{
        $crate::console::write("FAILED: ");
        $crate::console::say!($format $($part)*);
        Err($crate::console::Failed)
    }};
}

pub(crate) use {fail, say};

/// Text that does not end a line. defmt frames have no lines: a piece is a frame.
pub(crate) fn write(text: &str) {
    #[cfg(not(feature = "defmt"))]
    semihosting::print!("{text}");
    #[cfg(feature = "defmt")]
    defmt::println!("{=str}", text);
}

#[cfg(feature = "defmt")]
use defmt_semihosting as _;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(not(feature = "defmt"))]
    semihosting::println!("FAILED: {info}");
    #[cfg(feature = "defmt")]
    defmt::println!("FAILED: {}", defmt::Display2Format(info));
    semihosting::process::exit(101)
}
