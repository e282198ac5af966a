//! Keys: who may ask, where not everybody may.

use axum::http::{HeaderMap, header};

use crate::error::ApiError;

/// Keys, any of which opens; none where everybody is let in.
#[derive(Clone)]
pub(crate) struct Keys(Vec<String>);

impl Keys {
    pub(crate) fn new(keys: &[String]) -> Self {
        Self(keys.to_vec())
    }

    /// Checks `Authorization: Bearer KEY`.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(given) = given.and_then(|text| text.strip_prefix("Bearer ")) else {
            return Err(ApiError::unauthorized("a key is needed: `Authorization: Bearer KEY`"));
        };
        // All keys are compared, so that the time tells nothing.
        let known = self.0.iter().fold(false, |known, key| known | is_same(key, given.trim()));
        if known { Ok(()) } else { Err(ApiError::unauthorized("the key is none of this server")) }
    }
}

/// Whether two texts are the same, in a time that their bytes do not tell.
fn is_same(a: &str, b: &str) -> bool {
    let differs = a.bytes().zip(b.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_key_opens() {
        let keys = Keys::new(&["secret".into(), "other".into()]);
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            keys.check(&headers).is_ok()
        };
        assert!(check("Bearer secret") && check("Bearer other"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "secret", "Basic secret"] {
            assert!(!check(wrong), "{wrong}");
        }
        assert!(keys.check(&HeaderMap::new()).is_err());
        assert!(Keys::new(&[]).check(&HeaderMap::new()).is_ok());
    }
}
