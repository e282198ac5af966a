//! Reads NumPy's `.npy` and `.npz`, as far as golden data needs them:
//! little-endian f32 and f64 in C order, widened to f64. The format is NEP 1 of
//! the NumPy enhancement proposals.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::tensor::{Tensor, Tensors};

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads one array from the bytes of an `.npy` file.
///
/// # Errors
///
/// `InvalidData` for anything but a whole C-order array of `<f4` or `<f8`.
pub fn parse(bytes: &[u8]) -> io::Result<Tensor> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(|| invalid("not an npy file"))?;
    // The header's length is a u16 in version 1 and a u32 from version 2 on.
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err(invalid("unknown npy version")),
    };
    let (header, body) = rest.split_at_checked(length).ok_or_else(|| invalid("short header"))?;
    let header = str::from_utf8(header).map_err(|_| invalid("header is not text"))?;

    if entry(header, "'fortran_order':")?.starts_with("True") {
        return Err(invalid("Fortran order"));
    }
    let shape = shape(entry(header, "'shape':")?)?;
    let descr = entry(header, "'descr':")?;
    let data: Vec<f64> = if descr.starts_with("'<f4'") {
        elements(body, |b| f32::from_le_bytes(b).into())?
    } else if descr.starts_with("'<f8'") {
        elements(body, f64::from_le_bytes)?
    } else {
        return Err(invalid(format!("element type is not <f4 or <f8: {header}")));
    };
    if shape.iter().try_fold(1, |n: usize, &d| n.checked_mul(d)) != Some(data.len()) {
        return Err(invalid(format!("shape {shape:?}, but {} elements", data.len())));
    }
    Ok(Tensor::new(shape, data))
}

/// What follows `key` in the header, which is a Python dictionary literal.
fn entry<'a>(header: &'a str, key: &str) -> io::Result<&'a str> {
    let (_, value) =
        header.split_once(key).ok_or_else(|| invalid(format!("no {key} in {header}")))?;
    Ok(value.trim_start())
}

/// Reads a Python tuple of integers: `()`, `(3,)`, `(3, 4)`.
fn shape(tuple: &str) -> io::Result<Vec<usize>> {
    let inner = tuple
        .strip_prefix('(')
        .and_then(|t| t.split_once(')'))
        .ok_or_else(|| invalid("shape is not a tuple"))?
        .0;
    let lengths = inner.split(',').map(str::trim).filter(|s| !s.is_empty());
    lengths.map(|s| s.parse().map_err(|_| invalid(format!("dimension {s:?}")))).collect()
}

fn elements<const N: usize>(body: &[u8], read: fn([u8; N]) -> f64) -> io::Result<Vec<f64>> {
    let (chunks, rest) = body.as_chunks::<N>();
    if rest.is_empty() {
        Ok(chunks.iter().map(|&c| read(c)).collect())
    } else {
        Err(invalid("the last element is cut off"))
    }
}

/// Reads an `.npy` file.
///
/// # Errors
///
/// When the file cannot be read, or as [`parse`].
pub fn read(path: &Path) -> io::Result<Tensor> {
    parse(&std::fs::read(path)?)
}

/// Reads every array of an `.npz` file, by its name without `.npy`.
///
/// # Errors
///
/// When the file cannot be read or is no zip of uncompressed arrays, or as [`parse`].
pub fn read_npz(path: &Path) -> io::Result<Tensors> {
    let mut archive = zip::ZipArchive::new(File::open(path)?)?;
    let mut arrays = Tensors::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes)?;
        let name = member.name()?.trim_end_matches(".npy").to_owned();
        arrays.insert(name, parse(&bytes)?);
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn reads_both_widths_and_every_rank() {
        let body: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let got =
            parse(&file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n", &body));
        assert_eq!(got.unwrap(), Tensor::new(vec![2, 1], vec![1.5, -2.0]));

        let body = 0.1f64.to_le_bytes();
        let got = parse(&file("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", &body));
        assert_eq!(got.unwrap(), Tensor::new(vec![], vec![0.1]));
    }

    #[test]
    fn refuses_what_it_would_misread() {
        let body = [0; 8];
        for header in [
            "{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }",
            "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': 2, }",
            "{'descr': '<f4', 'fortran_order': False, }",
        ] {
            assert!(parse(&file(header, &body)).is_err(), "{header}");
        }
        let whole = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &body);
        assert!(parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "cut at {length}");
        }
    }
}
