//! Files as published, and as they should not be: what is used of them, and why not what is not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use study::{
    lists::{ListError, Lists, Options, SYNTHETIC_ROWS},
    results::Source,
    row::Day,
};
use tempfile::TempDir;

const HOSPITALS: &str = "Archive_Date,Group,Hospital_HIPE,Hospital,Specialty_HIPE,Speciality,Adult_Child,\
                         Age_Profile,Time_Bands,Total\n";
const NATIONAL: &str =
    "Archive_Date,Specialty_HIPE,Speciality,Adult_Child,Age_Profile,Time_Bands,Total\n";

/// Files in a folder of their own.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn gather_with(
        &self,
        files: &[PathBuf],
        change: impl FnOnce(&mut Options<'_>),
    ) -> Result<Lists, ListError> {
        let (work, rejected) = (self.path("work"), self.path("rejected.csv"));
        let mut options =
            Options { work: &work, rejected: &rejected, strict: false, allow_overlap: false };
        change(&mut options);
        Lists::gather(files, options)
    }

    fn gather(&self, files: &[PathBuf]) -> Result<Lists, ListError> {
        self.gather_with(files, |_| {})
    }

    fn rejected(&self) -> String {
        fs::read_to_string(self.path("rejected.csv")).unwrap()
    }
}

fn day(year: u16, month: u8, day: u8) -> Day {
    Day { year, month, day }
}

/// Rows read, used, set aside, rejected.
fn counts(source: &Source) -> (u64, u64, u64, u64) {
    (source.rows_read, source.rows_used, source.rows_set_aside, source.rows_rejected)
}

fn totals(lists: &Lists) -> (u64, u64) {
    lists.dates().fold((0, 0), |(rows, people), (_, more, others)| (rows + more, people + others))
}

#[test]
fn files_plain_and_packed_are_read_together_whatever_they_are_called() {
    let folder = Folder::new();
    let text = |month: u8| {
        format!("{NATIONAL}28/{month:02}/2020,600,ENT,Adult,16-64,0-3 Months,{month}\n")
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text(2).as_bytes()).unwrap();
    let files = [
        folder.write("c.csv.xz", text(1)),
        folder.write("b.csv", gzip.finish().unwrap()),
        folder.write("a.txt", zstd::encode_all(text(3).as_bytes(), 1).unwrap()),
    ];
    let lists = folder.gather(&files).unwrap();
    let dates: Vec<_> = lists.dates().collect();
    assert_eq!(
        dates,
        [(day(2020, 1, 28), 1, 1), (day(2020, 2, 28), 1, 2), (day(2020, 3, 28), 1, 3)]
    );
    let told: Vec<_> = lists.sources().iter().map(|source| &*source.file).collect();
    assert_eq!(told, ["a.txt", "b.csv", "c.csv.xz"]);
    for (source, path) in lists.sources().iter().zip([&files[2], &files[1], &files[0]]) {
        assert_eq!(source.size_bytes, fs::metadata(path).unwrap().len());
        assert_eq!(counts(source), (1, 1, 0, 0));
    }
    lists.still_the_same().unwrap();
    assert_eq!(folder.rejected(), "file,line,reason\n");
}

#[test]
fn the_order_in_which_files_are_named_makes_no_difference() {
    let folder = Folder::new();
    let text = |code: u16, hospital: u16| {
        format!("{HOSPITALS}31/01/2020,G,{hospital},H,{code},ENT,Adult,16-64,0-3 Months,7\n")
    };
    let files = [folder.write("b.csv", text(600, 1)), folder.write("a.csv", text(100, 2))];
    let rows = |files: &[PathBuf]| folder.gather(files).unwrap().rows(day(2020, 1, 31)).unwrap();
    let one = rows(&files);
    assert_eq!(one.len(), 2);
    assert_eq!(one, rows(&[files[1].clone(), files[0].clone()]));
}

