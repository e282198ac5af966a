//! A story beside a watchdog and a blinking LED: after each piece of a token the other tasks run.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_nrf::gpio::Output;
use embassy_time::{Duration, Ticker};
use kinglet_boards::{Teller, run_in_pieces};
use kinglet_nrf52840_dk::{Dk, Parts, Watchdog};

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let Parts { led, watchdog, .. } = kinglet_nrf52840_dk::init();
    spawner.spawn(feed(watchdog).expect("spawned once"));
    spawner.spawn(blink(led).expect("spawned once"));
    spawner.spawn(story().expect("spawned once"));
}

#[embassy_executor::task]
async fn story() {
    run_in_pieces::<Dk, _>(Teller::new()).await;
}

#[embassy_executor::task]
async fn feed(watchdog: Watchdog) {
    let mut watchdog = watchdog.start();
    let mut ticker = Ticker::every(Watchdog::TIMEOUT / 4);
    loop {
        watchdog.pet();
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
