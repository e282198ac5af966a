//! Recorded launches, by the sizes of the batch that they are of.
//!
//! Every launch of a batch depends on its sizes alone: tokens, sequences and the rest are read
//! from lists at fixed addresses. A size that comes a second time is recorded then, and run from
//! the recording from that time on: a call for each batch instead of hundreds.

use crate::batch::BatchSize;
use crate::device::Device;
use crate::error::DeviceError;

/// Recordings that are kept: decoding has one size, a prompt another and its end a third.
const MOST: usize = 8;

/// What is known of each size, the one that came last at the end.
#[derive(Debug)]
pub(crate) struct Recordings<D: Device> {
    known: Vec<(BatchSize, Option<D::Recording>)>,
    /// Whether the device records.
    able: bool,
}

impl<D: Device> Default for Recordings<D> {
    fn default() -> Self {
        Self { known: Vec::new(), able: true }
    }
}

impl<D: Device> Recordings<D> {
    /// Makes the launches of a batch of `size`, or runs their recording.
    pub(crate) fn run(
        &mut self,
        device: &D,
        size: BatchSize,
        launches: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        match self.of(device, size, launches) {
            // SAFETY: the engine that made the launches has the memory as long as this.
            Some(recording) => unsafe { device.replay(recording) },
            None => launches(),
        }
    }

    /// The recording of a size that was met before.
    fn of(
        &mut self,
        device: &D,
        size: BatchSize,
        launches: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Option<&D::Recording> {
        if !self.able {
            return None;
        }
        let Some(at) = self.known.iter().position(|(known, _)| *known == size) else {
            if self.known.len() == MOST {
                self.known.remove(0);
            }
            self.known.push((size, None));
            return None;
        };
        let (_, mut recording) = self.known.remove(at);
        if recording.is_none() {
            // A device that refuses to record is one that runs launches one by one.
            recording = device.record(launches).ok().flatten();
            self.able = recording.is_some();
        }
        self.known.push((size, recording));
        self.known.last().and_then(|(_, recording)| recording.as_ref())
    }
}
