//! What a system leaves of its RAM for a model.

/// Bytes of `ram` that an operating system and its services keep beside a model: an eighth, and
/// no less than 128 MB.
///
/// An assumption. Of a Raspberry Pi's RAM firmware and kernel take 4 to 17 % before anything runs,
/// and a system without a desktop keeps 100 to 250 MB from there on.
pub(crate) fn system_share(ram: u64) -> u64 {
    (ram / 8).max(128 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_system_keeps_more() {
        assert_eq!(system_share(512 << 20), 128 << 20);
        assert_eq!(system_share(8 << 30), 1 << 30);
    }
}
