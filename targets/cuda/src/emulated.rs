//! The kernels on the CPU: their sources compiled as C++ against `emulation/kinglet_device.h`.
//!
//! Every allocation is one of its own, so that the address sanitizer sees a kernel that leaves it.

use core::cell::{Cell, RefCell};
use core::ffi::{c_char, c_int, c_void};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::{Address, Device, DeviceMemory, Kernel, Launch, median_bandwidth};
use crate::error::DeviceError;
use crate::staging::{SLOTS, SlotCopies, Staging};

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

/// Bytes of a slot of the staging memory: small, so that many copies take more than all.
const SLOT: usize = 4096;

/// Calls of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Launches of kernels, those of recordings included.
    pub launches: u64,
    /// Launches that were calls of their own.
    pub plain: u64,
    /// Recordings that were run.
    pub replays: u64,
    /// Copies to the device.
    pub writes: u64,
    /// Copies from the device.
    pub reads: u64,
}

/// A device that the CPU emulates.
#[derive(Debug)]
pub struct Emulated {
    order: u32,
    memory: u64,
    /// Bytes that were set aside and not yet given.
    reserved: u64,
    allocations: Vec<(*mut u8, Layout)>,
    calls: Cell<Calls>,
    /// The calls that still succeed.
    lives: Cell<u64>,
    recording: RefCell<Option<EmulatedRecording>>,
    staging: Staging,
    /// Copies that are made as late as a device may make them: when one is waited for, or a kernel
    /// runs.
    queued: RefCell<VecDeque<Queued>>,
}

/// A copy between a slot and memory of the device.
#[derive(Clone, Copy, Debug)]
struct Queued {
    slot: usize,
    is_upload: bool,
    address: Address,
    len: usize,
}

/// The staging memory.
const fn staging_layout() -> Layout {
    match Layout::from_size_align(SLOTS * SLOT, 64) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    }
}

/// Recorded launches.
pub type EmulatedRecording = Vec<RecordedLaunch>;

/// A launch with a copy of its parameters.
#[derive(Debug)]
pub struct RecordedLaunch {
    kernel: Kernel,
    blocks: [u32; 2],
    threads: u32,
    /// In words of eight bytes, the alignment of parameters.
    params: Vec<u64>,
    params_len: usize,
}

