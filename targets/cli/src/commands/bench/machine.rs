//! The machine that a record is of: its name, processor, clock, and what holds it back.
//!
//! All of it is read from files of Linux, whose paths and units its documentation of `/sys` and
//! `/proc` gives; what a machine does not tell is `None`, as everything is on other systems.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What `get_throttled` of a Raspberry Pi's firmware says, by bit; the same 16 bits higher say
/// that it was so since the start (raspberrypi.com/documentation, "vcgencmd").
const PI_LIMITS: [&str; 4] = ["under-voltage", "frequency capped", "throttled", "soft heat limit"];

/// Cores of 64-bit ARM boards, by implementer and part of their `MIDR_EL1`: the system names none.
const ARM_CORES: [(&str, &str, &str); 13] = [
    ("0x41", "0xd03", "Cortex-A53"),
    ("0x41", "0xd04", "Cortex-A35"),
    ("0x41", "0xd05", "Cortex-A55"),
    ("0x41", "0xd07", "Cortex-A57"),
    ("0x41", "0xd08", "Cortex-A72"),
    ("0x41", "0xd09", "Cortex-A73"),
    ("0x41", "0xd0a", "Cortex-A75"),
    ("0x41", "0xd0b", "Cortex-A76"),
    ("0x41", "0xd0c", "Neoverse N1"),
    ("0x41", "0xd41", "Cortex-A78"),
    ("0x41", "0xd42", "Cortex-A78AE"),
    ("0x41", "0xd46", "Cortex-A510"),
    ("0x41", "0xd80", "Cortex-A520"),
];

/// Where Linux tells about the machine: `/`, or a folder like it in tests.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

/// What does not change while the machine runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct About {
    /// The board or computer, as its maker wrote it.
    pub(super) board: Option<String>,
    /// Kinds of core, the numbers of each in brackets.
    pub(super) cpu: Option<String>,
    pub(super) arch: &'static str,
    /// Such as `linux 6.6.31+rpt-rpi-v8`.
    pub(super) system: String,
    /// Bytes.
    pub(super) memory: Option<u64>,
    /// The highest clock of any core.
    pub(super) max_mhz: Option<f64>,
    /// What chooses the clock.
    pub(super) governor: Option<String>,
}

impl Machine {
    pub(super) fn this() -> Self {
        Self { root: PathBuf::from("/") }
    }

    pub(super) fn about(&self) -> About {
        let release = self.read("proc/sys/kernel/osrelease").unwrap_or_default();
        About {
            board: self.board(),
            cpu: self.cpu(),
            arch: std::env::consts::ARCH,
            system: format!("{} {release}", std::env::consts::OS).trim_end().to_owned(),
            memory: kinglet_host::total_memory(),
            max_mhz: self.highest("cpufreq/cpuinfo_max_freq"),
            governor: self.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        }
    }

    /// The clock of the fastest core now, in MHz.
    pub(super) fn clock(&self) -> Option<f64> {
        self.highest("cpufreq/scaling_cur_freq").or_else(|| {
            let clocks = self.of_cpus("cpu MHz");
            clocks.iter().filter_map(|clock| clock.parse().ok()).max_by(f64::total_cmp)
        })
    }

    /// The hottest place that is measured, in degrees Celsius.
    pub(super) fn temperature(&self) -> Option<f64> {
        let zones = self.folder("sys/class/thermal", "thermal_zone");
        let heat = zones.iter().filter_map(|zone| self.number(&zone.join("temp")));
        heat.max_by(f64::total_cmp).map(|millidegrees| millidegrees / 1e3)
    }

    /// What holds the clock back now or did since the start; `None` where nothing tells.
    pub(super) fn limits(&self) -> Option<BTreeSet<String>> {
        let pi = self.read("sys/devices/platform/soc/soc:firmware/get_throttled");
        let pi = pi.and_then(|hex| u32::from_str_radix(hex.trim_start_matches("0x"), 16).ok());
        let coolers = self.folder("sys/class/thermal", "cooling_device");
        // Fans are none: what slows the processor has `cpufreq` or `Processor` in its name.
        let slowing = coolers.iter().filter(|cooler| {
            let kind = self.read_path(&cooler.join("type")).unwrap_or_default();
            kind.contains("cpufreq") || kind == "Processor"
        });
        let states: Vec<f64> =
            slowing.filter_map(|cooler| self.number(&cooler.join("cur_state"))).collect();
        if pi.is_none() && states.is_empty() {
            return None;
        }
        let mut limits = BTreeSet::new();
        for (bit, limit) in PI_LIMITS.into_iter().enumerate() {
            let bits = pi.unwrap_or(0) >> bit;
            if bits & 1 != 0 {
                limits.insert(limit.to_owned());
            } else if bits & 1 << 16 != 0 {
                limits.insert(format!("{limit} since the start"));
            }
        }
        if states.iter().any(|&state| state > 0.0) {
            limits.insert("clock lowered for heat".to_owned());
        }
        Some(limits)
    }

    fn board(&self) -> Option<String> {
        let tree = ["proc/device-tree/model", "sys/firmware/devicetree/base/model"];
        let dmi = |name: &str| self.read(&format!("sys/class/dmi/id/{name}"));
        tree.iter().find_map(|path| self.read(path)).or_else(|| {
            let name = dmi("product_name")?;
            Some(match dmi("sys_vendor") {
                Some(vendor) if !name.starts_with(&vendor) => format!("{vendor} {name}"),
                _ => name,
            })
        })
    }

