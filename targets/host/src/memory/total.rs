//! How much memory the machine has.

use std::fs;

/// Bytes of RAM that the process may have at most: the machine's, or what a control group leaves
/// of it. `None` where it is not known how to ask (anywhere but on Linux).
pub fn total_memory() -> Option<u64> {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return None;
    }
    let machine = of_machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
    // Inside of a container its own group is the root.
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = group.and_then(|limit| limit.trim().parse().ok());
    Some(limit.map_or(machine, |limit: u64| limit.min(machine)))
}

/// Reads the text of `/proc/meminfo`.
fn of_machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_system_says() {
        assert_eq!(of_machine("MemTotal:        3884096 kB\nMemFree: 1 kB\n"), Some(3884096 << 10));
        for other in ["", "MemFree: 1 kB\n", "MemTotal: 1 MB\n", "MemTotal: x kB\n"] {
            assert_eq!(of_machine(other), None, "{other:?}");
        }
        #[cfg(target_os = "linux")]
        assert!(total_memory().is_some_and(|bytes| bytes > 16 << 20));
    }
}
