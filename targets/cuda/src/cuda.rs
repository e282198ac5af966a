//! A GPU, through the driver's library, which is loaded when a device is opened: a machine without
//! a driver runs the rest of the program.
//!
//! All work goes to one stream, so that launches and copies keep the order of the calls. Copies go
//! through page-locked memory. Nothing waits but a read, and a write for what was written four pieces
//! before.

use core::ffi::{CStr, c_void};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::device::{Address, Device, DeviceMemory, Kernel, Launch, median_bandwidth};
use crate::error::DeviceError;
use crate::staging::{SLOTS, SlotCopies, Staging};

/// The kernels for every compute capability from 7.5 on: `.ci/cuda` makes it.
static MODULE: &[u8] = include_bytes!("../kinglet.fatbin");

/// The oldest compute capability in [`MODULE`].
const OLDEST: (i32, i32) = (7, 5);

/// The oldest driver that loads [`MODULE`]: that of its compiler.
const OLDEST_DRIVER: i32 = 13_000;

/// Bytes that are left to the driver, which loads a kernel when it is first launched and keeps
/// recordings in the device's memory.
const OF_THE_DRIVER: u64 = 64 << 20;

/// Allocations start at multiples of this many bytes, as the driver's do.
const ALIGN: u64 = 256;

/// Bytes of a slot of the staging memory: large enough that the driver's calls cost little of a
/// copy of weights.
const SLOT: usize = 2 << 20;

/// The driver's library.
const LIBRARY: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// An NVIDIA GPU.
#[derive(Debug)]
pub struct CudaDevice {
    name: String,
    ordinal: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    module: sys::CUmodule,
    /// In the order of [`Kernel::ALL`].
    functions: Vec<sys::CUfunction>,
    allocations: Vec<sys::CUdeviceptr>,
    /// What is left of the memory that was set aside: where, and how many bytes.
    reserved: (u64, u64),
    separate: bool,
    /// Of page-locked memory.
    staging: Staging,
    /// When the last copy of each slot is done.
    slots: Vec<sys::CUevent>,
}

/// A CUDA graph of launches.
#[derive(Debug)]
pub struct Graph {
    executable: sys::CUgraphExec,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: `record` made it, and nothing else destroys it. A driver that fails here has
        // lost the context, and the graph with it.
        let _ = unsafe { result::graph::exec_destroy(self.executable) };
    }
}

/// Names what the driver refused.
trait Refused<T> {
    fn refused(self, what: &'static str) -> Result<T, DeviceError>;
}

impl<T> Refused<T> for Result<T, DriverError> {
    fn refused(self, what: &'static str) -> Result<T, DeviceError> {
        self.map_err(|error| {
            let name = error.error_name().map(CStr::to_string_lossy);
            let code = name.map_or_else(|_| format!("{error:?}"), |name| name.into_owned());
            DeviceError::Call { what, code }
        })
    }
}

impl CudaDevice {
    /// Opens device `index`, as the driver counts them, and loads the kernels.
    ///
    /// # Errors
    ///
    /// When there is no driver or no such device, or when the driver is too old for the kernels.
    pub fn open(index: usize) -> Result<Self, DeviceError> {
        // SAFETY: the driver's library may be loaded at any time.
        if !unsafe { sys::is_culib_present() } {
            return Err(DeviceError::NoDriver { library: LIBRARY });
        }
        result::init().refused("start")?;
        let mut found = 0;
        // SAFETY: the call writes the one number.
        unsafe { sys::cuDriverGetVersion(&mut found) }.result().refused("tell its version")?;
        if found < OLDEST_DRIVER {
            return Err(DeviceError::OldDriver { found, needed: OLDEST_DRIVER });
        }
        let count = result::device::get_count().refused("count the devices")?;
        let count = usize::try_from(count).unwrap_or(0);
        if index >= count {
            return Err(DeviceError::NoDevice { found: index, count });
        }
        let ordinal = result::device::get(index as i32).refused("open the device")?;
        let name = result::device::get_name(ordinal).refused("name the device")?;
        let found = compute_capability(ordinal)?;
        if found < OLDEST {
            return Err(DeviceError::TooOld { name, found });
        }
        // SAFETY: the driver has just given the device.
        let context = unsafe { result::primary_ctx::retain(ordinal) }.refused("make a context")?;
        let mut device = Self {
            name,
            ordinal,
            context,
            stream: core::ptr::null_mut(),
            module: core::ptr::null_mut(),
            functions: Vec::new(),
            allocations: Vec::new(),
            reserved: (0, 0),
            separate: false,
            // SAFETY: nothing is copied before it is replaced.
            staging: unsafe { Staging::new(core::ptr::null_mut(), 0) },
            slots: Vec::new(),
        };
        device.enter()?;
        let kind = result::stream::StreamKind::NonBlocking;
        device.stream = result::stream::create(kind).refused("make a stream")?;
        // SAFETY: the driver gives as much memory, or refuses; it is zeroed before the ring has it,
        // and freed by `drop` alone.
        unsafe {
            let memory = result::malloc_host(SLOTS * SLOT, 0).refused("lock pages of memory")?;
            let memory = memory.cast::<u8>();
            memory.write_bytes(0, SLOTS * SLOT);
            device.staging = Staging::new(memory, SLOT);
        }
        for _ in 0..SLOTS {
            let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
            device.slots.push(result::event::create(flags).refused("make an event")?);
        }
        // SAFETY: the image is one that the compiler made, and the driver checks it.
        device.module = unsafe { result::module::load_data(MODULE.as_ptr().cast()) }
            .refused("load the kernels")?;
        for kernel in Kernel::ALL {
            // SAFETY: the module is loaded.
            let found =
                unsafe { result::module::get_function(device.module, kernel.name().to_owned()) };
            device.functions.push(found.refused("find a kernel")?);
        }
        Ok(device)
    }