#[test]
fn rows_that_are_not_understood_are_counted_and_listed() {
    let folder = Folder::new();
    let row = |date: &str, total: &str| format!("{date},600,ENT,Adult,16-64,0-3 Months,{total}\n");
    let bad = [
        row("31/01/2020", "-7"),
        row("31/01/2020", "7.5"),
        row("31/01/2020", "4294967296"),
        row("31/02/2020", "7"),
        row("31/01/1969", "7"),
        "31/01/2020,600\n".to_owned(),
    ];
    let text = [NATIONAL.to_owned(), row("31/01/2020", "7"), bad.concat()].concat();
    let file = folder.write("list.csv", text);
    let lists = folder.gather(std::slice::from_ref(&file)).unwrap();
    assert_eq!((lists.rejected(), totals(&lists)), (6, (1, 7)));
    assert_eq!(counts(&lists.sources()[0]), (7, 1, 0, 6));
    let expected = "file,line,reason\n\
                    list.csv,3,its total is negative\n\
                    list.csv,4,its total is a fraction\n\
                    list.csv,5,\"its total is larger than 4,294,967,295\"\n\
                    list.csv,6,its date is no date\n\
                    list.csv,7,its date is before 1970\n\
                    list.csv,8,it has other columns than the first line\n";
    assert_eq!(folder.rejected(), expected);

    let strict = folder.gather_with(&[file], |options| options.strict = true);
    let told = strict.unwrap_err().to_string();
    assert_eq!(told, "list.csv, line 3: its total is negative");
    assert_eq!(folder.rejected(), "file,line,reason\nlist.csv,3,its total is negative\n");
}

#[test]
fn files_whose_columns_are_wrong_are_refused() {
    let folder = Folder::new();
    let told =
        |text: &str| folder.gather(&[folder.write("list.csv", text)]).unwrap_err().to_string();
    let missing = "list.csv, line 1: a column is missing: date, specialty, age, time band or total";
    assert_eq!(told(&NATIONAL.replace(",Total", "")), missing);
    let unknown = "list.csv, line 1: a column has a name that is not known";
    assert_eq!(told(&NATIONAL.replace("Total", "Sum")), unknown);
    assert_eq!(told(""), "list.csv, line 1: the file is empty");
    assert_eq!(told(NATIONAL), "there are no rows to work on");
    let absent = folder.gather(&[folder.path("none.csv")]).unwrap_err();
    assert!(matches!(absent, ListError::Unreadable { .. }), "{absent}");
}

#[test]
fn a_packed_file_that_is_cut_off_is_refused() {
    let folder = Folder::new();
    let row = "31/01/2020,600,ENT,Adult,16-64,0-3 Months,7\n";
    let packed = zstd::encode_all((NATIONAL.to_owned() + &row.repeat(9)).as_bytes(), 1).unwrap();
    let file = folder.write("list.csv.zst", &packed[..packed.len() - 4]);
    assert!(matches!(folder.gather(&[file]), Err(ListError::Unreadable { .. })));
}

#[test]
fn a_file_that_changes_is_refused() {
    let folder = Folder::new();
    let text = format!("{NATIONAL}31/01/2020,600,ENT,Adult,16-64,0-3 Months,7\n");
    let file = folder.write("list.csv", &text);
    let lists = folder.gather(std::slice::from_ref(&file)).unwrap();
    lists.still_the_same().unwrap();
    // As long as before.
    folder.write("list.csv", text.replace(",7\n", ",8\n"));
    assert!(matches!(lists.still_the_same(), Err(ListError::Changed { .. })));
    folder.write("list.csv", &text);
    lists.still_the_same().unwrap();
    folder.write("list.csv", text + "\n");
    assert!(matches!(lists.still_the_same(), Err(ListError::Changed { .. })));
    fs::remove_file(file).unwrap();
    assert!(matches!(lists.still_the_same(), Err(ListError::Unreadable { .. })));
}

/// Two hospitals' rows of January and February, and the same without hospitals.
fn twice() -> (String, String) {
    let (mut by_hospital, mut national) = (HOSPITALS.to_owned(), NATIONAL.to_owned());
    for date in ["31/01/2020", "29/02/2020"] {
        for hospital in ["0001", "0002"] {
            for (code, total) in [(100, 7), (600, 5)] {
                let rest = format!("{code},Specialty {code},Adult,16-64,0-3 Months,{total}\n");
                by_hospital += &format!("{date},G,{hospital},H{hospital},{rest}");
                national += &format!("{date},{rest}");
            }
        }
    }
    (by_hospital, national)
}

