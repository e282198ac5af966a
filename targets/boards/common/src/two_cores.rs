//! An engine on two Cortex-M cores that see the same memory: the RP2040's and the RP2350's.

use core::arch::asm;

use kinglet::engine::Cpu;
use kinglet::kernels::Kernels;
use kinglet_cortex_m::{Best, EngineError, Mailbox, SecondCore, TwoCores};

use crate::{Error, Teller, model};

/// The engine of a board that computes on two cores.
pub type Engine = Cpu<'static, TwoCores<'static, Best, Events>, f32>;

static SECOND: SecondCore<Events> = SecondCore::new(Events);

/// Events between the cores: SEV of either reaches both.
#[derive(Clone, Copy, Debug)]
pub struct Events;

impl Mailbox for Events {
    fn tell(&self) {
        // SAFETY: no memory is accessed. What was written comes before the event.
        unsafe { asm!("dsb", "sev", options(nostack, preserves_flags)) }
    }

    fn wait(&self) {
        // SAFETY: no memory is accessed; the other core may have changed it meanwhile.
        unsafe { asm!("wfe", options(nostack, preserves_flags)) }
    }
}

/// The second core's program: computes what the first one gives it, for ever.
///
/// # Panics
///
/// When the core's floats are not IEEE.
///
/// # Safety
///
/// One core calls it, once.
pub unsafe fn serve() -> ! {
    assert!(Best::new().is_some(), "the second core's floats have other modes");
    // SAFETY: as promised by the caller.
    unsafe { SECOND.serve() }
}

/// A teller on both cores, of the model that the board has in flash. The second core
/// [serves](serve) now or soon; until it does, the first one waits.
///
/// # Errors
///
/// See [`Error`].
#[inline(never)]
pub fn teller() -> Result<Teller<'static, Engine>, Error> {
    let kernels = Best::new().ok_or(Error::Engine(EngineError::Core))?;
    let name = kernels.name();
    Teller::with(model::flashed(), name, |model, state, workspace| {
        // SAFETY: one engine computes with them, because the buffers are taken once, and an engine
        // is borrowed exclusively in each pass.
        let kernels = unsafe { TwoCores::new(kernels, &SECOND) };
        Ok(Cpu::single(model, kernels, state, workspace)?)
    })
}
