//! Sizes of memory and files, as the command line gives them.

/// Reads a size of memory: bytes, or a number with K, M or G, which are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let binary = [1 << 10, 1 << 20, 1 << 30];
    parse(text, binary, "(1024, 1024 K, 1024 M), such as 512K or 1.5G")
}

/// Reads the size of a file: bytes, or a number with K, M or G, which are powers of 1000.
#[cfg(feature = "quantizer")]
pub(super) fn parse_file_size(text: &str) -> Result<u64, String> {
    let decimal = [1_000, 1_000_000, 1_000_000_000];
    parse(text, decimal, "(1000, 1000 K, 1000 M), such as 1080K or 1.5G")
}

fn parse(text: &str, [kilo, mega, giga]: [u64; 3], units: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is not a size; give bytes, or a number with K, M or G {units}");
    let upper = text.trim().to_ascii_uppercase();
    let plain = match (upper.strip_suffix("IB"), upper.strip_suffix('B')) {
        // KiB and its like are the same everywhere.
        (Some(_), _) if kilo != 1 << 10 => return Err(wrong()),
        (Some(plain), _) | (None, Some(plain)) => plain,
        (None, None) => &upper,
    };
    let (number, unit) = match plain.strip_suffix(['K', 'M', 'G']) {
        Some(number) if plain.ends_with('K') => (number, kilo),
        Some(number) if plain.ends_with('M') => (number, mega),
        Some(number) => (number, giga),
        None => (plain, 1),
    };
    let number = number.trim_end();
    let decimal = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if number.is_empty() || !number.bytes().all(decimal) {
        return Err(wrong());
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit as f64;
    if bytes.fract() != 0.0 || !(1.0..=1e18).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let good = [
            ("524288", 524_288),
            ("512K", 512 << 10),
            ("512 KiB", 512 << 10),
            ("264KB", 264 << 10),
            ("16 MiB", 16 << 20),
            ("4GB", 4 << 30),
            ("2m", 2 << 20),
            ("1.5G", 3 << 29),
            ("64B", 64),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "K", "2X", "-1K", "1e3", "inf", "nan", "0", "1.5", "1.2.3M", "99999999999G"]
        {
            let error = parse_size(text).expect_err(text);
            assert!(error.contains("512K"), "{error}");
        }
    }

    #[cfg(feature = "quantizer")]
    #[test]
    fn sizes_of_files_are_decimal() {
        let good = [("1080K", 1_080_000), ("1.5 MB", 1_500_000), ("2g", 2_000_000_000), ("10", 10)];
        for (text, bytes) in good {
            assert_eq!(parse_file_size(text), Ok(bytes), "{text}");
        }
        for text in ["abc", "1080KiB", "-1", "0", ""] {
            let error = parse_file_size(text).expect_err(text);
            assert!(error.contains("1080K") && error.contains("1000"), "{error}");
        }
    }
}
