//! The layers that stay on the processor: the first ones of a model that is larger than a device.

use kinglet::engine::{BatchToken, FirstLayers, Hook, StateError, StepError, Stream};
use kinglet::kernels::Kernels;
use kinglet::num::state_dtype::StateElement;

/// The first layers of a model, wherever they are computed: [`FirstLayers`] on any kernels.
pub trait HostLayers {
    /// Number of layers, at least 1.
    fn layers(&self) -> usize;

    /// Number of sequences.
    fn sequences(&self) -> usize;

    /// Advances states by a batch; what the next layer takes.
    ///
    /// # Errors
    ///
    /// As [`FirstLayers::forward`].
    fn forward(&mut self, batch: &[BatchToken], hook: Hook<'_>) -> Result<Stream<'_>, StepError>;

    /// Puts the model's start state into `sequence`, which exists.
    fn reset(&mut self, sequence: usize);

    /// Copies the layers' part of a state in.
    ///
    /// # Errors
    ///
    /// As [`FirstLayers::load_state`].
    fn load_state(&mut self, sequence: usize, state: &[f32]) -> Result<(), StateError>;

    /// Copies the layers' part of a state out.
    ///
    /// # Errors
    ///
    /// As [`FirstLayers::store_state`].
    fn store_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), StateError>;
}

impl<K: Kernels, S: StateElement> HostLayers for FirstLayers<'_, K, S> {
    fn layers(&self) -> usize {
        self.layers()
    }

    fn sequences(&self) -> usize {
        self.sequences()
    }

    fn forward(&mut self, batch: &[BatchToken], hook: Hook<'_>) -> Result<Stream<'_>, StepError> {
        self.forward(batch, hook)
    }

    fn reset(&mut self, sequence: usize) {
        self.reset(sequence);
    }

    fn load_state(&mut self, sequence: usize, state: &[f32]) -> Result<(), StateError> {
        self.load_state(sequence, state)
    }

    fn store_state(&self, sequence: usize, state: &mut [f32]) -> Result<(), StateError> {
        self.store_state(sequence, state)
    }
}
