//! Both cores of the board AN521, and what each of them computes.
//!
//! The second core waits in the SSE-200 subsystem until the first one writes where its vectors are
//! and releases it. Memory and events (SEV, WFE) are the mailbox; on an RP2350 only the release
//! differs.
//!
//! Under QEMU both cores spend the same virtual time, also when they wait. Work is therefore
//! counted in another run, [`count`]: the second core sleeps, and the first one computes both
//! shares of each call, one after the other and each by the clock. As much as both cores would
//! have computed at the same time is taken off the clock, which then shows the critical path.

use core::arch::naked_asm;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32};

use cortex_m::asm::{dsb, sev, wfe, wfi};
use cortex_m::interrupt::{self, Mutex};
use kinglet_cortex_m::{Best, Mailbox, SecondCore, TwoCores};

use crate::clock::Clock;
use crate::console::{Failed, fail};

/// The kernels of both cores.
pub(crate) type Kernels = TwoCores<'static, Best, Cores>;

static SECOND: SecondCore<Cores> = SecondCore::new(Cores);
/// Whether the second core serves.
static SERVES: AtomicBool = AtomicBool::new(false);
/// Whether the first core computes both shares, by [`CLOCK`].
static COUNTS: AtomicBool = AtomicBool::new(false);
static CLOCK: Mutex<Cell<Option<Clock>>> = Mutex::new(Cell::new(None));

/// Registers of the system control block, secure.
const INITSVTOR1: *mut u32 = 0x5002_1114 as *mut u32;
const CPUWAIT: *mut u32 = 0x5002_1118 as *mut u32;
/// Times that the first core looks whether the second has come.
const PATIENCE: u32 = 100_000_000;

/// Events between the cores.
pub(crate) struct Cores;

impl Mailbox for Cores {
    fn tell(&self) {
        if COUNTS.load(Relaxed) {
            return run_second_share();
        }
        // What was written comes before the event.
        dsb();
        sev();
    }

    fn wait(&self) {
        wfe();
    }
}

/// Starts the second core.
#[inline(never)]
pub(crate) fn start(kernels: Best, clock: Clock) -> Result<Kernels, Failed> {
    interrupt::free(|token| CLOCK.borrow(token).set(Some(clock)));
    STACK.paint();
    // SAFETY: registers of this board; the second core has vectors, a stack and code.
    unsafe {
        INITSVTOR1.write_volatile((&raw const VECTORS).addr() as u32);
        dsb();
        CPUWAIT.write_volatile(0);
    }
    for _ in 0..PATIENCE {
        if SERVES.load(Acquire) {
            // SAFETY: only this core has kernels over it, and no interrupt handler has.
            return Ok(unsafe { TwoCores::new(kernels, &SECOND) });
        }
        wfe();
    }
    fail!("the second core does not start")
}

/// From now on the first core computes alone, and counts.
#[inline(never)]
pub(crate) fn count() {
    COUNTS.store(true, Release);
    dsb();
    sev();
    while SERVES.load(Acquire) {
        wfe();
    }
}

/// Ticks of the counted calls.
struct Counted {
    /// The second core's share of this call.
    share: AtomicU32,
    /// When it was computed.
    end: AtomicU32,
    /// Of all calls: the second core's shares, and what both would have computed at the same time.
    second: AtomicU32,
    both: AtomicU32,
}

static COUNTED: Counted = Counted {
    share: AtomicU32::new(0),
    end: AtomicU32::new(0),
    second: AtomicU32::new(0),
    both: AtomicU32::new(0),
};

/// The second core's share of a call, on the first one and by the clock.
#[inline(never)]
fn run_second_share() {
    let Some(clock) = interrupt::free(|token| CLOCK.borrow(token).get()) else { return };
    let start = clock.now();
    // SAFETY: the second core sleeps, and serves no more.
    if unsafe { SECOND.serve_one() } {
        COUNTED.share.store(clock.since(start), Relaxed);
        COUNTED.end.store(clock.now(), Relaxed);
    }
}

/// The end of a call: takes off the clock what both cores would have computed at the same time.
#[inline(always)]
pub(crate) fn end_call(clock: &Clock) {
    let share = COUNTED.share.load(Relaxed);
    if share == 0 {
        return;
    }
    let both = share.min(clock.since(COUNTED.end.load(Relaxed)));
    COUNTED.share.store(0, Relaxed);
    add(&COUNTED.second, share);
    add(&COUNTED.both, both);
}

fn add(sum: &AtomicU32, ticks: u32) {
    sum.store(sum.load(Relaxed).wrapping_add(ticks), Relaxed);
}

/// Ticks that are taken off the clock.
#[inline(always)]
pub(crate) fn both() -> u32 {
    COUNTED.both.load(Relaxed)
}

/// Ticks of either core, where those of the critical path are `ticks`.
pub(crate) fn each(ticks: u64) -> [u64; 2] {
    let second = u64::from(COUNTED.second.load(Relaxed));
    [ticks + u64::from(both()) - second, second]
}

/// The second core's vectors, `[stack pointer, reset, 14 exceptions]`.
#[repr(C, align(128))]
struct Vectors {
    stack: *const Stack,
    reset: unsafe extern "C" fn() -> !,
    exceptions: [extern "C" fn() -> !; 14],
}

// SAFETY: nothing writes them.
unsafe impl Sync for Vectors {}

static VECTORS: Vectors = Vectors {
    // SAFETY: the end of the stack, from where it grows down.
    stack: unsafe { (&raw const STACK).add(1) },
    reset,
    exceptions: [exception; 14],
};

/// The stack of a share.
#[repr(C, align(8))]
struct Stack(UnsafeCell<[u32; 1024]>);

// SAFETY: the second core's alone, but for the paint.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 1024]));

impl Stack {
    fn paint(&self) {
        // SAFETY: the second core has not started.
        unsafe { self.0.get().write([cortex_m_rt::STACK_PAINT_VALUE; 1024]) };
    }
}

/// Most bytes of the second core's stack in use at one time.
pub(crate) fn stack_high_water() -> usize {
    let words = STACK.0.get().cast::<u32>();
    let untouched = (0..1024)
        // SAFETY: inside the stack, of which the second core writes nothing now.
        .take_while(|&i| unsafe { words.add(i).read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE)
        .count();
    (1024 - untouched) * size_of::<u32>()
}

/// Switches the second core's FPU on (CPACR), which code of this ABI takes for granted.
#[unsafe(naked)]
unsafe extern "C" fn reset() -> ! {
    naked_asm!(
        "ldr r0, =0xE000ED88",
        "ldr r1, [r0]",
        "ldr r2, =0x00F00000",
        "orrs r1, r2",
        "str r1, [r0]",
        "dsb",
        "isb",
        "bl {serve}",
        ".ltorg",
        serve = sym serve,
    )
}

extern "C" fn serve() -> ! {
    if Best::new().is_none() {
        let _: Result<(), _> = fail!("the second core's FPU has other modes");
        semihosting::process::exit(1);
    }
    SERVES.store(true, Release);
    SECOND.mailbox().tell();
    while !COUNTS.load(Acquire) {
        // SAFETY: this core alone serves.
        if !unsafe { SECOND.serve_one() } {
            SECOND.mailbox().wait();
        }
    }
    SERVES.store(false, Release);
    dsb();
    sev();
    loop {
        wfi();
    }
}

extern "C" fn exception() -> ! {
    panic!("an exception of the second core");
}