#[test]
fn the_same_rows_with_hospitals_are_used_instead() {
    let folder = Folder::new();
    let (by_hospital, national) = twice();
    // Another day of the same month, another order, another spelling of the name: the same rows nevertheless.
    let national = national.replace("31/01", "30/01").replace("Specialty 100", "Cardiology");
    let march = "31/03/2020,100,Cardiology,Adult,16-64,0-3 Months,1\n";
    let files = [folder.write("a.csv", national + march), folder.write("b.csv", by_hospital)];
    let lists = folder.gather(&files).unwrap();
    assert_eq!(counts(&lists.sources()[0]), (9, 1, 8, 0));
    assert_eq!(counts(&lists.sources()[1]), (8, 8, 0, 0));
    assert_eq!(totals(&lists), (9, 49));
    let remark = "outpatient of 2 dates from 2020-01-30 to 2020-02-29 is set aside: b.csv has the same rows, with \
                  hospitals";
    assert_eq!(lists.sources()[0].remarks, [remark]);
    assert_eq!(lists.rows(day(2020, 1, 30)).unwrap(), []);
    let january = lists.rows(day(2020, 1, 31)).unwrap();
    assert!(january.len() == 4 && january.iter().all(|row| row.hospital.is_some()));
}

#[test]
fn hospitals_in_several_files_stand_for_the_national_one_together() {
    let folder = Folder::new();
    let (by_hospital, national) = twice();
    let of = |number: &str| {
        let rows = by_hospital.lines().skip(1).filter(|line| line.contains(&format!(",{number},")));
        HOSPITALS.to_owned() + &rows.map(|line| format!("{line}\n")).collect::<String>()
    };
    let (one, two) = (folder.write("1.csv", of("0001")), folder.write("2.csv", of("0002")));
    let files = [one, folder.write("all.csv", national), two];
    let lists = folder.gather(&files).unwrap();
    let used: Vec<_> = lists.sources().iter().map(counts).collect();
    assert_eq!(used, [(4, 4, 0, 0), (4, 4, 0, 0), (8, 0, 8, 0)]);
    assert_eq!(lists.sources()[2].first, None);
    let refused = folder.gather(&files[..2]);
    assert!(matches!(refused, Err(ListError::Overlap { .. })));
}

/// Three hundred rows by hospital, the last of which say of two hospitals what the national list says of one.
fn merged(extra: u32) -> (String, String) {
    let (mut by_hospital, mut national) = (HOSPITALS.to_owned(), NATIONAL.to_owned());
    for number in 0..300 {
        let rest = |total| format!("{},S,Adult,16-64,0-3 Months,{total}\n", 100 + number);
        let total = 10 + number;
        if number < 298 {
            by_hospital += &format!("30/01/2020,G,0001,H,{}", rest(total));
        } else {
            by_hospital += &format!("30/01/2020,G,0001,H,{}", rest(total - 4));
            by_hospital += &format!("30/01/2020,G,0002,H,{}", rest(4));
        }
        national += &format!("31/01/2020,{}", rest(total + if number == 0 { extra } else { 0 }));
    }
    (by_hospital, national)
}

#[test]
fn the_same_people_in_a_few_other_rows_are_counted_once() {
    let folder = Folder::new();
    let (by_hospital, national) = merged(0);
    let files = [folder.write("a.csv", national), folder.write("b.csv", by_hospital)];
    let lists = folder.gather(&files).unwrap();
    assert_eq!(counts(&lists.sources()[0]), (300, 0, 300, 0));
    assert_eq!(counts(&lists.sources()[1]), (302, 302, 0, 0));
    let remark = &lists.sources()[0].remarks[0];
    assert!(remark.contains("the same people") && remark.contains("2 rows"), "{remark}");
}

#[test]
fn one_person_more_is_an_overlap() {
    let folder = Folder::new();
    let (by_hospital, national) = merged(1);
    let files = [folder.write("a.csv", national), folder.write("b.csv", by_hospital)];
    let told = folder.gather(&files).unwrap_err().to_string();
    let expected = "b.csv and a.csv both have the outpatient list of 2020-01; leave one out, or allow overlaps";
    assert_eq!(told, expected);
    let lists = folder.gather_with(&files, |options| options.allow_overlap = true).unwrap();
    assert_eq!(totals(&lists).0, 602);
    assert_eq!(
        lists.sources()[0].remarks,
        ["2020-01: b.csv has this month's outpatient list, too"]
    );
    assert_eq!(lists.sources()[1].remarks.len(), 1);
}

