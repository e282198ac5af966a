//! How many threads are worth having.

use std::collections::HashSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::thread;

/// The number of physical cores that the process may use, at least 1.
///
/// Two hardware threads of a core share its arithmetic units and its way to
/// memory, so a second one adds waiting, not speed.
///
/// It is what [`thread::available_parallelism`] says, which sees the affinity
/// mask and the quota of control groups, and on Linux at most the number of
/// different cores among the processors of the affinity mask. Elsewhere, and
/// where `/sys` does not tell, hardware threads count as cores.
pub fn default_threads() -> usize {
    let available = thread::available_parallelism().map_or(1, usize::from);
    allowed_cores().map_or(available, |cores| cores.clamp(1, available))
}

fn allowed_cores() -> Option<usize> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    cores(&cpu_list(allowed)?, Path::new("/sys/devices/system/cpu"))
}

/// Number of different cores among `cpus`, by the description in `directory`.
fn cores(cpus: &[RangeInclusive<u32>], directory: &Path) -> Option<usize> {
    let mut cores = HashSet::new();
    for cpu in cpus.iter().cloned().flatten() {
        let topology = directory.join(format!("cpu{cpu}/topology"));
        // `thread_siblings_list` is the older name of the same file.
        let siblings = fs::read_to_string(topology.join("core_cpus_list"))
            .or_else(|_| fs::read_to_string(topology.join("thread_siblings_list")))
            .ok()?;
        cores.insert(siblings);
    }
    Some(cores.len())
}

/// A list of processors as Linux writes it: `0-3,8,10-11`.
fn cpu_list(list: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/sys/devices/system/cpu` where processors with the same siblings share a core.
    fn describe(siblings: &[&str], file: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (cpu, siblings) in siblings.iter().enumerate() {
            let topology = directory.path().join(format!("cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join(file), format!("{siblings}\n")).unwrap();
        }
        directory
    }

    #[test]
    fn siblings_count_once() {
        for file in ["core_cpus_list", "thread_siblings_list"] {
            let machine = describe(&["0,4", "1,5", "2,6", "3", "0,4", "1,5", "2,6"], file);
            let cores = |list| cores(&cpu_list(list).unwrap(), machine.path());
            assert_eq!(cores("0-6"), Some(4));
            assert_eq!(cores("0,4\n"), Some(1));
            assert_eq!(cores("1-3,5"), Some(3));
            assert_eq!(cores("6-7"), None, "processor 7 is not described");
        }
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!(cpu_list("\t0-3,8,10-11\n"), Some(vec![0..=3, 8..=8, 10..=11]));
        for bad in ["", "a", "1-", "1-2-3", "1,,2"] {
            assert_eq!(cpu_list(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn no_more_than_available() {
        let available = thread::available_parallelism().map_or(1, usize::from);
        assert!((1..=available).contains(&default_threads()));
    }
}
