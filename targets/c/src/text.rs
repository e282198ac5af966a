//! Text streams: whole characters from the bytes of tokens, up to a stop string.
//!
//! ```text
//! bytes of tokens -> stop matcher -> text stream -> the caller's `write`
//! ```
//!
//! Stop strings are compared as bytes and before the text stream, because a token may end inside
//! a stop as well as inside a character.

use core::ffi::{c_char, c_void};
use core::ops::Range;

use kinglet::tokenizer::stop::StopMatcher;
use kinglet::tokenizer::text_stream::TextStream;

use crate::KINGLET_NO_STOP;
use crate::handle::{Handle, get, get_mut, init};
use crate::memory::{apart, slice, span};
use crate::status::{KingletStatus, status};

/// A text stream, which joins the bytes of tokens to text and ends it at a stop
/// string. Its contents are private; it may be copied.
#[derive(Debug)]
#[repr(C)]
pub struct KingletText {
    /// Private.
    pub opaque: [u64; 16],
}

impl Handle for KingletText {
    type Value = Stream;
    const TAG: u64 = u64::from_le_bytes(*b"kgl-text");
    // A `heapless::Vec` of plain numbers.
    const DROP_IS_NOOP: bool = true;
}

/// A string at which a text ends: `size` bytes at `text`, which need not be UTF-8
/// nor end with NUL. An empty one is never found, and its `text` may be null.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct KingletStop {
    /// Its bytes.
    pub text: *const c_char,
    /// How many they are.
    pub size: usize,
}

/// A stop string that [`stops_apart_from`] has checked.
#[derive(Debug)]
#[repr(transparent)]
struct Stop(KingletStop);

impl Stop {
    /// Where the bytes lie.
    fn span(&self) -> Result<Range<usize>, KingletStatus> {
        span(self.0.text, self.0.size)
    }
}

impl AsRef<[u8]> for Stop {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the caller promised to keep the bytes as long as the stream is used.
        unsafe { slice(self.0.text.cast(), self.0.size) }.unwrap_or_default()
    }
}

/// The value in a [`KingletText`].
#[derive(Debug)]
pub(crate) struct Stream {
    stops: Option<Stops>,
    text: TextStream,
}

/// The stop strings of a stream. `'static` stands for as long as the caller promised
/// to keep them.
#[derive(Debug)]
struct Stops {
    stops: &'static [Stop],
    matcher: StopMatcher<'static, Stop>,
    /// The stop string that ended the text.
    found: Option<usize>,
    /// The matcher's function. It is reached through a pointer that is taken where a stream with
    /// stops is made: a program that makes none does not link the matcher.
    push: Push,
}

/// [`StopMatcher::push`], with the function that shows bytes behind a pointer.
type Push =
    fn(&mut StopMatcher<'static, Stop>, &[u8], show: &mut dyn FnMut(&[u8])) -> Option<usize>;

impl Stream {
    /// A stream at the start of a text without stops.
    const fn new() -> Self {
        Self { stops: None, text: TextStream::new() }
    }

    /// A stream at the start of a text that ends at one of `stops`.
    fn with_stops(stops: &'static [Stop]) -> Self {
        let push: Push = |matcher, bytes, show| matcher.push(bytes, show);
        let matcher = StopMatcher::new(stops);
        let stops = Some(Stops { stops, matcher, found: None, push });
        Self { stops, ..Self::new() }
    }

    /// Calls `write` with the text that `bytes` complete, up to a stop.
    fn push(&mut self, bytes: &[u8], write: &mut dyn FnMut(&str)) {
        let Self { stops, text } = self;
        match stops {
            None => write_text(text, bytes, write),
            Some(Stops { found: Some(_), .. }) => {}
            Some(Stops { matcher, found, push, .. }) => {
                *found = push(matcher, bytes, &mut |bytes| write_text(text, bytes, write));
            }
        }
    }

    /// Calls `write` with the bytes that were held back, and starts another text.
    fn finish(&mut self, write: &mut dyn FnMut(&str)) {
        if let Some(stops) = &mut self.stops {
            write_text(&mut self.text, stops.matcher.held_bytes(), write);
            stops.matcher = StopMatcher::new(stops.stops);
            stops.found = None;
        }
        let rest = self.text.finish();
        if !rest.is_empty() {
            write(rest);
        }
    }
}

/// Calls `write` with the text that `bytes` complete. Not inlined, because a copy at each call
/// would cost a microcontroller's flash.
#[inline(never)]
fn write_text(text: &mut TextStream, bytes: &[u8], write: &mut dyn FnMut(&str)) {
    text.push(bytes).for_each(write);
}

/// A function of the caller that takes `size` bytes of text: whole UTF-8
/// characters, without NUL at the end. It returns normally: no `longjmp`, no C++
/// exception.
pub type KingletWrite =
    Option<unsafe extern "C" fn(context: *mut c_void, text: *const c_char, size: usize)>;

/// Makes a stream at the start of a text.
///
/// # Safety
///
/// The pointer is to a text stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_text_init(text: *mut KingletText) -> KingletStatus {
    // SAFETY: the caller's promise.
    status(unsafe { init(text, &[], || Ok(Stream::new())) })
}

