//! A whole study of a small list: its tables to the last digit, and that it can be repeated, resumed and checked.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use study::{
    execute::ExecuteError,
    manifest::{Difference, digests},
    prices::{Cost, FixedPrice},
    row::Day,
    run::{Execution, Finished, Options, PriceFiles, Progress, StudyError, run, verify},
    tally::Mode,
};

/// Two hospitals in two months, and a row that nobody can read.
const LIST: &str = "\
Archive_Date,Group,Hospital_HIPE,Hospital,Specialty_HIPE1,Speciality,Adult_Child,Age_Profile,Time_Bands,Total
30/01/2020,North,0101,Alder,0601,Paediatric ENT,Child,0-15,15-18 Months,4
30/01/2020,North,0101,Alder,0601,Paediatric ENT,Child,0-15,18 Months +,20
30/01/2020,North,0101,Alder,0100,Cardiology,Adult,16-64,0-3 Months,2
30/01/2020,North,0101,Alder,0100,Cardiology,Adult,16-64,3-6 Months,1
30/01/2020,North,0101,Alder,0100,Cardiology,Adult,65+,0-3 Months,3
30/01/2020,North,0101,Alder,0100,Cardiology,Adult,65+,3-6 Months,1
30/01/2020,South,0202,Birch,0100,Cardiology,Adult,16-64,0-3 Months,5
30/01/2020,South,0202,Birch,0300,Dermatology,Adult,16-64,0-3 Months,2
30/01/2020,South,0202,Birch,0300,Dermatology,Adult,65+,6-9 Months,1
30/01/2020,South,0202,Birch,0300,\"Dermatology\",Child,0-15,0-3 Months,1
27/02/2020,North,0101,Alder,0601,Paediatric ENT,Child,0-15,18 Months +,9
27/02/2020,North,0101,Alder,0100,Cardiology,Adult,16-64,0-3 Months,2
27/02/2020,North,0101,Alder,0100,Cardiology,Adult,65+,0-3 Months,many
27/02/2020,North,0101,Alder,0100,Cardiology,Adult,65+,3-6 Months,1
27/02/2020,South,0202,Birch,0100,Cardiology,Adult,16-64,0-3 Months,2
27/02/2020,South,0202,Birch,0300,Dermatology,Adult,16-64,0-3 Months,2
27/02/2020,South,0202,Birch,0300,Dermatology,Adult,65+,6-9 Months,3
27/02/2020,South,0202,Birch,0300,Dermatology,Child,0-15,0-3 Months,1
";

/// January has prices of its own; February takes those of the day before, and the euro's of a week before.
const GAS: &str = "\
\"Date(UTC)\",\"UnixTimeStamp\",\"Value (Wei)\"
\"1/29/2020\",\"1580256000\",\"0\"
\"1/30/2020\",\"1580342400\",\"9020000000\"
\"2/26/2020\",\"1582675200\",\"12000000000\"
";
const ETHER: &str = "\
\"Date(UTC)\",\"UnixTimeStamp\",\"Value\"
\"1/30/2020\",\"1580342400\",\"184.69\"
\"2/26/2020\",\"1582675200\",\"225.68\"
";
const EURO: &str = "Date,USD,JPY,\n2020-02-20,1.0790,120.5,\n2020-01-30,1.1029,120.0,\n";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        for (name, text) in
            [("list.csv", LIST), ("gas.csv", GAS), ("ether.csv", ETHER), ("euro.csv", EURO)]
        {
            fs::write(place.path(name), text).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self) -> Options {
        Options {
            files: vec![self.path("list.csv")],
            daily: Some(PriceFiles {
                gas: self.path("gas.csv"),
                ether: self.path("ether.csv"),
                euro: Some(self.path("euro.csv")),
            }),
            fixed: FixedPrice::default(),
            modes: BTreeSet::from([Mode::Row, Mode::Patient, Mode::Batch]),
            every_patient: false,
            rows: None,
            seed: 1,
            strict: false,
            allow_overlap: false,
        }
    }

    fn run(&self, options: &Options, out: &str) -> Result<Finished, StudyError> {
        let out = self.path(out);
        run(options, &execution(&out, false, 2), &|_| ())
    }

    fn verify(&self, out: &str) -> Vec<Difference> {
        let scratch = self.path("scratch");
        verify(&self.path(out), &[], &execution(&scratch, false, 2), &|_| ()).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn execution(out: &Path, resume: bool, jobs: usize) -> Execution<'_> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Execution { out, resume, jobs, stop: &NEVER }
}

