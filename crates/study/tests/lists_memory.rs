//! Reading ten times as many rows takes no more than half as much memory again. Alone in its process, whose largest
//! size so far is what Linux tells.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path};

use study::lists::{Lists, Options};

/// In KiB; nothing elsewhere than on Linux.
fn largest_size() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn read_all(folder: &Path, rows: u64) {
    let (work, rejected) = (folder.join("work"), folder.join("rejected.csv"));
    let options = Options { work: &work, rejected: &rejected, strict: true, allow_overlap: false };
    let lists = Lists::synthetic(1, rows, &folder.join("synthetic.csv"), options).unwrap();
    let read: usize = lists.segments().map(|segment| segment.unwrap().1.len()).sum();
    assert_eq!(read as u64, rows);
}

#[test]
fn ten_times_the_rows_take_no_more_than_half_as_much_memory_again() {
    let folder = tempfile::tempdir().unwrap();
    let rows = 20_000;
    read_all(folder.path(), rows);
    let Some(small) = largest_size() else {
        println!("SKIPPED: only Linux tells a process its largest size");
        return;
    };
    read_all(folder.path(), 10 * rows);
    let large = largest_size().unwrap();
    println!("{small} KiB for {rows} rows, {large} KiB for ten times as many");
    assert!(large * 2 <= small * 3, "{small} KiB, then {large} KiB");
}