    /// Gives each allocation memory of its own, so that a tool that watches them sees a kernel
    /// that leaves one. The driver rounds each up, so that less of a model fits than planned.
    pub fn allocate_separately(&mut self) {
        self.separate = true;
    }

    /// The driver's memory: `bytes` that live as long as the device.
    fn of_driver(&mut self, bytes: u64) -> Result<u64, DeviceError> {
        self.enter()?;
        // SAFETY: the memory is written before a kernel reads it, by the engine's order of steps.
        let address = unsafe { result::malloc_sync(bytes.max(1) as usize) }.refused("allocate")?;
        self.allocations.push(address);
        Ok(address)
    }

    /// Makes the context that of the thread: an engine may move between threads.
    fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained until `drop`.
        unsafe { result::ctx::set_current(self.context) }.refused("enter the context")
    }
}

/// The compute capability of a device.
fn compute_capability(device: sys::CUdevice) -> Result<(i32, i32), DeviceError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    // SAFETY: the driver has given the device.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) };
    let capability = attribute(MAJOR).and_then(|major| Ok((major, attribute(MINOR)?)));
    capability.refused("tell the compute capability")
}

impl Device for CudaDevice {
    type Recording = Graph;

    fn name(&self) -> &str {
        &self.name
    }

    fn memory(&self) -> Result<DeviceMemory, DeviceError> {
        self.enter()?;
        let (free, total) = result::mem_get_info().refused("tell its memory")?;
        let free = (free as u64).saturating_sub(OF_THE_DRIVER);
        Ok(DeviceMemory { free, total: total as u64 })
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), DeviceError> {
        if !self.separate {
            self.reserved = (self.of_driver(bytes)?, bytes);
        }
        Ok(())
    }

    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError> {
        if self.separate {
            return Ok(Address(self.of_driver(bytes)?));
        }
        let (at, left) = self.reserved;
        let taken = bytes.next_multiple_of(ALIGN);
        let Some(left) = left.checked_sub(taken) else {
            let code = format!("{taken} bytes of {left} that were set aside");
            return Err(DeviceError::Call { what: "allocate", code });
        };
        self.reserved = (at + taken, left);
        Ok(Address(at))
    }

