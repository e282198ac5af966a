//! Memory for states and workspaces.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

/// From here on huge pages are asked for.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

/// Zeros of f32 or f16, aligned to a page, hence to vector registers and cache lines; in huge
/// pages where they are many and the system has them.
///
/// A register that is read across two cache lines costs two reads: with a slice
/// from the allocator, which aligns to 16 bytes, that is every AVX-512 register.
#[derive(Debug)]
pub struct Floats<T = f32> {
    map: MmapMut,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Floats<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(bytes.max(1))?;
        #[cfg(target_os = "linux")]
        if bytes >= LARGE {
            // May be refused, which costs speed only.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map, len, element: PhantomData })
    }
}

impl<T: Pod> Deref for Floats<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Floats<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.map[..self.len * size_of::<T>()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_can_be_written() {
        for len in [0, 1, 1000, 1 << 20] {
            let mut floats = Floats::<f32>::new(len).unwrap();
            assert_eq!(floats.len(), len);
            assert!(floats.iter().all(|x| *x == 0.0));
            floats.fill(1.5);
            assert_eq!(floats.iter().sum::<f32>(), 1.5 * len as f32);
            assert!(floats.as_ptr().addr().is_multiple_of(64));
        }
        assert!(Floats::<f32>::new(usize::MAX).is_err());
    }
}
