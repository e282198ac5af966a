//! The buffers of an engine, each a static in a section of its own.
//!
//! | section | holds | bytes for the shipped model |
//! |---|---|--:|
//! | `.bss.kinglet_state` | the recurrent state, read and written by each token | 202,752 |
//! | `.bss.kinglet_workspace` | activations of a token | 8,960 |
//! | `.bss.kinglet_logits` | `[vocab]` | 4,096 |
//!
//! A board whose `memory.x` says nothing about them has them in `.bss`. One with memories of
//! different speeds may place them, also where nothing is zeroed at start, because [`take`] does.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::model::NEEDS;

/// A buffer of `N` floats that is lent once.
#[repr(C, align(32))]
struct Buffer<const N: usize>(UnsafeCell<MaybeUninit<[f32; N]>>);

// SAFETY: `take` lends each buffer once.
unsafe impl<const N: usize> Sync for Buffer<N> {}

impl<const N: usize> Buffer<N> {
    const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// The buffer, of zeros.
    ///
    /// # Safety
    ///
    /// Called once.
    #[allow(clippy::mut_from_ref, reason = "lent once")]
    unsafe fn zeroed(&self) -> &mut [f32; N] {
        // SAFETY: nobody else has a reference, by the caller's promise; all bits zero are floats.
        unsafe {
            self.0.get().write_bytes(0, 1);
            (*self.0.get()).assume_init_mut()
        }
    }
}

#[cfg_attr(target_os = "none", unsafe(link_section = ".bss.kinglet_state"))]
static STATE: Buffer<{ NEEDS.state }> = Buffer::new();
#[cfg_attr(target_os = "none", unsafe(link_section = ".bss.kinglet_workspace"))]
static WORKSPACE: Buffer<{ NEEDS.workspace }> = Buffer::new();
#[cfg_attr(target_os = "none", unsafe(link_section = ".bss.kinglet_logits"))]
static LOGITS: Buffer<{ NEEDS.logits }> = Buffer::new();
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The buffers of an engine that computes a token at a time.
#[derive(Debug)]
pub struct Buffers {
    /// One state.
    pub state: &'static mut [f32],
    /// The engine's scratch.
    pub workspace: &'static mut [f32],
    /// `[vocab]`
    pub logits: &'static mut [f32],
}

/// The buffers, the first time. Not for interrupt handlers nor a second core, because cores without
/// an atomic exchange are served too.
pub fn take() -> Option<Buffers> {
    if TAKEN.load(Ordering::Relaxed) {
        return None;
    }
    TAKEN.store(true, Ordering::Relaxed);
    // SAFETY: the flag was clear, so nobody has them.
    unsafe {
        Some(Buffers {
            state: STATE.zeroed(),
            workspace: WORKSPACE.zeroed(),
            logits: LOGITS.zeroed(),
        })
    }
}

/// Where the state lies, for the record.
pub(crate) fn state_address() -> usize {
    STATE.0.get().addr()
}

/// Where the workspace lies, for the record.
pub(crate) fn workspace_address() -> usize {
    WORKSPACE.0.get().addr()
}
