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
