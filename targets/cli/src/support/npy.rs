//! NumPy's file format, version 1.0, for writing f32 matrices.

use std::io::{self, Write};

/// The header of a C-ordered f32 array `[rows, cols]`.
pub(crate) fn write_header(out: &mut impl Write, rows: usize, cols: usize) -> io::Result<()> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}");
    // Magic, version and length take 10 bytes; the whole is a multiple of 64 and ends in \n.
    let padded = (10 + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', padded - 11 - header.len()));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_is_padded_to_64() {
        let mut bytes = Vec::new();
        super::write_header(&mut bytes, 12, 65536).unwrap();
        assert!(bytes.len().is_multiple_of(64));
        assert!(bytes.ends_with(b" \n"));
        assert_eq!(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 10, bytes.len());
    }
}
