//! A story beside a watchdog and a blinking LED: after each piece of a token the other tasks run.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_time::{Duration, Ticker};
use esp_hal::gpio::Output;
use kinglet_boards::{Teller, run_in_pieces};
use kinglet_esp32_p4::{Esp32P4, Parts, Watchdog};

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let Parts { led, watchdog, timer, interrupt } = kinglet_esp32_p4::init();
    esp_rtos::start(timer, interrupt);
    spawner.spawn(feed(watchdog).expect("spawned once"));
    spawner.spawn(blink(led).expect("spawned once"));
    spawner.spawn(story().expect("spawned once"));
}

#[embassy_executor::task]
async fn story() {
    run_in_pieces::<Esp32P4, _>(Teller::new()).await;
}

#[embassy_executor::task]
async fn feed(mut watchdog: Watchdog) {
    watchdog.start();
    let mut ticker = Ticker::every(Watchdog::TIMEOUT / 4);
    loop {
        watchdog.feed();
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
