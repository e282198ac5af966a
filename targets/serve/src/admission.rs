//! Admission: as many texts as have a place or may wait for one. What comes beyond is told to come
//! again, so that a queue never grows without bound.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// The places, of which each text holds one until it has ended.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    all: usize,
}

/// A text's place; dropped, it is free for another.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is dropped")] OwnedSemaphorePermit);

impl Admission {
    pub(crate) fn new(all: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(all)), all }
    }

    /// Takes places for `texts` texts, all or none.
    ///
    /// # Errors
    ///
    /// There are not as many.
    pub(crate) fn take(&self, texts: usize) -> Result<Vec<Place>, ApiError> {
        let texts = u32::try_from(texts).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.places).try_acquire_many_owned(texts);
        let mut permit = permit.map_err(|_| ApiError::full(self.all))?;
        Ok(std::iter::from_fn(|| permit.split(1).map(Place)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_all_or_none_and_come_back() {
        let admission = Admission::new(3);
        let two = admission.take(2).unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!(admission.take(2).unwrap_err().status().as_u16(), 429);
        let one = admission.take(1).unwrap();
        drop(two);
        assert_eq!(admission.take(2).unwrap().len(), 2);
        drop(one);
        assert_eq!(admission.take(3).unwrap().len(), 3);
    }
}
