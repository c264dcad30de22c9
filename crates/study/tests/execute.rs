//! Rows of made-up lists are executed, stopped, resumed, shared between threads and proven.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use common::{Made, row};
use study::{
    execute::{ExecuteError, Options, execute, proofs::prove},
    lists::{self, Lists},
    row::Day,
    tally::{Dimension, Gas, Mode, Segment, Sums},
    workload::pending,
};

const SEED: u64 = 7;

fn options<'a>(mode: Mode, dir: &'a Path, stop: &'a AtomicBool) -> Options<'a> {
    let proofs = None;
    Options { mode, seed: SEED, rows: None, jobs: 2, segments: dir, proofs, stop }
}

fn run(source: &Made, options: &Options<'_>) -> Vec<Segment> {
    let mut segments = Vec::new();
    execute(source, options, &|_| (), &|_| (), &mut |segment| segments.push(segment)).unwrap();
    segments
}

fn run_in(source: &Made, mode: Mode, change: impl FnOnce(&mut Options<'_>)) -> Vec<Segment> {
    let (dir, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    let mut options = options(mode, dir.path(), &stop);
    change(&mut options);
    run(source, &options)
}

fn total(segments: &[Segment]) -> Sums {
    let mut total = Sums::default();
    segments.iter().for_each(|segment| total += segment.total);
    total
}

/// All finished segments as they lie on the disk.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn row_costs_what_its_class_costs() {
    // The first census of a hospital and month sets a slot that was zero; each later one changes it.
    let rows =
        ["0-3 Months", "3-6 Months", "6-9 Months"].map(|band| row(1, Some("0600"), band, 604));
    let segments = run_in(&Made::of(rows.to_vec()), Mode::Row, |_| ());
    let bands = &segments[0].by[&Dimension::Band];
    let execution = |band: &str| bands[band].gas.execution;
    assert_eq!(execution("0-3 Months"), execution("3-6 Months") + 17_100);
    assert_eq!(execution("3-6 Months"), execution("6-9 Months"));
    assert_eq!(execution("3-6 Months"), 60_367);
    for band in bands.values() {
        assert_eq!((band.rows, band.transactions, band.patients), (1, 1, 604));
        assert_eq!(band.gas.intrinsic, 21_000);
    }
}

/// The paper's list, each row of which the contract takes for the same gas, but for the first of each hospital.
#[test]
fn january_2020_costs_its_classes_exactly() {
    let file = "../../../shared/data/ntpf/OP Waiting List By Group Hospital 2020 (Jan only).csv.xz";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if !file.exists() {
        println!("SKIPPED: ../shared/data is not there");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (work, rejected) = (dir.path().join("rows"), dir.path().join("rejected.csv"));
    let how =
        lists::Options { work: &work, rejected: &rejected, strict: true, allow_overlap: false };
    let lists = Lists::gather(&[file], how).unwrap();
    let made = Made::of(lists.rows(Day { year: 2020, month: 1, day: 30 }).unwrap());
    let hospitals: BTreeSet<_> = made.all().map(|row| row.hospital.clone()).collect();
    let sums = total(&run_in(&made, Mode::Row, |_| ()));
    assert_eq!((sums.rows, sums.patients, sums.transactions), (6_706, 556_770, 6_706));
    assert_eq!(sums.gas.intrinsic, 6_706 * 21_000);
    assert_eq!(sums.gas.execution, 6_706 * 60_367 + hospitals.len() as u64 * 17_100);

    let first = run_in(&made, Mode::Row, |options| options.rows = Some(3));
    let hospitals: BTreeSet<_> = made.all().take(3).map(|row| row.hospital.clone()).collect();
    let expected = 3 * 60_367 + hospitals.len() as u64 * 17_100;
    assert_eq!(total(&first).gas.execution, expected);
}

#[test]
fn census_costs_38_gas_less_from_march_on() {
    let of = |month| total(&run_in(&Made::of(vec![row(month, None, "a", 1)]), Mode::Row, |_| ()));
    assert_eq!(of(1).gas.execution - of(4).gas.execution, 38);
    assert_eq!(of(4).gas.execution, of(11).gas.execution);
}

#[test]
fn sums_of_each_attribute_are_the_total() {
    for mode in [Mode::Row, Mode::Patient, Mode::Batch] {
        let segments = run_in(&Made::new(2, 30), mode, |_| ());
        for segment in &segments {
            assert_eq!(segment.by.len(), 7);
            for values in segment.by.values() {
                let mut sum = Sums::default();
                values.values().for_each(|sums| sum += *sums);
                assert_eq!(sum, segment.total, "{mode:?}");
            }
            assert!(segment.setup.gas.total() > 0 && segment.setup.rows == 0);
        }
        let (made, sums) = (Made::new(2, 30), total(&segments));
        assert_eq!((sums.rows, sums.patients), (60, made.patients()));
        let transactions = match mode {
            Mode::Row => 60,
            Mode::Patient => made.patients(),
            // Three hospitals and the rows without one, on two dates.
            Mode::Batch => 8,
        };
        assert_eq!(sums.transactions, transactions, "{mode:?}");
    }
}

#[test]
fn replayed_rows_cost_the_same_again() {
    let made = Made::new(2, 20);
    let once = total(&run_in(&made, Mode::Row, |_| ()));
    let twice = run_in(&made, Mode::Row, |options| options.rows = Some(80));
    assert_eq!(twice.iter().map(|segment| segment.replay).collect::<Vec<_>>(), [0, 0, 1, 1]);
    let mut double = once;
    double += once;
    assert_eq!(total(&twice), double);
    let some = run_in(&made, Mode::Row, |options| options.rows = Some(47));
    assert_eq!(total(&some).rows, 47);
}

#[test]
fn threads_and_interruptions_change_no_byte() {
    for mode in [Mode::Row, Mode::Patient, Mode::Batch] {
        let made = Made::new(3, 12);
        let finished = |jobs: usize, stop_after: Option<u64>| {
            let (dir, trees) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let (stop, seen) = (AtomicBool::new(false), AtomicU64::new(0));
            let mut options = options(mode, dir.path(), &stop);
            options.jobs = jobs;
            options.proofs = (mode == Mode::Batch).then_some(trees.path());
            if let Some(most) = stop_after {
                let done = |more| {
                    let before = seen.fetch_add(more, Ordering::SeqCst);
                    stop.store(before + more >= most, Ordering::SeqCst);
                };
                let stopped = execute(&made, &options, &|_| (), &done, &mut |_| ());
                assert!(matches!(stopped, Err(ExecuteError::Stopped)), "{mode:?}");
                let kept = files(dir.path());
                assert!((1..3).contains(&kept.len()), "{mode:?}: {:?}", kept.keys());
                stop.store(false, Ordering::SeqCst);
            }
            let left = AtomicU64::new(0);
            let begins = |size| left.store(size, Ordering::SeqCst);
            execute(&made, &options, &begins, &|_| (), &mut |_| ()).unwrap();
            (files(dir.path()), files(trees.path()), left.into_inner())
        };
        let (whole, trees, size) = finished(1, None);
        assert_eq!(whole.len(), 3);
        assert_eq!(finished(2, None), (whole.clone(), trees.clone(), size));
        let (resumed, resumed_trees, left) = finished(1, Some(1));
        assert_eq!((resumed, resumed_trees), (whole, trees), "{mode:?}");
        assert!(left < size);
    }
}

#[test]
fn half_written_and_foreign_segments_are_made_again() {
    let (dir, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    let made = Made::new(2, 5);
    let options = options(Mode::Row, dir.path(), &stop);
    run(&made, &options);
    let whole = files(dir.path());
    let (name, bytes) = whole.first_key_value().unwrap();
    fs::write(dir.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
    run(&made, &options);
    assert_eq!(files(dir.path()), whole);
    // Another seed is other work, whatever lies there.
    run(&made, &Options { seed: SEED + 1, ..options });
    assert!(files(dir.path()).iter().all(|(name, bytes)| whole[name] != *bytes));
}

#[test]
fn referrals_cost_the_same_wherever_a_date_is_cut() {
    // One date with more referrals than one chain takes, and the same rows as two dates' worth of fewer.
    let made = Made::of((0..3).map(|n| row(1, Some("0600"), &format!("{n}"), 8_000)).collect());
    let segments = run_in(&made, Mode::Patient, |_| ());
    let sizes: Vec<_> = segments.iter().map(|one| (one.part, one.total.transactions)).collect();
    assert_eq!(sizes, [(0, 20_000), (1, 4_000)]);
    let sums = total(&segments);
    assert_eq!((sums.rows, sums.patients, sums.transactions), (3, 24_000, 24_000));
    assert_eq!(segments.iter().map(|one| one.total.rows).collect::<Vec<_>>(), [3, 0]);
    // But for zeros in addresses and digests, each is the same.
    let execution = |segment: &Segment| segment.total.gas.execution / segment.total.transactions;
    assert_eq!(execution(&segments[0]), execution(&segments[1]));
}

#[test]
fn rows_without_patients_refer_nobody_and_are_counted() {
    let rows = [0, 3, 0].into_iter().enumerate();
    let rows = rows.map(|(n, patients)| row(1, None, &format!("{n}"), patients)).collect();
    let sums = total(&run_in(&Made::of(rows), Mode::Patient, |_| ()));
    assert_eq!((sums.rows, sums.patients, sums.transactions), (3, 3, 3));
    let nobody = Made::of(vec![row(1, None, "a", 0)]);
    let sums = total(&run_in(&nobody, Mode::Patient, |_| ()));
    assert_eq!((sums.rows, sums.transactions, sums.gas), (1, 0, Gas::default()));
}

#[test]
fn every_row_is_proven_and_no_altered_one() {
    let trees = tempfile::tempdir().unwrap();
    let made = Made::new(2, 25);
    let (dir, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    let options = options(Mode::Batch, dir.path(), &stop);
    run(&made, &Options { proofs: Some(trees.path()), ..options });
    for row in made.all() {
        let found = prove(trees.path(), row).unwrap();
        let same = made.all().filter(|other| *other == row).count();
        assert_eq!(found.len(), same);
        assert!(found.iter().all(|proof| proof.proves(row)));
        let mut altered = row.clone();
        altered.patients += 1;
        assert!(!found[0].proves(&altered));
        let mut elsewhere = row.clone();
        elsewhere.hospital = None;
        assert!(row.hospital.is_none() || !found[0].proves(&elsewhere));
    }
    let mut unknown = made.all().next().unwrap().clone();
    unknown.patients += 1_000_000;
    assert!(prove(trees.path(), &unknown).unwrap().is_empty());
    unknown.date = Day { year: 1999, month: 1, day: 1 };
    prove(trees.path(), &unknown).unwrap_err();

    // A file that was touched is not believed.
    let path = fs::read_dir(trees.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(made.all().any(|row| prove(trees.path(), row).is_err()));
}

#[test]
fn batch_shares_what_is_little_for_each_row() {
    let made = Made::new(1, 100);
    let batch = total(&run_in(&made, Mode::Batch, |_| ()));
    let rows = total(&run_in(&made, Mode::Row, |_| ()));
    assert_eq!((batch.rows, batch.patients), (rows.rows, rows.patients));
    assert!(batch.gas.total() * 10 < rows.gas.total());
}

#[test]
fn row_that_the_contract_refuses_stops_the_study_and_is_named_without_a_file() {
    let (dir, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    // The contract knows no month before 1970.
    let mut rows = vec![row(1, None, "a", 1)];
    rows[0].date.year = 1960;
    let options = options(Mode::Row, dir.path(), &stop);
    let refused = execute(&Made::of(rows), &options, &|_| (), &|_| (), &mut |_| ()).unwrap_err();
    let told = refused.to_string();
    assert_eq!(
        told,
        "the transaction for row 1 of 1960-01-30 was refused: the contract refused it"
    );
    assert!(files_are_gone(dir.path()));
}

fn files_are_gone(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn transactions_before_a_block_takes_them_are_shown_decoded() {
    let made = Made::new(1, 30);
    for (mode, function) in
        [(Mode::Row, "publishCensus"), (Mode::Patient, "list"), (Mode::Batch, "publishCensus")]
    {
        let shown = pending(&made, mode, SEED).unwrap();
        assert!(!shown.is_empty());
        assert_eq!(shown, pending(&made, mode, SEED).unwrap());
        for one in &shown {
            assert_eq!((&*one.contract, &*one.verdict), ("WaitingLists", "would succeed"));
            assert!(one.call.starts_with(function), "{}", one.call);
            let who = if mode == Mode::Patient { "physician of practice" } else { "" };
            assert!(one.sender.starts_with(who), "{}", one.sender);
            assert!(one.gas_limit > 21_000 && one.calldata_bytes == 164);
        }
    }
}
