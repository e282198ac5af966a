//! Text streams: whole characters from the bytes of tokens.

use core::ffi::{c_char, c_void};

use kinglet::tokenizer::text_stream::TextStream;

use crate::handle::{Handle, get, get_mut, init};
use crate::memory::{apart, slice, span};
use crate::status::{KingletStatus, status};

/// What joins the bytes of tokens to text. Its contents are private; it may be
/// copied.
#[derive(Debug)]
#[repr(C)]
pub struct KingletText {
    /// Private.
    pub opaque: [u64; 8],
}

impl Handle for KingletText {
    type Value = Stream;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-text");
    // As above.
    const DROP_IS_NOOP: bool = true;
}

/// What a [`KingletText`] holds.
pub(crate) type Stream = TextStream;

/// A function of the caller that takes `size` bytes of text: whole UTF-8
/// characters, without NUL at the end. It returns normally: no `longjmp`, no C++
/// exception.
pub type KingletWrite =
    Option<unsafe extern "C" fn(context: *mut c_void, text: *const c_char, size: usize)>;

/// Makes a stream at the start of a text.
///
/// # Safety
/// The pointer is to a text stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_text_init(text: *mut KingletText) -> KingletStatus {
    // SAFETY: the caller's promise.
    status(unsafe { init(text, &[], || Ok(TextStream::new())) })
}

/// Takes the next bytes, and calls `write` with the text that is now complete,
/// any number of times. A character's bytes wait for its last one; what is not
/// UTF-8 becomes U+FFFD.
///
/// # Safety
/// The pointers and lengths are what they say; `write` may be called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_text_push(
    text: *mut KingletText,
    bytes: *const u8,
    size: usize,
    write: KingletWrite,
    context: *mut c_void,
) -> KingletStatus {
    // SAFETY: the caller's promise, and apart.
    let pointers = unsafe {
        get(text).and_then(|_| {
            apart(&span(bytes, size)?, &[span(text, 1)?])?;
            Ok((get_mut(text)?, slice(bytes, size)?))
        })
    };
    status(pointers.and_then(|(stream, bytes)| {
        let write = write.ok_or(KingletStatus::NullPointer)?;
        for part in stream.push(bytes) {
            // SAFETY: the caller's promise.
            unsafe { write(context, part.as_ptr().cast(), part.len()) };
        }
        Ok(())
    }))
}

/// Ends the text: calls `write` with U+FFFD if it ended inside a character. The
/// stream is then at the start of another.
///
/// # Safety
/// The pointers are what they say; `write` may be called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_text_finish(
    text: *mut KingletText,
    write: KingletWrite,
    context: *mut c_void,
) -> KingletStatus {
    // SAFETY: the caller's promise.
    let stream = unsafe { get_mut(text) };
    status(stream.and_then(|stream| {
        let write = write.ok_or(KingletStatus::NullPointer)?;
        let part = stream.finish();
        if !part.is_empty() {
            // SAFETY: the caller's promise.
            unsafe { write(context, part.as_ptr().cast(), part.len()) };
        }
        Ok(())
    }))
}
