//! A text of the C interface ends before the first of its stop strings, wherever tokens cut them.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use KingletStatus as Status;
use kinglet_c::*;

/// Appends text to the vector that is the context.
unsafe extern "C" fn append(context: *mut c_void, text: *const c_char, size: usize) {
    // SAFETY: the context is the test's vector, the text has that size.
    unsafe {
        let text = std::slice::from_raw_parts(text.cast::<u8>(), size);
        assert!(std::str::from_utf8(text).is_ok(), "not whole characters");
        (*context.cast::<Vec<u8>>()).extend_from_slice(text);
    }
}

fn stop(text: &'static [u8]) -> KingletStop {
    KingletStop { text: text.as_ptr().cast(), size: text.len() }
}

/// A stream and what it has written.
struct Text {
    /// What the library puts into the handle has bytes between its fields that it does not write.
    stream: MaybeUninit<KingletText>,
    written: Vec<u8>,
}

impl Text {
    fn new(stops: &[KingletStop]) -> Self {
        let mut stream = MaybeUninit::<KingletText>::zeroed();
        let handle = stream.as_mut_ptr();
        // SAFETY: a handle, and stops that the tests keep.
        let status = unsafe { kinglet_text_init_with_stops(handle, stops.as_ptr(), stops.len()) };
        assert_eq!(status, Status::Ok);
        Self { stream, written: Vec::new() }
    }

    /// Pushes pieces until a stop: the text that is written so far, and the stop.
    fn push(&mut self, pieces: &[&[u8]]) -> (&str, u32) {
        let context: *mut c_void = (&raw mut self.written).cast();
        let stream = self.stream.as_mut_ptr();
        let mut stop = KINGLET_NO_STOP;
        for piece in pieces {
            // SAFETY: the stream, the piece and the context are what they say.
            unsafe {
                let (bytes, size) = (piece.as_ptr(), piece.len());
                let status = kinglet_text_push(stream, bytes, size, Some(append), context);
                assert_eq!(status, Status::Ok);
                stop = kinglet_text_stop(stream);
            }
        }
        (std::str::from_utf8(&self.written).unwrap(), stop)
    }

    fn finish(&mut self) -> &str {
        let context: *mut c_void = (&raw mut self.written).cast();
        // SAFETY: the stream and the context are what they say.
        unsafe {
            let status = kinglet_text_finish(self.stream.as_mut_ptr(), Some(append), context);
            assert_eq!(status, Status::Ok);
            assert_eq!(kinglet_text_stop(self.stream.as_ptr()), KINGLET_NO_STOP);
        }
        std::str::from_utf8(&self.written).unwrap()
    }
}

#[test]
fn a_text_ends_before_the_first_stop() {
    let stops = [stop(b"User:"), stop(b"\n\n"), stop(b"")];
    let mut text = Text::new(&stops);
    assert_eq!(text.push(&[b" ye", b"s\n"]), (" yes", KINGLET_NO_STOP), "a line feed is held");
    assert_eq!(text.push(&[b"\nUser: and more"]), (" yes", 1));
    assert_eq!(text.push(&[b"after it"]), (" yes", 1), "the text has ended");
    assert_eq!(text.finish(), " yes");
    // Another text with the same stops.
    assert_eq!(text.push(&[b"\nUs", b"e", b"r:x"]), (" yes\n", 0));
}

#[test]
fn what_becomes_no_stop_is_written() {
    let stops = [stop(b"User:")];
    let mut text = Text::new(&stops);
    assert_eq!(text.push(&[b"UsUse", b"d Us"]), ("UsUsed ", KINGLET_NO_STOP));
    assert_eq!(text.finish(), "UsUsed Us");
}

#[test]
fn stops_are_bytes_and_texts_whole_characters() {
    let stops = [stop(b"\xA9!")];
    let mut text = Text::new(&stops);
    assert_eq!(text.push(&[b"caf\xC3", b"\xA9 "]), ("café ", KINGLET_NO_STOP));
    assert_eq!(text.push(&[b"caf\xC3\xA9"]), ("café caf", KINGLET_NO_STOP));
    assert_eq!(text.push(&[b"!"]), ("café caf", 0));
    assert_eq!(text.finish(), "café caf\u{FFFD}");
}

#[test]
fn stops_that_are_none_are_refused() {
    let mut stream = KingletText { opaque: [0; _] };
    let mut init = |stops: &[KingletStop], count| {
        // SAFETY: the stops are there, or refused before they are read.
        let status = unsafe { kinglet_text_init_with_stops(&mut stream, stops.as_ptr(), count) };
        // SAFETY: an initialised or a refused handle.
        let push = unsafe { kinglet_text_push(&mut stream, null(), 0, Some(append), null_mut()) };
        assert_eq!(push == Status::InvalidHandle, status != Status::Ok);
        status
    };
    let lacking = KingletStop { text: null(), size: 1 };
    assert_eq!(init(&[], 0), Status::Ok);
    assert_eq!(init(&[KingletStop { size: 0, ..lacking }], 1), Status::Ok);
    assert_eq!(init(&[stop(b"a"), lacking], 2), Status::NullPointer);
    assert_eq!(init(&[stop(b"a")], usize::MAX), Status::Length);
    assert_eq!(init(&[KingletStop { size: usize::MAX, ..stop(b"a") }], 1), Status::Length);
    // SAFETY: null is refused.
    unsafe {
        let status = kinglet_text_init_with_stops(&mut stream, null(), 1);
        assert_eq!(status, Status::NullPointer);
        assert_eq!(kinglet_text_stop(null()), KINGLET_NO_STOP);
        assert_eq!(kinglet_text_stop(&stream), KINGLET_NO_STOP);
    }
}
