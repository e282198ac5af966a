//! CRC-32 as zip, PNG and Ethernet use it: reflected polynomial `0xEDB88320`,
//! initial value and final inversion `0xFFFF_FFFF`.

/// Tables, of 1 KiB each. Four take in four bytes a round, and on a desktop the next round
/// then waits for one table instead of for four. A microcontroller waits for none: there one
/// table takes four bytes a round as well, one after the other, and leaves 3 KiB of flash.
const SLICES: usize = if cfg!(target_os = "none") { 1 } else { 4 };

/// `TABLES[k][i]`: what a byte `i` becomes with `k` bytes of zero after it.
static TABLES: [[u32; 256]; SLICES] = tables();

const fn tables() -> [[u32; 256]; SLICES] {
    let mut tables = [[0u32; 256]; SLICES];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut i = 0;
    while i < 256 {
        let mut k = 1;
        while k < SLICES {
            let before = tables[k - 1][i];
            tables[k][i] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            k += 1;
        }
        i += 1;
    }
    tables
}

/// A CRC-32 over bytes that arrive in pieces.
///
/// ```
/// use kinglet::format::crc32::Crc32;
/// let crc = Crc32::new().update(b"1234").update(b"56789");
/// assert_eq!(crc.finish(), 0xCBF4_3926);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32 {
    /// The CRC of no bytes yet.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// The CRC after `bytes` as well.
    // Flash has room for one copy.
    #[cfg_attr(target_os = "none", inline(never))]
    #[must_use]
    pub const fn update(self, bytes: &[u8]) -> Self {
        let (mut crc, mut rest) = (self.0, bytes);
        while let Some((word, after)) = rest.split_first_chunk() {
            crc = four(crc ^ u32::from_le_bytes(*word));
            rest = after;
        }
        while let Some((&byte, after)) = rest.split_first() {
            crc = one(crc ^ byte as u32);
            rest = after;
        }
        Self(crc)
    }

    /// The CRC-32 of all bytes given.
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

/// The CRC after a byte; `x` is the CRC before, the byte added.
const fn one(x: u32) -> u32 {
    (x >> 8) ^ TABLES[0][(x & 0xFF) as usize]
}

/// The CRC after four bytes; `x` is the CRC before, the bytes added.
#[cfg(target_os = "none")]
const fn four(x: u32) -> u32 {
    one(one(one(one(x))))
}

/// As above, with a table for each of the bytes.
#[cfg(not(target_os = "none"))]
const fn four(x: u32) -> u32 {
    let [a, b, c, d] = x.to_le_bytes();
    TABLES[3][a as usize] ^ TABLES[2][b as usize] ^ TABLES[1][c as usize] ^ TABLES[0][d as usize]
}

/// The CRC-32 of `bytes`.
pub const fn crc32(bytes: &[u8]) -> u32 {
    Crc32::new().update(bytes).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the definition says, for all lengths and splits about four bytes.
    #[test]
    fn equals_the_definition() {
        let bytes: [u8; 23] = core::array::from_fn(|i| (i * 77 + 131) as u8);
        for len in 0..=bytes.len() {
            let mut expected = !0u32;
            for &byte in &bytes[..len] {
                expected ^= byte as u32;
                for _ in 0..8 {
                    expected = (expected >> 1) ^ (0xEDB8_8320 * (expected & 1));
                }
            }
            for split in 0..=len {
                let (first, second) = bytes[..len].split_at(split);
                let found = Crc32::new().update(first).update(second).finish();
                assert_eq!(found, !expected, "{len} bytes, {split} first");
            }
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        const AT_COMPILE_TIME: u32 = crc32(b"The quick brown fox jumps over the lazy dog");
        assert_eq!(AT_COMPILE_TIME, 0x414F_A339);
    }
}
