//! Memory for states and workspaces.

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// From here on huge pages are asked for.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

/// Zeros, aligned to a page, hence to vector registers and cache lines; in huge
/// pages where they are many and the system has them.
///
/// A register that is read across two cache lines costs two reads: with a slice
/// from the allocator, which aligns to 16 bytes, that is every AVX-512 register.
#[derive(Debug)]
pub struct Floats {
    map: MmapMut,
    len: usize,
}

impl Floats {
    /// `len` zeros.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<f32>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(bytes.max(1))?;
        #[cfg(target_os = "linux")]
        if bytes >= LARGE {
            // May be refused, which costs speed only.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map, len })
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.map[..self.len * size_of::<f32>()])
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.map[..self.len * size_of::<f32>()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_can_be_written() {
        for len in [0, 1, 1000, 1 << 20] {
            let mut floats = Floats::new(len).unwrap();
            assert_eq!(floats.len(), len);
            assert!(floats.iter().all(|x| *x == 0.0));
            floats.fill(1.5);
            assert_eq!(floats.iter().sum::<f32>(), 1.5 * len as f32);
            assert!(floats.as_ptr().addr().is_multiple_of(64));
        }
        assert!(Floats::new(usize::MAX).is_err());
    }
}
