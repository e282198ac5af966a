//! Pointers and lengths of a C caller, made into slices after the checks that
//! can be made.
//!
//! A reference must not exist beside a mutable one to the same bytes, not even unused. So a
//! function first takes the spans of all that it was given, refuses those that overlap, and makes
//! references then. Bytes that are only read may overlap.

use core::ops::Range;

use crate::status::KingletStatus;

/// A pointer that C may write one `T` through.
///
/// # Safety
///
/// Unless it is null or misaligned, `pointer` points to memory for a `T` that
/// nothing else accesses while the reference lives.
pub(crate) unsafe fn output<'a, T>(pointer: *mut T) -> Result<&'a mut T, KingletStatus> {
    check(pointer, 1)?;
    // SAFETY: not null, aligned, and the caller's promise for the rest.
    Ok(unsafe { &mut *pointer })
}

/// `len` elements at `pointer`, which may be null when `len` is 0.
///
/// # Safety
///
/// Unless this refuses them, they can be read, and nothing writes to them while
/// the slice lives.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, len: usize) -> Result<&'a [T], KingletStatus> {
    if len == 0 {
        return Ok(&[]);
    }
    check(pointer, len)?;
    // SAFETY: not null, aligned, of a possible length; the rest is promised.
    Ok(unsafe { core::slice::from_raw_parts(pointer, len) })
}

/// As [`slice()`], to be written.
///
/// # Safety
///
/// Unless this refuses them, the elements can be read and written, and nothing
/// else accesses them while the slice lives.
pub(crate) unsafe fn slice_mut<'a, T>(
    pointer: *mut T,
    len: usize,
) -> Result<&'a mut [T], KingletStatus> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(pointer, len)?;
    // SAFETY: not null, aligned, of a possible length; the rest is promised.
    Ok(unsafe { core::slice::from_raw_parts_mut(pointer, len) })
}

/// Refuses a pointer at which `len` elements cannot lie.
pub(crate) fn check<T>(pointer: *const T, len: usize) -> Result<(), KingletStatus> {
    check_layout(pointer.addr(), align_of::<T>(), size_of::<T>(), len)
}

/// [`check`], in one copy for elements of every type.
#[inline(never)]
fn check_layout(
    address: usize,
    align: usize,
    size: usize,
    len: usize,
) -> Result<(), KingletStatus> {
    if address == 0 {
        return Err(KingletStatus::NullPointer);
    }
    if address & (align - 1) != 0 {
        return Err(KingletStatus::Misaligned);
    }
    let bytes = len.checked_mul(size).filter(|&bytes| bytes <= isize::MAX as usize);
    match bytes.and_then(|bytes| address.checked_add(bytes)) {
        Some(_) => Ok(()),
        None => Err(KingletStatus::Length),
    }
}

/// Where a slice lies: addresses.
pub(crate) fn place<T>(slice: &[T]) -> Range<usize> {
    let start = slice.as_ptr().addr();
    start..start + size_of_val(slice)
}

/// Where `len` elements at a pointer lie: addresses.
///
/// Before there are references to buffers of one call, this tells whether they are apart.
pub(crate) fn span<T>(pointer: *const T, len: usize) -> Result<Range<usize>, KingletStatus> {
    if len == 0 {
        return Ok(0..0);
    }
    check(pointer, len)?;
    Ok(pointer.addr()..pointer.addr() + len * size_of::<T>())
}

/// As [`span`], and nothing where the elements cannot lie at the pointer: it is refused later.
pub(crate) fn span_if_possible<T>(pointer: *const T, len: usize) -> Range<usize> {
    span(pointer, len).unwrap_or(0..0)
}

/// Refuses a buffer that shares a byte with any of the others.
#[inline(never)]
pub(crate) fn apart(buffer: &Range<usize>, others: &[Range<usize>]) -> Result<(), KingletStatus> {
    others.iter().try_for_each(|other| disjoint(buffer, other))
}

/// Refuses buffers of which any two share a byte.
#[inline(never)]
pub(crate) fn all_disjoint(buffers: &[Range<usize>]) -> Result<(), KingletStatus> {
    for (i, a) in buffers.iter().enumerate() {
        apart(a, buffers.get(..i).unwrap_or_default())?;
    }
    Ok(())
}

/// Refuses two buffers that share a byte.
fn disjoint(a: &Range<usize>, b: &Range<usize>) -> Result<(), KingletStatus> {
    if a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start {
        Ok(())
    } else {
        Err(KingletStatus::Overlap)
    }
}
