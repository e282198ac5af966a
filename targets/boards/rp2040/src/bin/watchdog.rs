//! A story beside a watchdog and a blinking LED: after each piece of a token the other tasks run.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::gpio::Output;
use embassy_rp::watchdog::Watchdog;
use embassy_time::{Duration, Ticker};
use kinglet_boards::{run_in_pieces, two_cores};
use kinglet_rp2040::{Parts, Pico};

/// How long the watchdog waits: several pieces, of which each is less than a hundredth of a token.
const WATCHDOG: Duration = Duration::from_millis(200);

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let Parts { led, watchdog } = kinglet_rp2040::init();
    spawner.spawn(feed(watchdog).expect("spawned once"));
    spawner.spawn(blink(led).expect("spawned once"));
    spawner.spawn(story().expect("spawned once"));
}

#[embassy_executor::task]
async fn story() {
    run_in_pieces::<Pico, _>(two_cores::teller()).await;
}

#[embassy_executor::task]
async fn feed(mut watchdog: Watchdog) {
    watchdog.start(WATCHDOG);
    let mut ticker = Ticker::every(WATCHDOG / 4);
    loop {
        watchdog.feed(WATCHDOG);
        ticker.next().await;
    }
}

#[embassy_executor::task]
async fn blink(mut led: Output<'static>) {
    let mut ticker = Ticker::every(Duration::from_millis(250));
    loop {
        led.toggle();
        ticker.next().await;
    }
}
