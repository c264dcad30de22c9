//! What Linux tells of this process and of the machine.

use std::fs;

/// A line of `/proc/…` that gives kilobytes, in MB.
pub(crate) fn megabytes_in(file: &str, line: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap();
    let found = text.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1_024.0 / 1e6
}

/// What this process had of the processor.
///
/// # Source
///
/// proc(5): fields 14 and 15 of `stat`, in ticks, of which Linux tells programs a hundred a second.
pub(crate) fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}
