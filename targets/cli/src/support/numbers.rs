//! Numbers as people read them.

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// 2097152 as "2M": whole units, as data sheets write sizes.
pub(crate) fn short(bytes: u64) -> String {
    let units = [(30, "G"), (20, "M"), (10, "K")];
    let unit = units.into_iter().find(|(shift, _)| bytes.is_multiple_of(1 << shift) && bytes > 0);
    unit.map_or(bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// 203062561 as "203 MB": three digits.
pub(crate) fn decimal(bytes: u64) -> String {
    let bytes = bytes as f64;
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let (unit, name) =
        units.into_iter().find(|(unit, _)| bytes >= 0.9995 * unit).unwrap_or((1.0, "B"));
    let number = bytes / unit;
    let digits = if unit == 1.0 || number >= 99.95 {
        0
    } else if number >= 9.995 {
        1
    } else {
        2
    };
    format!("{number:.digits$} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse_size;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn bytes_are_rounded_to_three_digits() {
        for (bytes, text) in [
            (7, "7 B"),
            (203_062_561, "203 MB"),
            (1_788_876, "1.79 MB"),
            (12_345, "12.3 kB"),
            (999_999, "1.00 MB"),
            (3_500_000_000, "3.50 GB"),
        ] {
            assert_eq!(decimal(bytes), text);
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for bytes in [1, 1000, 264 << 10, 2 << 20, 4 << 30, 1344 << 10] {
            assert_eq!(parse_size(&short(bytes)), Ok(bytes));
        }
    }
}