/// As kinglet_text_init, for a text that ends before the first of `count` stop
/// strings at `stops`, such as "\n\n" or "User:". They may be cut anywhere by
/// tokens: bytes that may still become one of them are held back. The strings and
/// their array live, and stay untouched, as long as the stream is used.
///
/// # Safety
///
/// The pointers and lengths are what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_text_init_with_stops(
    text: *mut KingletText,
    stops: *const KingletStop,
    count: usize,
) -> KingletStatus {
    // SAFETY: the caller's promise, which lets `'static` stand for as long as the stream is used.
    let stops = unsafe { stops_apart_from(text, stops, count) };
    status(match stops {
        // The handle is left as it is, because writing to it would change them.
        Err(KingletStatus::Overlap) => Err(KingletStatus::Overlap),
        // SAFETY: the caller's promise, and apart.
        stops => unsafe { init(text, &[], || Ok(Stream::with_stops(stops?))) },
    })
}

/// The stop strings, which do not overlap the handle of their stream.
///
/// # Safety
///
/// The pointers and lengths are what they say; all live and stay as they are for `'a`.
unsafe fn stops_apart_from<'a>(
    text: *mut KingletText,
    stops: *const KingletStop,
    count: usize,
) -> Result<&'a [Stop], KingletStatus> {
    if u32::try_from(count).is_err() {
        return Err(KingletStatus::Length);
    }
    let handle = [span(text, 1)?];
    apart(&span(stops, count)?, &handle)?;
    // SAFETY: the caller's promise; `Stop` is the same in memory.
    let stops = unsafe { slice(stops.cast::<Stop>(), count) }?;
    stops.iter().try_for_each(|stop| apart(&stop.span()?, &handle))?;
    Ok(stops)
}

/// Takes the next bytes, and calls `write` with the text that is now complete,
/// any number of times. A character's bytes wait for its last one; what is not
/// UTF-8 becomes U+FFFD. The stop string that ends a text is not written, and
/// nothing that comes after it: ask kinglet_text_stop after each token.
///
/// # Safety
///
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
        get(text).map(|_| ()).and_then(|()| {
            apart(&span(bytes, size)?, &[span(text, 1)?])?;
            Ok((get_mut(text)?, slice(bytes, size)?))
        })
    };
    status(pointers.and_then(|(stream, bytes)| {
        let write = write.ok_or(KingletStatus::NullPointer)?;
        // SAFETY: the caller's promise.
        stream.push(bytes, &mut |part| unsafe { write(context, part.as_ptr().cast(), part.len()) });
        Ok(())
    }))
}

/// The index of the stop string that ended the text, or KINGLET_NO_STOP as long as
/// none has, and when `text` is no stream.
///
/// # Safety
///
/// The pointer is to a text stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_text_stop(text: *const KingletText) -> u32 {
    // SAFETY: the caller's promise.
    let stop = unsafe { get(text) }.ok().and_then(|stream| stream.stops.as_ref()?.found);
    stop.map_or(KINGLET_NO_STOP, |index| index as u32)
}

/// Ends the text: calls `write` with what was held back, as it became no stop
/// string, and with U+FFFD if the text ended inside a character. The stream is then
/// at the start of another, with the same stop strings.
///
/// # Safety
///
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
        // SAFETY: the caller's promise.
        stream.finish(&mut |part| unsafe { write(context, part.as_ptr().cast(), part.len()) });
        Ok(())
    }))
}
