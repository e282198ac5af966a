//! Rust values in the caller's memory.

use core::ops::Range;
use core::ptr;

use crate::memory::{apart, check, span};
use crate::status::KingletStatus;

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
        assert!(!core::mem::needs_drop::<Self::Value>() || Self::DROP_IS_NOOP);
    };
    /// Dropping the value is a no-op, so never dropping it leaks nothing.
    const DROP_IS_NOOP: bool = false;
}

#[repr(C)]
struct Tagged<T> {
    tag: u64,
    value: T,
}

/// Puts what `make` returns into a handle; when that is an error, the handle is
/// not initialised afterwards. A handle that overlaps any of `others` is refused
/// and left as it is, because writing to it would change them.
///
/// # Safety
///
/// Unless it is null or misaligned, `handle` points to a handle's memory, which
/// nothing else accesses now.
pub(crate) unsafe fn init<H: Handle>(
    handle: *mut H,
    others: &[Range<usize>],
    make: impl FnOnce() -> Result<H::Value, KingletStatus>,
) -> Result<(), KingletStatus> {
    const { H::ROOM };
    apart(&span(handle, 1)?, others)?;
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
///
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
///
/// As [`get`], and nothing else accesses the handle while the reference lives. So it is not
/// called where a reference of [`get`] is an argument: that one lives as long as the call.
pub(crate) unsafe fn get_mut<'h, H: Handle>(
    handle: *mut H,
) -> Result<&'h mut H::Value, KingletStatus> {
    // SAFETY: as promised by the caller.
    unsafe { get(handle.cast_const()) }?;
    // SAFETY: `get` found an initialised value; the reference is the only one.
    Ok(unsafe { &mut (*handle.cast::<Tagged<H::Value>>()).value })
}
