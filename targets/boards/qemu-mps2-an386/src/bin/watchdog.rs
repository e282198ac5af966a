//! A story beside a watchdog and a blinking LED: after each piece of a token the other tasks run.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_time::{Duration, Ticker};
use kinglet_boards::{Teller, run_in_pieces};
use kinglet_qemu_mps2_an386::{Mps2, led, time, watchdog};

/// Longer than a piece takes, and shorter than a token.
const WATCHDOG: Duration = Duration::from_millis(2);

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    time::start(cortex_m::Peripherals::take().expect("taken once").SYST);
    spawner.spawn(feed().expect("spawned once"));
    spawner.spawn(blink().expect("spawned once"));
    spawner.spawn(story().expect("spawned once"));
}

#[embassy_executor::task]
async fn story() {
    run_in_pieces::<Mps2, _>(Teller::new()).await;
}

#[embassy_executor::task]
async fn feed() {
    watchdog::start(WATCHDOG.as_millis() as u32);
    let mut ticker = Ticker::every(WATCHDOG / 2);
    loop {
        watchdog::feed();
        ticker.next().await;
    }
}

#[embassy_executor::task]
async fn blink() {
    let mut ticker = Ticker::every(Duration::from_millis(10));
    let mut on = true;
    loop {
        led::set(on);
        on = !on;
        ticker.next().await;
    }
}