fn tables(out: &Path, names: &[&str]) -> String {
    let table = |name: &&str| {
        let text = fs::read_to_string(out.join(format!("tables/{name}.csv"))).unwrap();
        format!("== {name}\n{}", text.replace("\r\n", "\n"))
    };
    names.iter().map(table).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_tables_of_a_small_list() {
    let place = Place::new();
    place.run(&place.options(), "out").unwrap();
    let names =
        ["sources", "attributes", "head", "modes", "specialty", "hospital", "month", "days", "fit"];
    insta::assert_snapshot!("tables", tables(&place.path("out"), &names));
    assert_eq!(place.read("out/rejected.csv").lines().count(), 2);
}

#[test]
fn each_attribute_adds_up_to_the_whole() {
    let place = Place::new();
    let finished = place.run(&place.options(), "out").unwrap();
    assert_eq!(finished.results.modes.len(), 3);
    for (mode, done) in &finished.results.modes {
        let total = done.total;
        assert_eq!((total.sums.rows, total.sums.patients), (17, 60), "{mode:?}");
        for (dimension, lines) in &done.by {
            let rows: u64 = lines.values().map(|line| line.sums.rows).sum();
            let gas: u64 = lines.values().map(|line| line.sums.gas.total()).sum();
            assert_eq!((rows, gas), (17, total.sums.gas.total()), "{mode:?} {dimension:?}");
            let cost = lines.values().map(|line| line.on_day.unwrap());
            let cost = cost.fold(Cost::NOTHING, |sum, cost| sum + cost);
            assert_eq!(cost.wei, total.on_day.unwrap().wei, "{mode:?} {dimension:?}");
        }
    }
    let transactions = |mode| finished.results.modes[&mode].total.sums.transactions;
    assert_eq!(transactions(Mode::Row), 17);
    assert_eq!(transactions(Mode::Patient), 60);
    assert_eq!(transactions(Mode::Batch), 4);
}

#[test]
fn the_report_says_what_the_numbers_say() {
    let place = Place::new();
    place.run(&place.options(), "out").unwrap();
    let report = place.read("out/report.md");
    for sentence in [
        "17 rows of 1 file are used; they count 60 patients.",
        "1 row could not be read; `rejected.csv`",
        "27 February 2020: gas of 26 February 2020, ether of 26 February 2020 and the euro of 20 February 2020",
        "private chain, gas has no market price",
        "852,730",
    ] {
        assert!(report.contains(sentence), "no `{sentence}` in:\n{report}");
    }
    assert!(!report.contains("NaN") && !report.contains("inf"));
    let html = place.read("out/report.html");
    assert!(html.contains("<svg") && !html.contains("<script") && !html.contains("src=\"http"));
}

#[test]
fn without_prices_of_days_the_fixed_one_counts() {
    let place = Place::new();
    let options = Options { daily: None, modes: [Mode::Row].into(), ..place.options() };
    let finished = place.run(&options, "out").unwrap();
    assert!(finished.results.days.is_none());
    assert!(finished.results.modes[&Mode::Row].total.on_day.is_none());
    assert!(!place.path("out/tables/days.csv").exists());
    assert!(place.read("out/report.md").contains("There are no daily prices"));
}

#[test]
fn a_date_before_all_prices_has_none() {
    let place = Place::new();
    fs::write(place.path("gas.csv"), GAS.replace("1/30/2020", "1/31/2020")).unwrap();
    let options = Options { modes: [Mode::Row].into(), ..place.options() };
    let finished = place.run(&options, "out").unwrap();
    let done = &finished.results.modes[&Mode::Row];
    let has_price: Vec<bool> = done.dates.values().map(|line| line.on_day.is_some()).collect();
    assert_eq!((has_price, done.total.on_day), (vec![false, true], None));
    assert!(place.read("out/report.md").contains("There is no price on or before 30 January 2020"));
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let place = Place::new();
    let one = place.run(&place.options(), "one").unwrap();
    let out = place.path("two");
    let other = run(&place.options(), &execution(&out, false, 1), &|_| ()).unwrap();
    assert_eq!(one.manifest, other.manifest);
    assert!(one.manifest.outputs.len() > 20);
    let seeded = Options { seed: 2, ..place.options() };
    let seeded = place.run(&seeded, "seeded").unwrap();
    assert_ne!(one.manifest.chains, seeded.manifest.chains);
}

#[test]
fn a_stopped_study_goes_on_to_the_same_bytes() {
    let place = Place::new();
    let whole = place.run(&place.options(), "whole").unwrap();
    let out = place.path("stopped");
    let stop = AtomicBool::new(false);
    let ask = |progress| {
        let is_time = matches!(progress, Progress::Begins { mode: Mode::Patient, .. });
        stop.fetch_or(is_time, Ordering::Relaxed);
    };
    let execution = Execution { stop: &stop, ..execution(&out, false, 2) };
    let stopped = run(&place.options(), &execution, &ask);
    assert!(matches!(stopped, Err(StudyError::Execute(ExecuteError::Stopped))), "{stopped:?}");
    assert!(out.join("work").exists() && !out.join("manifest.json").exists());

    let other = Options { seed: 2, ..place.options() };
    let never = AtomicBool::new(false);
    let resumed = Execution { resume: true, stop: &never, ..execution };
    let refused = run(&other, &resumed, &|_| ());
    assert!(matches!(refused, Err(StudyError::OtherStudy(_))), "{refused:?}");

    let went_on = run(&place.options(), &resumed, &|_| ()).unwrap();
    assert_eq!(went_on.manifest, whole.manifest);
    assert!(!out.join("work").exists());
    let again = run(&place.options(), &resumed, &|_| ());
    assert!(matches!(again, Err(StudyError::NothingToResume(_))), "{again:?}");
}

#[test]
fn a_study_that_nobody_touched_is_verified() {
    let place = Place::new();
    place.run(&place.options(), "out").unwrap();
    assert_eq!(place.verify("out"), []);
    assert!(!place.path("scratch").exists());
}

#[test]
fn an_altered_table_is_found() {
    let place = Place::new();
    place.run(&place.options(), "out").unwrap();
    let table = place.path("out/tables/specialty.csv");
    fs::write(&table, fs::read_to_string(&table).unwrap().replace("Cardiology", "Kardiology"))
        .unwrap();
    fs::write(place.path("out/tables/more.csv"), "").unwrap();
    fs::remove_file(place.path("out/report.md")).unwrap();
    let expected = [
        Difference::Missing("report.md".into()),
        Difference::Altered("tables/specialty.csv".into()),
        Difference::Unknown("tables/more.csv".into()),
    ];
    assert_eq!(place.verify("out"), expected);
}

#[test]
fn a_table_altered_with_its_manifest_is_found() {
    let place = Place::new();
    place.run(&place.options(), "out").unwrap();
    let table = place.path("out/tables/specialty.csv");
    let digest =
        |place: &Place| digests(&place.path("out")).unwrap()["tables/specialty.csv"].to_string();
    let was = digest(&place);
    fs::write(&table, fs::read_to_string(&table).unwrap().replace("Cardiology", "Kardiology"))
        .unwrap();
    let manifest = place.read("out/manifest.json").replace(&was, &digest(&place));
    fs::write(place.path("out/manifest.json"), manifest).unwrap();
    assert_eq!(place.verify("out"), [Difference::NotRepeated("tables/specialty.csv".into())]);
}

#[test]
fn another_list_under_the_same_name_is_found() {
    let place = Place::new();
    place.run(&place.options(), "out").unwrap();
    fs::write(place.path("list.csv"), LIST.replace("Months,5", "Months,6")).unwrap();
    let found = place.verify("out");
    assert!(found.contains(&Difference::Input("list.csv (waiting list)".into())), "{found:?}");
    assert!(
        found.iter().any(|found| matches!(found, Difference::Chain { mode: Mode::Row, .. })),
        "{found:?}"
    );
    assert!(found.contains(&Difference::NotRepeated("tables/modes.csv".into())), "{found:?}");
}

#[test]
fn a_folder_with_anything_else_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.path("mine")).unwrap();
    fs::write(place.path("mine/diary.txt"), "dear diary").unwrap();
    let refused = place.run(&place.options(), "mine");
    assert!(matches!(refused, Err(StudyError::NotOurs(_))), "{refused:?}");
    assert_eq!(fs::read_dir(place.path("mine")).unwrap().count(), 1);
}

