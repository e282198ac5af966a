//! Memory for states and workspaces.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

/// The smallest buffer that asks for huge pages, in bytes.
#[cfg(target_os = "linux")]
const MIN_HUGE: usize = 2 << 20;

/// A buffer of f32 or f16 that starts as zeros, aligned to a page and hence to vector registers
/// and cache lines; in huge pages from 2 MB on where the system has them.
///
/// A register that crosses a cache line costs two reads. The allocator aligns to 16 bytes, so
/// in a slice from it every AVX-512 register may cross one.
///
/// ```
/// let mut state = kinglet_host::PageBuffer::<f32>::new(1000)?;
/// assert!(state.as_ptr().addr().is_multiple_of(64));
/// state[999] = 1.0;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct PageBuffer<T = f32> {
    map: MmapMut,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> PageBuffer<T> {
    /// `len` zeros.
    ///
    /// # Errors
    ///
    /// When there is not enough memory.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(bytes.max(1))?;
        #[cfg(target_os = "linux")]
        if bytes >= MIN_HUGE {
            // May be refused, which costs speed only.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map, len, element: PhantomData })
    }
}

impl<T: Pod> Deref for PageBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for PageBuffer<T> {
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
            let mut floats = PageBuffer::<f32>::new(len).unwrap();
            assert_eq!(floats.len(), len);
            assert!(floats.iter().all(|x| *x == 0.0));
            floats.fill(1.5);
            assert_eq!(floats.iter().sum::<f32>(), 1.5 * len as f32);
            assert!(floats.as_ptr().addr().is_multiple_of(64));
        }
        assert!(PageBuffer::<f32>::new(usize::MAX).is_err());
    }
}