    unsafe fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the caller's promise.
        unsafe { self.staging.write(self, to, bytes) }
    }

    unsafe fn read(&self, parts: &mut [(Address, &mut [u8])]) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the caller's promise.
        unsafe { self.staging.read(self, parts) }
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        self.enter()?;
        let function = self.functions[launch.kernel as usize];
        let [x, y] = launch.blocks;
        let mut params = [launch.params.cast_mut().cast::<c_void>()];
        // SAFETY: the parameters are the caller's promise; the driver copies them in the call.
        unsafe {
            result::launch_kernel(
                function,
                (x, y, 1),
                (launch.threads, 1, 1),
                0,
                self.stream,
                &mut params,
            )
        }
        .refused("launch a kernel")
    }

    fn record(
        &self,
        launches: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Option<Graph>, DeviceError> {
        const MODE: sys::CUstreamCaptureMode =
            sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.enter()?;
        // SAFETY: the stream lives as long as the device.
        unsafe { result::stream::begin_capture(self.stream, MODE) }.refused("record")?;
        let done = launches();
        // Ended in any case, so that the stream runs what comes next.
        // SAFETY: as above.
        let graph = unsafe { result::stream::end_capture(self.stream) }.refused("record");
        let graph = graph?;
        if graph.is_null() {
            return done.map(|()| None);
        }
        // SAFETY: `end_capture` has made the graph; the executable keeps nothing of it.
        let executable = unsafe {
            let made = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            made
        };
        let graph = Graph { executable: executable.refused("make a graph")? };
        done.map(|()| Some(graph))
    }

    unsafe fn replay(&self, recording: &Graph) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: `record` of this device made the graph; its memory is the caller's promise.
        unsafe { result::graph::launch(recording.executable, self.stream) }.refused("run a graph")
    }

    fn copy_bandwidth(&self) -> Result<f64, DeviceError> {
        /// Larger than any cache of a GPU.
        const LARGEST: u64 = 512 << 20;
        const COPIES: usize = 11;
        let bytes = LARGEST.min(self.memory()?.free / 4).max(1 << 20);
        // SAFETY: the two buffers are as long as what is copied, and freed when the stream is
        // done with them.
        unsafe {
            let from = result::malloc_sync(bytes as usize).refused("allocate")?;
            let measured = result::malloc_sync(bytes as usize).refused("allocate").and_then(|to| {
                let measured = median_bandwidth(bytes, COPIES, || {
                    result::memcpy_dtod_async(to, from, bytes as usize, self.stream)
                        .and_then(|()| result::stream::synchronize(self.stream))
                        .refused("copy")
                });
                let _ = result::stream::synchronize(self.stream);
                let _ = result::free_sync(to);
                measured
            });
            let _ = result::free_sync(from);
            measured
        }
    }
}

impl CudaDevice {
    /// Marks the end of what is queued as that of a slot's copies.
    fn mark(&self, slot: usize) -> Result<(), DeviceError> {
        // SAFETY: event and stream live as long as the device.
        unsafe { result::event::record(self.slots[slot], self.stream) }.refused("record an event")
    }
}

impl SlotCopies for CudaDevice {
    unsafe fn upload(&self, slot: usize, to: Address, len: usize) -> Result<(), DeviceError> {
        let from = self.staging.slot(slot).cast_const().cast::<c_void>();
        // SAFETY: the target is the caller's promise, and that nothing writes the slot meanwhile.
        unsafe { sys::cuMemcpyHtoDAsync_v2(to.0, from, len, self.stream) }
            .result()
            .refused("copy to the device")?;
        self.mark(slot)
    }

    unsafe fn download(&self, slot: usize, from: Address, len: usize) -> Result<(), DeviceError> {
        let to = self.staging.slot(slot).cast::<c_void>();
        // SAFETY: the source is the caller's promise, and that nothing uses the slot meanwhile.
        unsafe { sys::cuMemcpyDtoHAsync_v2(to, from.0, len, self.stream) }
            .result()
            .refused("copy from the device")?;
        self.mark(slot)
    }

    fn wait(&self, slot: usize) -> Result<(), DeviceError> {
        // SAFETY: the event lives as long as the device. One that was never recorded is over.
        unsafe { result::event::synchronize(self.slots[slot]) }.refused("compute")
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // A driver that fails here has lost the context, and all of it with that.
        let _ = self.enter();
        // SAFETY: all of these were made by `open` and `allocate`, and nothing uses them later.
        unsafe {
            if !self.stream.is_null() {
                let _ = result::stream::synchronize(self.stream);
                let _ = result::stream::destroy(self.stream);
            }
            for &slot in &self.slots {
                let _ = result::event::destroy(slot);
            }
            if !self.staging.memory().is_null() {
                let _ = result::free_host(self.staging.memory().cast());
            }
            for &allocation in &self.allocations {
                let _ = result::free_sync(allocation);
            }
            if !self.module.is_null() {
                let _ = result::module::unload(self.module);
            }
            let _ = result::primary_ctx::release(self.ordinal);
        }
    }
}
