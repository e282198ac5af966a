//! The kernels on the CPU: their sources compiled as C++ against `emulation/kinglet_device.h`.
//!
//! Every allocation is one of its own, so that the address sanitizer sees a kernel that leaves it.

use core::ffi::{c_char, c_int, c_void};
use std::alloc::{Layout, alloc, dealloc};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::{Address, Device, DeviceMemory, Launch};
use crate::error::DeviceError;

unsafe extern "C" {
    fn kinglet_emulate(
        name: *const c_char,
        blocks_x: u32,
        blocks_y: u32,
        threads: u32,
        params: *const c_void,
        params_len: u32,
        order: u32,
    ) -> c_int;
}

/// The emulation has one block's shared memory, in statics.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Keeps other launches out.
pub(crate) fn lock() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of a device of no particular size.
const MEMORY: u64 = 1 << 32;

/// A device that the CPU emulates.
#[derive(Debug)]
pub struct Emulated {
    order: u32,
    memory: u64,
    allocations: Vec<(*mut u8, Layout)>,
}

impl Emulated {
    /// A device whose blocks and threads run in an order: 0 forwards, 1 backwards, others seed a
    /// shuffle.
    #[must_use]
    pub fn new(order: u32) -> Self {
        Self { order, memory: MEMORY, allocations: Vec::new() }
    }

    /// A device of `memory` bytes.
    #[must_use]
    pub fn with_memory(memory: u64) -> Self {
        Self { order: 0, memory, allocations: Vec::new() }
    }

    /// Bytes that were allocated.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.allocations.iter().map(|(_, layout)| layout.size() as u64).sum()
    }
}

impl Device for Emulated {
    fn name(&self) -> &str {
        "emulated"
    }

    fn memory(&self) -> Result<DeviceMemory, DeviceError> {
        Ok(DeviceMemory { free: self.memory - self.allocated(), total: self.memory })
    }

    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError> {
        let refused = || DeviceError::Call { what: "allocate", code: "out of memory".into() };
        let size = usize::try_from(bytes.max(1)).map_err(|_| refused())?;
        let layout = Layout::from_size_align(size, 256).map_err(|_| refused())?;
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            return Err(refused());
        }
        // SAFETY: `memory` has `size` bytes. All ones are NaN and huge integers, which shows where
        // a kernel reads what none has written.
        unsafe { memory.write_bytes(0xFF, size) };
        self.allocations.push((memory, layout));
        Ok(Address(memory.expose_provenance() as u64))
    }

    unsafe fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        let to = core::ptr::with_exposed_provenance_mut::<u8>(to.0 as usize);
        // SAFETY: the range is the caller's promise.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    unsafe fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let from = core::ptr::with_exposed_provenance::<u8>(from.0 as usize);
        // SAFETY: the range is the caller's promise.
        unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        let _guard = lock();
        let [x, y] = launch.blocks;
        let name = launch.kernel.name();
        let len = launch.params_len as u32;
        // SAFETY: the parameters are the caller's promise; the emulation checks their length.
        let code = unsafe {
            let name = name.as_ptr();
            kinglet_emulate(name, x, y, launch.threads, launch.params, len, self.order)
        };
        match code {
            0 => Ok(()),
            1 => Err(DeviceError::Call { what: "find a kernel", code: format!("{name:?}") }),
            _ => Err(DeviceError::Call { what: "launch a kernel", code: format!("{name:?}") }),
        }
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        for &(memory, layout) in &self.allocations {
            // SAFETY: `allocate` made it with this layout.
            unsafe { dealloc(memory, layout) };
        }
    }
}
