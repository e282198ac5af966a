//! Sizes of memory, as the command line gives them.

/// Reads a size: bytes, or a number with K, M or G.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is not a size; give bytes, or a number with K, M or G (1024, 1024 K, \
             1024 M), such as 512K or 1.5G"
        )
    };
    let upper = text.trim().to_ascii_uppercase();
    let plain = upper.strip_suffix("IB").or(upper.strip_suffix('B')).unwrap_or(&upper);
    let (number, unit) = match plain.strip_suffix(['K', 'M', 'G']) {
        Some(number) if plain.ends_with('K') => (number, 1u64 << 10),
        Some(number) if plain.ends_with('M') => (number, 1 << 20),
        Some(number) => (number, 1 << 30),
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
}
