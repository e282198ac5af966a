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

/// 382195690 as "382 MB": three digits and a unit, as disks and downloads are measured.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes, &["bytes", "kB", "MB", "GB", "TB", "PB", "EB"])
}

#[cfg(all(feature = "pull", any(unix, windows)))]
/// 191084544 as "191 M", 7199907840 as "7.20 B".
pub(crate) fn amount(number: u64) -> String {
    scaled(number, &["", "k", "M", "B", "T"]).trim_end().to_owned()
}

/// A measurement with four significant digits, so that a record holds no false ones.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn scaled(number: u64, units: &[&str]) -> String {
    let (mut value, mut unit) = (number as f64, 0);
    // What would be rounded to 1000 has the next unit.
    while value >= 999.5 && unit + 1 < units.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { usize::from(value < 9.995) + 1 };
    format!("{value:.digits$} {}", units[unit])
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
    fn sizes_have_three_digits() {
        for (bytes, said) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_995, "10.0 kB"),
            (99_960, "100 kB"),
            (382_195_690, "382 MB"),
            (999_600_000, "1.00 GB"),
            (14_400_007_869, "14.4 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), said);
        }
    }

    #[test]
    fn measurements_have_four_digits() {
        for (value, said) in
            [(0.0, 0.0), (0.123_449, 0.1234), (17_123.4, 17_120.0), (9.999_96, 10.0), (-1.5, -1.5)]
        {
            assert_eq!(rounded(value), said);
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for bytes in [1, 1000, 264 << 10, 2 << 20, 4 << 30, 1344 << 10] {
            assert_eq!(parse_size(&short(bytes)), Ok(bytes));
        }
    }

    #[cfg(all(feature = "pull", any(unix, windows)))]
    #[test]
    fn amounts_have_three_digits() {
        assert_eq!(amount(191_084_544), "191 M");
        assert_eq!(amount(7_199_907_840), "7.20 B");
        assert_eq!(amount(97), "97");
    }
}