impl Emulated {
    /// A device whose blocks and threads run in an order: 0 forwards, 1 backwards, others seed a
    /// shuffle.
    #[must_use]
    pub fn new(order: u32) -> Self {
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc_zeroed(staging_layout()) };
        assert!(!memory.is_null(), "no memory");
        Self {
            order,
            memory: MEMORY,
            reserved: 0,
            allocations: Vec::new(),
            calls: Cell::default(),
            lives: Cell::new(u64::MAX),
            recording: RefCell::default(),
            // SAFETY: the memory has been allocated for it, and lives as long.
            staging: unsafe { Staging::new(memory, SLOT) },
            queued: RefCell::default(),
        }
    }

    /// A device of `memory` bytes.
    #[must_use]
    pub fn with_memory(memory: u64) -> Self {
        let mut device = Self::new(0);
        device.memory = memory;
        device
    }

    /// The device is lost after `calls` more copies, launches and replays.
    pub fn fail_after(&self, calls: u64) {
        self.lives.set(calls);
    }

    /// Bytes that were allocated.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.allocations.iter().map(|(_, layout)| layout.size() as u64).sum()
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.calls.get()
    }

    /// Counts a call, or is lost.
    fn call(&self, what: &'static str, count: fn(&mut Calls)) -> Result<(), DeviceError> {
        let Some(lives) = self.lives.get().checked_sub(1) else {
            return Err(DeviceError::Call { what, code: "an emulated loss".into() });
        };
        self.lives.set(lives);
        let mut calls = self.calls.get();
        count(&mut calls);
        self.calls.set(calls);
        Ok(())
    }

    /// Makes the copies that are queued, or those up to the last one of a slot.
    fn copy_queued(&self, of_slot: Option<usize>) {
        let mut queued = self.queued.borrow_mut();
        let count = match of_slot {
            None => queued.len(),
            Some(slot) => queued.iter().rposition(|copy| copy.slot == slot).map_or(0, |at| at + 1),
        };
        for Queued { slot, is_upload, address, len } in queued.drain(..count) {
            let memory = core::ptr::with_exposed_provenance_mut::<u8>(address.0 as usize);
            let slot = self.staging.slot(slot);
            let (from, to) = if is_upload { (slot, memory) } else { (memory, slot) };
            // SAFETY: both ranges are the promise of who queued the copy.
            unsafe { to.copy_from_nonoverlapping(from, len) };
        }
    }

    /// # Safety
    ///
    /// As [`Device::launch`].
    unsafe fn run(&self, launch: &Launch) -> Result<(), DeviceError> {
        self.copy_queued(None);
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

impl RecordedLaunch {
    /// # Safety
    ///
    /// `launch.params` points to as many bytes as it says.
    unsafe fn new(launch: &Launch) -> Self {
        let mut params = vec![0u64; launch.params_len.div_ceil(8)];
        // SAFETY: the source is the caller's promise, the target is as long.
        unsafe {
            let to = params.as_mut_ptr().cast::<u8>();
            to.copy_from_nonoverlapping(launch.params.cast(), launch.params_len);
        }
        let Launch { kernel, blocks, threads, params_len, .. } = *launch;
        Self { kernel, blocks, threads, params, params_len }
    }

    fn launch(&self) -> Launch {
        let Self { kernel, blocks, threads, params_len, .. } = *self;
        Launch { kernel, blocks, threads, params: self.params.as_ptr().cast(), params_len }
    }
}

impl Device for Emulated {
    type Recording = EmulatedRecording;

    fn name(&self) -> &str {
        "emulated"
    }

    fn memory(&self) -> Result<DeviceMemory, DeviceError> {
        Ok(DeviceMemory { free: self.memory - self.allocated(), total: self.memory })
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), DeviceError> {
        let free = self.memory()?.free - self.reserved;
        if bytes > free {
            let code = format!("out of memory: {bytes} of {free} bytes");
            return Err(DeviceError::Call { what: "set memory aside", code });
        }
        self.reserved += bytes;
        Ok(())
    }

    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError> {
        let refused = || DeviceError::Call { what: "allocate", code: "out of memory".into() };
        self.reserved = self.reserved.checked_sub(bytes).ok_or_else(refused)?;
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
        self.call("copy to the device", |calls| calls.writes += 1)?;
        // SAFETY: the caller's promise.
        unsafe { self.staging.write(self, to, bytes) }
    }

    unsafe fn read(&self, parts: &mut [(Address, &mut [u8])]) -> Result<(), DeviceError> {
        self.call("copy from the device", |calls| calls.reads += 1)?;
        // SAFETY: the caller's promise.
        unsafe { self.staging.read(self, parts) }
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        if let Some(recording) = &mut *self.recording.borrow_mut() {
            // SAFETY: the parameters are the caller's promise.
            recording.push(unsafe { RecordedLaunch::new(launch) });
            return Ok(());
        }
        self.call("launch a kernel", |calls| {
            calls.launches += 1;
            calls.plain += 1;
        })?;
        // SAFETY: the caller's promise.
        unsafe { self.run(launch) }
    }

    fn record(
        &self,
        launches: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Option<EmulatedRecording>, DeviceError> {
        *self.recording.borrow_mut() = Some(Vec::new());
        let done = launches();
        let recording = self.recording.borrow_mut().take();
        done.map(|()| recording)
    }

    unsafe fn replay(&self, recording: &EmulatedRecording) -> Result<(), DeviceError> {
        self.call("replay launches", |calls| calls.replays += 1)?;
        for launch in recording {
            let mut calls = self.calls.get();
            calls.launches += 1;
            self.calls.set(calls);
            // SAFETY: the caller's promise.
            unsafe { self.run(&launch.launch()) }?;
        }
        Ok(())
    }

    fn copy_bandwidth(&self) -> Result<f64, DeviceError> {
        let from = vec![1u8; 1 << 20];
        let mut to = vec![0u8; 1 << 20];
        median_bandwidth(1 << 20, 3, || {
            to.copy_from_slice(core::hint::black_box(&from));
            core::hint::black_box(&to);
            Ok(())
        })
    }
}

impl SlotCopies for Emulated {
    unsafe fn upload(&self, slot: usize, to: Address, len: usize) -> Result<(), DeviceError> {
        let copy = Queued { slot, is_upload: true, address: to, len };
        self.queued.borrow_mut().push_back(copy);
        Ok(())
    }

    unsafe fn download(&self, slot: usize, from: Address, len: usize) -> Result<(), DeviceError> {
        let copy = Queued { slot, is_upload: false, address: from, len };
        self.queued.borrow_mut().push_back(copy);
        Ok(())
    }

    fn wait(&self, slot: usize) -> Result<(), DeviceError> {
        self.copy_queued(Some(slot));
        Ok(())
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        // SAFETY: `new` made it with this layout.
        unsafe { dealloc(self.staging.memory(), staging_layout()) };
        for &(memory, layout) in &self.allocations {
            // SAFETY: `allocate` made it with this layout.
            unsafe { dealloc(memory, layout) };
        }
    }
}
