//! Rust values in the caller's memory.

use core::ptr;

use crate::KingletStatus;
use crate::engine::Engine;
use crate::memory::check;
use crate::model::Opened;
use crate::sampler::Drawing;
use crate::text::Stream;

/// An open model: a view of the model file's bytes. Its contents are private.
/// It may be copied, and may be gone while engines made from it are used.
#[derive(Debug)]
#[repr(C)]
pub struct KingletModel {
    /// Private.
    pub opaque: [u64; 96],
}

/// One sequence of tokens on its way through a model. Its contents are private;
/// it is not to be copied.
#[derive(Debug)]
#[repr(C)]
pub struct KingletEngine {
    /// Private.
    pub opaque: [u64; 96],
}

/// What draws tokens from logits. Its contents are private; it may be copied
/// when it has no counts.
#[derive(Debug)]
#[repr(C)]
pub struct KingletSampler {
    /// Private.
    pub opaque: [u64; 32],
}

/// What joins the bytes of tokens to text. Its contents are private; it may be
/// copied.
#[derive(Debug)]
#[repr(C)]
pub struct KingletText {
    /// Private.
    pub opaque: [u64; 8],
}

/// Memory in which a Rust value lies, behind a tag.
pub(crate) trait Handle: Sized {
    /// The value. It is never dropped, and its memory may be reused at any time.
    type Value: 'static;
    /// Says that there is a value, and of which kind.
    const TAG: u64;
    /// Fails the build when the memory is too small for the value.
    const ROOM: () = {
        assert!(size_of::<Tagged<Self::Value>>() <= size_of::<Self>());
        assert!(align_of::<Tagged<Self::Value>>() <= align_of::<Self>());
        assert!(!core::mem::needs_drop::<Self::Value>() || Self::DROP_IS_VAIN);
    };
    /// The value's drop does nothing that is missed.
    const DROP_IS_VAIN: bool = false;
}

impl Handle for KingletModel {
    type Value = Opened;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-modl");
}

impl Handle for KingletEngine {
    type Value = Engine;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-engn");
}

impl Handle for KingletSampler {
    type Value = Drawing;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-smpl");
    // A `heapless::Vec` of plain numbers.
    const DROP_IS_VAIN: bool = true;
}

impl Handle for KingletText {
    type Value = Stream;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-text");
    // As above.
    const DROP_IS_VAIN: bool = true;
}

#[repr(C)]
struct Tagged<T> {
    tag: u64,
    value: T,
}

/// Puts what `make` returns into a handle; when that is an error, the handle is
/// not initialised afterwards.
///
/// # Safety
/// Unless it is null or misaligned, `handle` points to a handle's memory, which
/// nothing else accesses now.
pub(crate) unsafe fn init<H: Handle>(
    handle: *mut H,
    make: impl FnOnce() -> Result<H::Value, KingletStatus>,
) -> Result<(), KingletStatus> {
    const { H::ROOM };
    check(handle, 1)?;
    let tagged = handle.cast::<Tagged<H::Value>>();
    // SAFETY: `ROOM` says that the tag fits, `check` that it is aligned; the
    // memory may be written by the caller's promise.
    unsafe { (&raw mut (*tagged).tag).write(0) };
    let value = make()?;
    // SAFETY: as above, for the whole value.
    unsafe { tagged.write(Tagged { tag: H::TAG, value }) };
    Ok(())
}

/// The value in a handle.
///
/// # Safety
/// Unless it is null or misaligned, `handle` points to a handle's memory that
/// can be read and that nothing writes to while the reference lives. Where the
/// tag is right, [`init`] put it there.
pub(crate) unsafe fn get<'h, H: Handle>(handle: *const H) -> Result<&'h H::Value, KingletStatus> {
    check(handle, 1)?;
    let tagged = handle.cast::<Tagged<H::Value>>();
    // SAFETY: the tag fits (`ROOM`), is aligned and can be read; a `u64` has no
    // wrong values.
    let tag = unsafe { ptr::read(&raw const (*tagged).tag) };
    if tag != H::TAG {
        return Err(KingletStatus::InvalidHandle);
    }
    // SAFETY: by its tag, `init` wrote the value behind it.
    Ok(unsafe { &(*tagged).value })
}

/// The value in a handle, to be changed.
///
/// # Safety
/// As [`get`], and nothing else accesses the handle while the reference lives.
pub(crate) unsafe fn get_mut<'h, H: Handle>(
    handle: *mut H,
) -> Result<&'h mut H::Value, KingletStatus> {
    // SAFETY: as promised by the caller.
    unsafe { get(handle.cast_const()) }?;
    // SAFETY: `get` found an initialised value; the reference is the only one.
    Ok(unsafe { &mut (*handle.cast::<Tagged<H::Value>>()).value })
}
