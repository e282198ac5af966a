//! How much memory the process has.

use std::fs;

/// Resident memory of the process, in bytes: pages of the model's file that are
/// mapped and in memory count as much as its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidentMemory {
    /// Now.
    pub current: u64,
    /// The most there ever was.
    pub peak: u64,
}

impl ResidentMemory {
    /// The figures of the operating system; `None` where it is not known how to ask
    /// (anywhere but on Linux).
    pub fn now() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        Self::parse(&fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Reads the text of `/proc/self/status`.
    fn parse(status: &str) -> Option<Self> {
        let bytes = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Self { current: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status() {
        let status = "Name:\tkinglet\nVmHWM:\t    2048 kB\nVmRSS:\t     1024 kB\nRssAnon:\t 8 kB\n";
        let memory = ResidentMemory::parse(status).unwrap();
        assert_eq!((memory.current, memory.peak), (1 << 20, 2 << 20));
        assert_eq!(ResidentMemory::parse("VmRSS:\t1 kB\n"), None);
        assert_eq!(ResidentMemory::parse("VmRSS:\t1 MB\nVmHWM:\t1 kB\n"), None);
    }
}
