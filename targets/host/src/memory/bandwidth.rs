//! How fast this machine reads memory: the ceiling of decoding.
//!
//! Every thread sums chunks of a buffer that no cache holds, with enough independent sums for the
//! additions never to be what is waited for. On x86-64 it prefetches ahead of itself as the
//! kernels do, because a ceiling that they can pass is none.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use memmap2::MmapMut;

use crate::threads::pool::Pool;

/// The smallest buffer, in bytes; also the one where the caches are not known.
const MIN_BUFFER: usize = 256 << 20;
/// The largest buffer, in bytes.
const MAX_BUFFER: usize = 1 << 30;
/// Bytes that a thread reads at a time.
const CHUNK: usize = 1 << 20;
/// Passes of [`read_bandwidth`].
const PASSES: usize = 11;
/// Bytes that are read between two looks ahead.
const BLOCK: usize = 512;
/// Independent sums: half of the 128-bit registers that every 64-bit target has.
const SUMS: usize = 16;
/// How far ahead memory is asked for.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 2048;

/// A measurement of the read bandwidth of some threads, which can be repeated:
/// on a shared machine only measurements in alternation can be compared.
///
/// It owns a buffer of a few times the last-level cache (256 MB to 1 GB), which
/// counts to the resident memory of the process while the value lives.
#[derive(Debug)]
pub struct ReadBandwidth {
    pool: Pool,
    buffer: MmapMut,
}

impl ReadBandwidth {
    /// Makes the buffer, in huge pages where they can be had.
    ///
    /// # Errors
    ///
    /// When there is not enough memory.
    pub fn new(threads: usize) -> io::Result<Self> {
        let len = last_level_cache()
            .map_or(MIN_BUFFER, |cache| (4 * cache).clamp(MIN_BUFFER, MAX_BUFFER));
        let mut buffer = MmapMut::map_anon(len.next_multiple_of(CHUNK))?;
        #[cfg(target_os = "linux")]
        let _ = buffer.advise(memmap2::Advice::HugePage);
        let pool = Pool::new(threads);
        // Pages that were never written are all the same one. The threads that
        // will read them write them, so that each may have its own near to it.
        let mut parts: Vec<_> = buffer.chunks_mut(CHUNK).map(Some).collect();
        pool.consume(&mut parts, &|part: &mut [u8]| part.fill(1));
        Ok(Self { pool, buffer })
    }

    /// Reads the buffer once. Returns bytes per second.
    pub fn pass(&self) -> f64 {
        let sum = AtomicU64::new(0);
        let start = Instant::now();
        self.pool.for_each(self.buffer.len() / CHUNK, &|chunk| {
            sum.fetch_add(read(&self.buffer[chunk * CHUNK..][..CHUNK]), Ordering::Relaxed);
        });
        let time = start.elapsed().as_secs_f64();
        // The buffer is full of ones. Without a use of the sum nothing need be read.
        let ones = u64::from_ne_bytes([1; 8]).wrapping_mul(self.buffer.len() as u64 / 8);
        assert_eq!(sum.into_inner(), ones, "the buffer changed");
        self.buffer.len() as f64 / time
    }
}

/// Read bandwidth of `threads` threads, in bytes per second: the median of
/// several passes over a buffer that no cache holds. It takes a second at most
/// on any machine that reads 5 GB/s.
///
/// # Errors
///
/// When there is not enough memory for the buffer.
pub fn read_bandwidth(threads: usize) -> io::Result<f64> {
    let memory = ReadBandwidth::new(threads)?;
    let mut passes: [f64; PASSES] = std::array::from_fn(|_| memory.pass());
    passes.sort_by(f64::total_cmp);
    Ok(passes[PASSES / 2])
}

/// The wrapping sum of the u64 of `bytes`.
fn read(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; SUMS];
    for block in bytes.as_chunks::<BLOCK>().0 {
        prefetch(block);
        for words in block.as_chunks::<{ 8 * SUMS }>().0 {
            for (sum, word) in sums.iter_mut().zip(words.as_chunks::<8>().0) {
                *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
            }
        }
    }
    sums.iter().fold(0, |sum, x| sum.wrapping_add(*x))
}

/// Asks for the lines that are read soon after `block`.
#[inline(always)]
fn prefetch(block: &[u8; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..BLOCK).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = block.as_ptr().wrapping_add(AHEAD + line);
        // SAFETY: a prefetch is a hint and faults at no address; SSE is in every
        // x86-64 processor.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = block;
}

/// Bytes of the largest cache of the first processor, where Linux tells.
fn last_level_cache() -> Option<usize> {
    let caches = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?.flatten();
    caches
        .filter_map(|cache| cache_size(&fs::read_to_string(cache.path().join("size")).ok()?))
        .max()
}

/// A size as Linux writes it: `32768K`.
fn cache_size(size: &str) -> Option<usize> {
    let size = size.trim();
    let (number, unit) = match size.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => (size.strip_suffix('M')?, 1 << 20),
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_byte() {
        let mut bytes = vec![0; 4 * BLOCK];
        for at in 0..bytes.len() {
            bytes[at] = 1;
            assert_eq!(read(&bytes), 1 << (8 * (at % 8)));
            bytes[at] = 0;
        }
    }

    #[test]
    fn sizes_of_caches() {
        assert_eq!(cache_size("32768K\n"), Some(32 << 20));
        assert_eq!(cache_size("4M"), Some(4 << 20));
        assert_eq!(cache_size("4G"), None);
        assert_eq!(cache_size(""), None);
    }

    #[test]
    fn a_machine_reads_at_a_plausible_speed() {
        let speed = read_bandwidth(2).unwrap();
        assert!((1e7..1e13).contains(&speed), "{speed}");
    }
}
