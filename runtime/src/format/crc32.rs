//! CRC-32 as zip, PNG and Ethernet use it: reflected polynomial `0xEDB88320`,
//! initial value and final inversion `0xFFFF_FFFF`.

const TABLES: [[u32; 256]; 4] = tables();

const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0u32; 256]; 4];
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
        while k < 4 {
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
/// Four bytes a round from 4 KiB of tables: a compromise between a
/// microcontroller's flash and a desktop's time.
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
    #[must_use]
    pub const fn update(self, bytes: &[u8]) -> Self {
        let mut crc = self.0;
        let mut i = 0;
        while i + 4 <= bytes.len() {
            let word = [bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]];
            let x = (crc ^ u32::from_le_bytes(word)).to_le_bytes();
            crc = TABLES[3][x[0] as usize]
                ^ TABLES[2][x[1] as usize]
                ^ TABLES[1][x[2] as usize]
                ^ TABLES[0][x[3] as usize];
            i += 4;
        }
        while i < bytes.len() {
            crc = (crc >> 8) ^ TABLES[0][((crc ^ bytes[i] as u32) & 0xFF) as usize];
            i += 1;
        }
        Self(crc)
    }

    /// The CRC-32 of all bytes given.
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

/// The CRC-32 of `bytes`.
pub const fn crc32(bytes: &[u8]) -> u32 {
    Crc32::new().update(bytes).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        const AT_COMPILE_TIME: u32 = crc32(b"The quick brown fox jumps over the lazy dog");
        assert_eq!(AT_COMPILE_TIME, 0x414F_A339);
    }
}
