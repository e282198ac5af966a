//! Mutators: they change a part of an input and set right what would hide the change.

use std::ops::Range;

use libfuzzer_sys::fuzzer_mutate;

/// Changes the bytes of `range` without changing their number.
pub fn in_place(data: &mut [u8], range: Range<usize>) {
    let part = &mut data[range];
    let len = part.len();
    if len == 0 {
        return;
    }
    let kept = fuzzer_mutate(part, len, len);
    // A shorter part is followed by what was there.
    debug_assert!(kept <= len);
}

/// Changes the first `size` bytes of `data` to as many as it has room for; returns their number.
pub fn any(data: &mut [u8], size: usize) -> usize {
    let most = data.len();
    if most == 0 { 0 } else { fuzzer_mutate(data, size, most) }
}

/// Changes the bytes of `range` within the first `size`, which may make them fewer or more by
/// up to 64; returns the new size and the part's new length.
pub fn within(data: &mut [u8], size: usize, range: Range<usize>) -> (usize, usize) {
    let rest = data[range.end..size].to_vec();
    let most = (range.len() + 64).min(data.len() - range.start - rest.len());
    if most == 0 {
        return (size, 0);
    }
    let mut part = data[range.clone()].to_vec();
    part.resize(most.max(range.len()), 0);
    let len = fuzzer_mutate(&mut part, range.len(), most);
    data[range.start..range.start + len].copy_from_slice(&part[..len]);
    let end = range.start + len + rest.len();
    data[range.start + len..end].copy_from_slice(&rest);
    (end, len)
}

/// Splits an input into a part whose length its first two bytes say, and the rest.
pub fn split(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((len, rest)) = data.split_first_chunk() else { return (&[], data) };
    let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    rest.split_at(len)
}

/// The mutation of an input that [`split`] takes apart: mostly of one part.
pub fn split_parts(data: &mut [u8], size: usize, seed: u32) -> usize {
    if size < 2 || seed.is_multiple_of(16) {
        return any(data, size);
    }
    let first = split(&data[..size]).0.len();
    if seed.is_multiple_of(2) {
        let (size, len) = within(data, size, 2..2 + first);
        data[..2].copy_from_slice(&(len as u16).to_le_bytes());
        size
    } else {
        within(data, size, 2 + first..size).0
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn parts_are_split_by_their_length() {
        assert_eq!(super::split(b"\x02\x00abc"), (&b"ab"[..], &b"c"[..]));
        assert_eq!(super::split(b"\xff\x00abc"), (&b"abc"[..], &b""[..]));
        assert_eq!(super::split(b"a"), (&b""[..], &b"a"[..]));
    }
}