#[test]
fn the_same_file_twice_is_an_overlap_with_hospitals_or_without() {
    for text in [twice().0, twice().1] {
        let folder = Folder::new();
        fs::create_dir(folder.path("other")).unwrap();
        let files = [folder.write("a.csv", &text), folder.write("other/a.csv", &text)];
        let told = folder.gather(&files).unwrap_err().to_string();
        assert!(told.starts_with("a.csv and a.csv (2) both have the outpatient list"), "{told}");
        let lists = folder.gather_with(&files, |options| options.allow_overlap = true).unwrap();
        assert_eq!(totals(&lists), (16, 96));
    }
}

#[test]
fn lists_of_outpatients_and_of_beds_do_not_overlap() {
    let folder = Folder::new();
    let beds = "Archive_Date,Specialty_HIPE,Specialty_Name,Case_Type,Adult_Child,Age_Profile,Time_Bands,Total\n\
                31-01-2020,600,ENT,Day Case,Adult,16-64,0-3 Months,3\n\
                31-01-2020,600,ENT,Inpatient,Adult,16-64,0-3 Months,3\n";
    let outpatients = format!("{NATIONAL}31-01-2020,600,ENT,Adult,16-64,0-3 Months,4\n");
    let files = [folder.write("beds.csv", beds), folder.write("out.csv", outpatients)];
    let rows = folder.gather(&files).unwrap().rows(day(2020, 1, 31)).unwrap();
    let types: Vec<_> = rows.iter().map(|row| &*row.case_type).collect();
    assert_eq!(types, ["Outpatient", "Day Case", "Inpatient"]);
}

#[test]
fn rows_that_are_the_same_in_one_file_are_all_kept() {
    let folder = Folder::new();
    let row = "31-01-2020,600,ENT,Adult,16-64,0-3 Months,4\n";
    let file = folder.write("a.csv", NATIONAL.to_owned() + &row.repeat(3));
    assert_eq!(totals(&folder.gather(&[file]).unwrap()), (3, 12));
}

#[test]
fn each_hospital_goes_by_one_name() {
    let folder = Folder::new();
    let row =
        |number, name| format!("31/01/2020,G,{number},{name},600,ENT,Adult,16-64,0-3 Months,4\n");
    let text = [
        HOSPITALS.to_owned(),
        row("1", "Old"),
        row("0001", "New"),
        row("0001", "New"),
        row("2", "B"),
    ];
    let lists = folder.gather(&[folder.write("a.csv", text.concat())]).unwrap();
    let rows = lists.rows(day(2020, 1, 31)).unwrap();
    let names: Vec<_> = rows.iter().map(|row| &*row.hospital.as_ref().unwrap().name).collect();
    assert_eq!(names, ["New", "New", "New", "B"]);
    let attributes = lists.dataset(1).attributes;
    let hospital = attributes.iter().find(|one| one.name == "Hospital").unwrap();
    assert_eq!((hospital.distinct, hospital.missing, &*hospital.sample), (2, 0, "New"));
}

fn synthetic(folder: &Folder, seed: u64, rows: u64) -> Lists {
    let (work, rejected) = (folder.path("work"), folder.path("rejected.csv"));
    let options = Options { work: &work, rejected: &rejected, strict: true, allow_overlap: false };
    Lists::synthetic(seed, rows, &folder.path("synthetic.csv"), options).unwrap()
}