    fn cpu(&self) -> Option<String> {
        let mut names = self.of_cpus("model name");
        if names.is_empty() {
            let (makers, parts) = (self.of_cpus("CPU implementer"), self.of_cpus("CPU part"));
            names = makers.iter().zip(&parts).map(|(maker, part)| arm_core(maker, part)).collect();
        }
        let mut kinds: Vec<(String, usize)> = Vec::new();
        for name in names {
            match kinds.iter_mut().find(|(kind, _)| *kind == name) {
                Some((_, count)) => *count += 1,
                None => kinds.push((name, 1)),
            }
        }
        let kinds: Vec<_> = kinds.iter().map(|(kind, n)| format!("{kind} ({n})")).collect();
        (!kinds.is_empty()).then(|| kinds.join(", "))
    }

    /// The values of a key in `/proc/cpuinfo`, one of each processor.
    fn of_cpus(&self, key: &str) -> Vec<String> {
        let text = self.read("proc/cpuinfo").unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let values = lines.filter(|(name, _)| name.trim() == key);
        values.map(|(_, value)| value.trim().to_owned()).collect()
    }

    /// The highest value of a file of each core, which gives kHz, in MHz.
    fn highest(&self, file: &str) -> Option<f64> {
        let cores = self.folder("sys/devices/system/cpu", "cpu");
        let clocks = cores.iter().filter_map(|core| self.number(&core.join(file)));
        clocks.max_by(f64::total_cmp).map(|khz| khz / 1e3)
    }

    /// The entries of a folder whose names are `prefix` and a number.
    fn folder(&self, folder: &str, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten();
        let numbered = entries.filter(|entry| {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        });
        numbered.map(|entry| entry.path()).collect()
    }

    fn number(&self, path: &Path) -> Option<f64> {
        self.read_path(path)?.parse().ok()
    }

    fn read(&self, path: &str) -> Option<String> {
        self.read_path(&self.root.join(path))
    }

    /// A file's text without space at its ends, or the NUL with which a device tree ends one;
    /// `None` where that is nothing.
    fn read_path(&self, path: &Path) -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }
}

fn arm_core(implementer: &str, part: &str) -> String {
    let known = ARM_CORES.iter().find(|(i, p, _)| (*i, *p) == (implementer, part));
    known.map_or_else(
        || format!("ARM core {part} of {implementer}"),
        |(_, _, name)| (*name).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose files are these.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine { root: root.path().to_owned() };
        (root, machine)
    }

    const PI_CPU: &str = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n\
                          processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n";

    #[test]
    fn a_raspberry_pi_tells_its_name_and_what_holds_it_back() {
        let (_root, pi) = machine(&[
            ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
            ("proc/cpuinfo", PI_CPU),
            ("proc/sys/kernel/osrelease", "6.6.31+rpt-rpi-2712\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "2400000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "1800000\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "9\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand\n"),
            ("sys/class/thermal/thermal_zone0/temp", "61500\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
        ]);
        let about = pi.about();
        assert_eq!(about.board.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        assert_eq!(about.cpu.as_deref(), Some("Cortex-A76 (2)"));
        assert!(about.system.ends_with(" 6.6.31+rpt-rpi-2712"), "{}", about.system);
        assert_eq!(about.max_mhz, Some(2400.0));
        assert_eq!(about.governor.as_deref(), Some("ondemand"));
        assert_eq!((pi.clock(), pi.temperature()), (Some(1800.0), Some(61.5)));
        let limits: Vec<_> = pi.limits().unwrap().into_iter().collect();
        assert_eq!(limits, ["throttled", "under-voltage"]);
        fs::write(pi.root.join("sys/devices/platform/soc/soc:firmware/get_throttled"), "0x80000\n")
            .unwrap();
        let limits: Vec<_> = pi.limits().unwrap().into_iter().collect();
        assert_eq!(limits, ["soft heat limit since the start"]);
    }

    #[test]
    fn a_computer_tells_by_other_files() {
        let (_root, laptop) = machine(&[
            ("sys/class/dmi/id/sys_vendor", "LENOVO\n"),
            ("sys/class/dmi/id/product_name", "21HM\n"),
            ("proc/cpuinfo", "model name : A Core 7\ncpu MHz : 1200.5\n\nmodel name : A Core 7\n"),
            ("sys/class/thermal/cooling_device0/type", "Processor\n"),
            ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
            ("sys/class/thermal/cooling_device1/type", "Fan\n"),
            ("sys/class/thermal/cooling_device1/cur_state", "1\n"),
        ]);
        let about = laptop.about();
        assert_eq!(about.board.as_deref(), Some("LENOVO 21HM"));
        assert_eq!(about.cpu.as_deref(), Some("A Core 7 (2)"));
        assert_eq!(laptop.clock(), Some(1200.5));
        assert_eq!(laptop.limits(), Some(BTreeSet::new()), "a fan slows nothing");
        fs::write(laptop.root.join("sys/class/thermal/cooling_device0/cur_state"), "2").unwrap();
        assert!(laptop.limits().unwrap().contains("clock lowered for heat"));
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        let (_root, nothing) = machine(&[("proc/device-tree/model", "\0\n")]);
        let about = nothing.about();
        assert_eq!((about.board, about.cpu, about.max_mhz), (None, None, None));
        assert_eq!((nothing.clock(), nothing.temperature()), (None, None));
        assert_eq!(nothing.limits(), None);
        let (_root, odd) = machine(&[
            ("proc/cpuinfo", "CPU implementer : 0x61\nCPU part : 0x022\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "not hex"),
        ]);
        assert_eq!(odd.about().cpu.as_deref(), Some("ARM core 0x022 of 0x61 (1)"));
        assert_eq!(odd.limits(), None);
    }
}
