//! Page-locked memory of the host, through which all copies go.
//!
//! A device copies from and to such memory by itself, while the host goes on; other memory is
//! copied by the driver, which waits. The memory is a ring of slots, allocated once. A copy is cut
//! into pieces, each of which takes the next slot: the host moves one piece between its slot and
//! the caller's memory while the device copies others.

use core::cell::Cell;
use core::ops::Range;

use crate::device::Address;
use crate::error::DeviceError;

/// Slots of a ring.
pub(crate) const SLOTS: usize = 4;

/// A piece is at least a slot's length divided by this, where there is as much to copy: a call of
/// the driver takes about as long as 64 KB.
const SMALLEST: usize = 32;

/// The copies of a device between its memory and the slots, which run one after the other, after
/// launches and copies that were queued before, and not necessarily before the call returns.
pub(crate) trait SlotCopies {
    /// Queues a copy of the first `len` bytes of a slot to `to`.
    ///
    /// # Errors
    ///
    /// When the driver refuses.
    ///
    /// # Safety
    ///
    /// `to` and the bytes behind it are inside one allocation of the device, and nothing writes
    /// the slot before [`wait`](Self::wait).
    unsafe fn upload(&self, slot: usize, to: Address, len: usize) -> Result<(), DeviceError>;

    /// Queues a copy of `len` bytes from `from` to a slot.
    ///
    /// # Errors
    ///
    /// When the driver refuses.
    ///
    /// # Safety
    ///
    /// `from` and the bytes behind it are inside one allocation of the device, and nothing reads or
    /// writes the slot before [`wait`](Self::wait).
    unsafe fn download(&self, slot: usize, from: Address, len: usize) -> Result<(), DeviceError>;

    /// Waits until the copies of a slot are done.
    ///
    /// # Errors
    ///
    /// When the driver refuses, or a launch before has failed.
    fn wait(&self, slot: usize) -> Result<(), DeviceError>;
}

/// A ring of slots.
#[derive(Debug)]
pub(crate) struct Staging {
    memory: *mut u8,
    slot_len: usize,
    next: Cell<usize>,
}

/// A place in the pieces of several parts, which come one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    part: usize,
    at: usize,
}

impl Cursor {
    /// The next piece: of which part, and where in it.
    fn next(
        &mut self,
        parts: &[(Address, &mut [u8])],
        piece: usize,
    ) -> Option<(usize, Range<usize>)> {
        while let Some((_, bytes)) = parts.get(self.part) {
            if self.at < bytes.len() {
                let end = bytes.len().min(self.at + piece);
                let range = self.at..end;
                self.at = end;
                return Some((self.part, range));
            }
            *self = Self { part: self.part + 1, at: 0 };
        }
        None
    }
}

impl Staging {
    /// A ring in `memory`.
    ///
    /// # Safety
    ///
    /// `memory` has [`SLOTS`] times `slot_len` initialized bytes, that nothing else uses as long as
    /// the ring is used.
    pub(crate) unsafe fn new(memory: *mut u8, slot_len: usize) -> Self {
        Self { memory, slot_len, next: Cell::new(0) }
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> *mut u8 {
        self.memory
    }

    /// The first byte of a slot.
    pub(crate) fn slot(&self, slot: usize) -> *mut u8 {
        debug_assert!(slot < SLOTS);
        // SAFETY: the memory has `SLOTS` slots.
        unsafe { self.memory.add(slot * self.slot_len) }
    }

    /// The `count`th slot from the next one on.
    fn slot_after(&self, count: usize) -> usize {
        (self.next.get() + count) % SLOTS
    }

    fn advance(&self, count: usize) {
        self.next.set(self.slot_after(count));
    }

    /// Bytes of a piece of `len` bytes: such that all slots have work, where there is enough.
    fn piece(&self, len: usize) -> usize {
        len.div_ceil(SLOTS).next_multiple_of(64).clamp(self.slot_len / SMALLEST, self.slot_len)
    }

    /// Copies `bytes` to `to`, after all that is queued. They may be used again when it returns,
    /// though the device may not have them yet.
    ///
    /// # Errors
    ///
    /// As [`SlotCopies`].
    ///
    /// # Safety
    ///
    /// `to` and the bytes behind it are inside one allocation of `device`, whose ring this is.
    pub(crate) unsafe fn write(
        &self,
        device: &impl SlotCopies,
        to: Address,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        let piece = self.piece(bytes.len());
        for (i, bytes) in bytes.chunks(piece).enumerate() {
            let slot = self.slot_after(0);
            device.wait(slot)?;
            // SAFETY: a piece is no longer than a slot, and the device is done with this one. The
            // target is the caller's promise.
            unsafe {
                self.slot(slot).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                device.upload(slot, to.offset(i * piece), bytes.len())?;
            }
            self.advance(1);
        }
        Ok(())
    }

    /// Copies from each address to the bytes beside it, after all that is queued.
    ///
    /// # Errors
    ///
    /// As [`SlotCopies`].
    ///
    /// # Safety
    ///
    /// Each address and the bytes behind it are inside one allocation of `device`, whose ring this
    /// is.
    pub(crate) unsafe fn read(
        &self,
        device: &impl SlotCopies,
        parts: &mut [(Address, &mut [u8])],
    ) -> Result<(), DeviceError> {
        let piece = self.piece(parts.iter().map(|(_, bytes)| bytes.len()).sum());
        let (mut queue, mut queued) = (Cursor::default(), 0);
        let (mut take, mut taken) = (Cursor::default(), 0);
        loop {
            while queued < taken + SLOTS
                && let Some((part, range)) = queue.next(parts, piece)
            {
                let from = parts[part].0.offset(range.start);
                // SAFETY: the source is the caller's promise. A piece is no longer than a slot, and
                // what this one had before was taken.
                unsafe { device.download(self.slot_after(queued), from, range.len()) }?;
                queued += 1;
            }
            let Some((part, range)) = take.next(parts, piece) else { break };
            let slot = self.slot_after(taken);
            device.wait(slot)?;
            let bytes = &mut parts[part].1[range];
            // SAFETY: the device has written as many bytes, and is done with the slot.
            unsafe { self.slot(slot).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
            taken += 1;
        }
        self.advance(taken);
        Ok(())
    }
}
