//! Parsers of single values, whose errors say what is accepted.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

use kinglet::format::shape::Shape;
use kinglet::kernels::weights::WeightType;
use kinglet_quantize::synthetic::OFFICIAL;

/// Name and dimensions of an official model.
pub(crate) type Official = (&'static str, Shape);

pub(super) fn official(name: &str) -> Result<Official, String> {
    let known = OFFICIAL.into_iter().find(|(known, _)| *known == name);
    known.ok_or_else(|| {
        let names = OFFICIAL.map(|(name, _)| name);
        format!("not a shape that is known; there are {}", names.join(", "))
    })
}

/// The weights of a model that has one type of them.
pub(super) fn weights(text: &str) -> Result<WeightType, String> {
    match text {
        "8" => Ok(WeightType::Int8),
        "4" => Ok(WeightType::Int4),
        _ => Err("weights have 8 or 4 bits".to_owned()),
    }
}

/// A number above 0.
#[cfg(feature = "quantizer")]
pub(super) fn above_zero(text: &str) -> Result<f64, String> {
    match finite::<f64>(text) {
        Ok(number) if number <= 0.0 => Err("not above 0".to_owned()),
        number => number,
    }
}

pub(super) fn finite<T: FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number.into().is_finite() => Ok(number),
        Ok(_) => Err("not a finite number, or too large for one".to_owned()),
        Err(_) => Err("not a number".to_owned()),
    }
}

/// A finite number from 0.
pub(super) fn not_negative(text: &str) -> Result<f32, String> {
    match finite::<f32>(text) {
        Ok(number) if number < 0.0 => Err("below 0".to_owned()),
        number => number,
    }
}

/// A number from 0 to 1.
pub(super) fn share<T: FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let share: T = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share.into()) { Ok(share) } else { Err("not in 0 to 1".to_owned()) }
}

/// A whole number from 0.
pub(super) fn whole<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => "too large".to_owned(),
        _ => "not a whole number from 0".to_owned(),
    })
}

/// A whole number from 1, of what a command does.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    match whole(text) {
        Ok(0) => Err("0 does nothing; give 1 or more".to_owned()),
        number => number,
    }
}

/// Largest count that `bench` measures: nobody waits for more, and memory has room for it.
const MAX_MEASURED: usize = 1 << 20;

/// A count that `bench` measures.
pub(super) fn measured(text: &str) -> Result<usize, String> {
    match positive(text) {
        Ok(MAX_MEASURED..) => Err(format!("too many; give less than {MAX_MEASURED}")),
        number => number,
    }
}

/// More threads than this help nobody.
pub(crate) const MAX_THREADS: usize = 256;

pub(super) fn threads(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_THREADS).contains(number));
    number.ok_or_else(|| format!("not a number from 1 to {MAX_THREADS}"))
}

/// Bytes of a stop string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop(pub(crate) Vec<u8>);

impl AsRef<[u8]> for Stop {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Longest stop string, bytes.
const MAX_STOP_LEN: usize = 256;

pub(super) fn stop(text: &str) -> Result<Stop, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let character = match (character, character == '\\') {
            (_, false) => character,
            _ => match rest.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('\\') => '\\',
                Some(other) => return Err(format!("`\\{other}` stands for nothing")),
                None => return Err("a single `\\` at the end stands for nothing".to_owned()),
            },
        };
        bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
    }
    match bytes.len() {
        0 => Err("an empty text stops everything".to_owned()),
        1..=MAX_STOP_LEN => Ok(Stop(bytes)),
        found => Err(format!("{found} bytes; a stop string has at most {MAX_STOP_LEN}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_refused_in_one_voice() {
        for text in ["", "abc", "-5", "1e6", "1.5", "1,2"] {
            assert_eq!(whole::<u64>(text), Err("not a whole number from 0".to_owned()), "{text}");
        }
        assert_eq!(whole::<u64>("18446744073709551616"), Err("too large".to_owned()));
        assert_eq!(positive("0"), Err("0 does nothing; give 1 or more".to_owned()));
        for text in ["0", "257", "1,2", "2-4"] {
            assert_eq!(threads(text), Err("not a number from 1 to 256".to_owned()), "{text}");
        }
        assert_eq!(share::<f32>("90"), Err("not in 0 to 1".to_owned()));
        assert_eq!(share::<f64>("nan"), Err("not in 0 to 1".to_owned()));
        assert_eq!(not_negative("-1"), Err("below 0".to_owned()));
        assert_eq!(not_negative("x"), Err("not a number".to_owned()));
    }

    #[test]
    fn stop_strings_have_escapes() {
        assert_eq!(stop(r"\n\nUser:"), Ok(Stop(b"\n\nUser:".to_vec())));
        assert_eq!(stop(r"a\\b\t"), Ok(Stop(b"a\\b\t".to_vec())));
        for wrong in ["", r"\", r"\x", &"a".repeat(257)] {
            assert!(stop(wrong).is_err(), "{wrong}");
        }
    }
}
