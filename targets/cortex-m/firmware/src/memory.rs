//! Every buffer of the engine, sized from the model's header at compile time,
//! and the stack.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use kinglet::engine::workspace_len;
use kinglet::format::shape::Shape;
#[cfg(feature = "f16-state")]
use kinglet::num::state_dtype::f16;

use crate::model::HEADER;

const SHAPE: Shape = HEADER.shape;

/// The type of the state's elements.
#[cfg(not(feature = "f16-state"))]
pub(crate) type Element = f32;
/// The type of the state's elements.
#[cfg(feature = "f16-state")]
pub(crate) type Element = f16;

#[cfg(not(feature = "f16-state"))]
const ZERO: Element = 0.0;
#[cfg(feature = "f16-state")]
const ZERO: Element = f16::ZERO;

/// The buffers of an engine that steps one sequence token by token.
pub(crate) struct Buffers {
    /// One state.
    pub(crate) state: [Element; SHAPE.state_len()],
    /// The engine's scratch.
    pub(crate) workspace: [f32; workspace_len(&SHAPE, 1)],
    /// `[vocab]`
    pub(crate) logits: [f32; SHAPE.vocab],
    /// The first tokens of the story; here, not on the stack of every token.
    pub(crate) tokens: [u32; 16],
}

/// The size of each buffer, in bytes.
pub(crate) const SIZES: [(&str, usize); 3] = [
    ("state", size_of::<Element>() * SHAPE.state_len()),
    ("workspace", 4 * workspace_len(&SHAPE, 1)),
    ("logits", 4 * SHAPE.vocab),
];

struct Once {
    buffers: UnsafeCell<Buffers>,
    taken: AtomicBool,
}

// SAFETY: `take` lends the buffers once.
unsafe impl Sync for Once {}

static BUFFERS: Once = Once {
    buffers: UnsafeCell::new(Buffers {
        state: [ZERO; SHAPE.state_len()],
        workspace: [0.0; workspace_len(&SHAPE, 1)],
        logits: [0.0; SHAPE.vocab],
        tokens: [0; 16],
    }),
    taken: AtomicBool::new(false),
};

/// The buffers, the first time.
///
/// Not for interrupt handlers: cores without atomic exchange are served too.
pub(crate) fn take() -> Option<&'static mut Buffers> {
    if BUFFERS.taken.load(Ordering::Relaxed) {
        return None;
    }
    BUFFERS.taken.store(true, Ordering::Relaxed);
    // SAFETY: the flag was clear, so no reference exists.
    Some(unsafe { &mut *BUFFERS.buffers.get() })
}

/// Most bytes of stack in use at one time since boot, where the stack was
/// painted at boot.
#[cfg(target_arch = "arm")]
pub(crate) fn stack_high_water() -> Option<usize> {
    unsafe extern "C" {
        static _stack_end: u32;
        static _stack_start: u32;
    }
    let end = &raw const _stack_end;
    let start = &raw const _stack_start;
    let words = (start.addr() - end.addr()) / size_of::<u32>();
    // SAFETY: the words between the two symbols are the stack's memory; below
    // the stack pointer nothing writes them now.
    let untouched = (0..words)
        .take_while(|&i| unsafe { end.add(i).read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE)
        .count();
    Some((words - untouched) * size_of::<u32>())
}

/// The stack is not painted here.
#[cfg(not(target_arch = "arm"))]
pub(crate) fn stack_high_water() -> Option<usize> {
    None
}