#[test]
fn a_made_up_list_has_the_published_ones_shape_and_says_that_it_is_made_up() {
    let folder = Folder::new();
    let lists = synthetic(&folder, 1, SYNTHETIC_ROWS);
    let (rows, people) = totals(&lists);
    assert_eq!(rows, 6_706);
    assert!((450_000..650_000).contains(&people), "{people}");
    let dataset = lists.dataset(1);
    assert!(dataset.synthetic && dataset.sources[0].remarks[0].contains("made up"));
    assert_eq!((dataset.head.columns.len(), dataset.head.rows.len()), (10, 10));
    let distinct = |name: &str| {
        dataset.attributes.iter().find(|attribute| attribute.name == name).unwrap().distinct
    };
    assert_eq!((distinct("Hospital_HIPE"), distinct("Time_Bands"), distinct("Group")), (44, 7, 7));
    assert!(distinct("Specialty_HIPE") > 60);
    let rows = lists.rows(lists.dates().next().unwrap().0).unwrap();
    assert!(rows.iter().all(|row| row.specialty.name.starts_with("Made-up")));
    assert!(rows.iter().all(|row| row.hospital.as_ref().unwrap().name.starts_with("Made-up")));
}

#[test]
fn the_same_seed_makes_the_same_list_and_another_another() {
    let bytes = |seed| {
        let mut bytes = Vec::new();
        study::lists::write_synthetic(&mut bytes, seed, 7_000).unwrap();
        bytes
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
    let folder = Folder::new();
    let lists = synthetic(&folder, 1, 7_000);
    let dates: Vec<_> = lists.dates().map(|(date, rows, _)| (date, rows)).collect();
    assert_eq!(dates, [(day(2020, 1, 28), 6_706), (day(2020, 2, 28), 294)]);
}

/// The published files; nothing where the data is not there.
fn published() -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/ntpf");
    let Ok(entries) = fs::read_dir(folder) else {
        println!("SKIPPED: ../shared/data is not there");
        return None;
    };
    Some(entries.map(|entry| entry.unwrap().path()).collect())
}

#[test]
fn all_published_files_are_read_and_no_month_counts_twice() {
    let Some(files) = published() else { return };
    let folder = Folder::new();
    let lists = folder.gather(&files).unwrap();
    assert_eq!(lists.rejected(), 0);
    let told = |file: &str| {
        let name = format!("{file}.csv.xz");
        let source = lists.sources().iter().find(|source| source.file == name).unwrap();
        (counts(source), source.patients)
    };
    let january = "OP Waiting List By Group Hospital 2020 (Jan only)";
    assert_eq!(told(january), ((6_706, 6_706, 0, 0), 556_770));
    assert_eq!(told("Op_WL 2018"), ((82_953, 0, 82_953, 0), 0));
    assert_eq!(told("op_2018_hospital_recovered"), ((82_953, 82_953, 0, 0), 6_127_911));
    assert_eq!(told("Op_WL 2019"), ((80_236, 80_236, 0, 0), 6_667_542));
    // January counts the same people in 13 rows fewer: one hospital where the other file has two.
    assert_eq!(told("Op_WL 2020"), ((85_273, 78_580, 6_693, 0), 7_061_672 - 556_770));
    assert_eq!(told("Op_WL 2021"), ((22_521, 22_521, 0, 0), 1_878_614));
    assert_eq!(told("ipdc_2018_2021_hospital_recovered"), ((182_136, 182_136, 0, 0), 2_905_230));
    for (year, rows) in [(2018, 55_377), (2019, 52_415), (2020, 58_457), (2021, 15_887)] {
        assert_eq!(told(&format!("IN_WL {year}")), ((rows, 0, rows, 0), 0));
    }
    assert_eq!(totals(&lists).0, 453_119 + 13);
    let remarks = |file: &str| {
        let source = lists.sources().iter().find(|source| source.file.starts_with(file));
        source.unwrap().remarks.join("\n")
    };
    assert!(remarks("Op_WL 2020").contains("15 rows of this file are cut otherwise"));
    assert!(remarks(january).contains("hospital 0302 is called University Hospital Limerick here"));
    // The paper's sample rows begin so.
    let head = lists.dataset(1).head;
    assert!(head.file.starts_with(january));
    let first = "30/01/2020|Children's Health Ireland|0000|Children's Health Ireland|0601|Paediatric ENT|Child|0-15|\
                 15-18 Months|604";
    assert_eq!(head.rows[0].join("|"), first);
    lists.still_the_same().unwrap();
}

#[test]
fn the_lists_without_the_second_january_have_as_many_rows_as_are_published() {
    let Some(mut files) = published() else { return };
    files.retain(|path| !path.to_string_lossy().contains("Jan only"));
    assert_eq!(totals(&Folder::new().gather(&files).unwrap()).0, 453_119);
}