#[test]
fn an_earlier_study_is_replaced() {
    let place = Place::new();
    place.run(&place.options(), "out").unwrap();
    let options = Options { daily: None, modes: [Mode::Row].into(), ..place.options() };
    let finished = place.run(&options, "out").unwrap();
    assert!(!place.path("out/tables/days.csv").exists());
    assert_eq!(finished.manifest.outputs, digests(&place.path("out")).unwrap());
}

#[test]
fn more_rows_than_there_are_go_through_the_dates_again() {
    let place = Place::new();
    let options = Options { rows: Some(40), modes: [Mode::Row].into(), ..place.options() };
    let finished = place.run(&options, "out").unwrap();
    assert_eq!(finished.results.modes[&Mode::Row].total.sums.rows, 40);
    assert_eq!(finished.results.dataset.rounds, 3);
    assert!(place.read("out/report.md").contains("gone through 3 times"));
}

#[test]
fn a_list_is_made_up_where_there_is_none() {
    let place = Place::new();
    let options = Options {
        files: Vec::new(),
        daily: None,
        rows: Some(200),
        modes: [Mode::Row, Mode::Batch].into(),
        ..place.options()
    };
    let finished = place.run(&options, "out").unwrap();
    assert!(finished.results.dataset.synthetic);
    assert_eq!(finished.results.modes[&Mode::Row].total.sums.rows, 200);
    assert!(place.read("out/report.md").contains("**The list is made up**"));
    assert!(place.path("out/synthetic.csv").exists());
}

#[test]
fn more_than_a_million_patients_are_cut_to_one_month_and_told() {
    let place = Place::new();
    fs::write(place.path("list.csv"), LIST.replace("18 Months +,9", "18 Months +,1000000"))
        .unwrap();
    let told = Mutex::new(Vec::new());
    let (out, options) = (place.path("out"), place.options());
    let finished =
        run(&options, &execution(&out, false, 2), &|progress| told.lock().unwrap().push(progress));
    let date = Day { year: 2020, month: 1, day: 30 };
    let expected = Progress::PatientsOnlyOf { date, patients: 40, of: 1_000_051 };
    assert!(told.into_inner().unwrap().contains(&expected));
    let results = finished.unwrap().results;
    assert_eq!(results.modes[&Mode::Patient].total.sums.transactions, 40);
    assert_eq!(results.compared.dates, [date]);
    let report = place.read("out/report.md");
    assert!(report.contains("Patient mode was run for the rows of 30 January 2020 only"));
    assert!(report.contains("The same rows in each mode: the rows of 30 January 2020."));
}
