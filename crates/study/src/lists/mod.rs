//! The waiting lists that a study works on: published files, or one that is made up.
//!
//! A file may be plain or packed by gzip, xz or Zstandard. Each is read three times: for its form and digest, for its
//! rows, and by [`Lists::still_the_same`] when the study has ended; a file that is not the same each time is refused.
//!
//! A row that is not understood is counted and listed with file, line and reason; a file whose columns are not
//! understood stops the study. Where files have the same month, one of them is used (`overlap`), and each
//! specialty and hospital goes by one name (`names`).
//!
//! What is held does not grow with the number of rows: they go to a file for each archive date, list and source, and
//! come back a date at a time. Neither the order in which files are named nor their folders change what comes out.

mod names;
mod open;
mod overlap;
mod spool;
mod survey;
mod synthetic;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use census::{Form, ReadError, Rows};

use self::{
    names::{NameCount, Names},
    open::{Print, Printing},
    overlap::Why,
    spool::{Part, Spool, Spooling},
    survey::Survey,
};
use crate::{
    results::{Attribute, Dataset, Head, Source},
    row::{Day, Hospital, Row, Specialty},
};

pub use open::unpacked;
pub use spool::List;
pub use synthetic::{SYNTHETIC_ROWS, write_synthetic};

/// Why there are no rows to work on.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A file cannot be read, or is packed wrongly.
    #[error("{file} could not be read")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file as a whole is not understood.
    #[error("{file}, line {line}: {reason}")]
    NotUnderstood {
        /// Which.
        file: String,
        /// Where that shows, from 1.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// A row is not understood, and none may be.
    #[error("{file}, line {line}: {reason}")]
    Rejected {
        /// In which file.
        file: String,
        /// Where it begins, from 1.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// A file is not what it was when the study began.
    #[error("{file} changed while it was read")]
    Changed {
        /// Which.
        file: String,
    },
    /// Two files have the same month, and neither says the same as the other.
    #[error(
        "{one} and {other} both have the {list} list of {month}; leave one out, or allow overlaps"
    )]
    Overlap {
        /// Of which list.
        list: List,
        /// As in `2020-01`.
        month: String,
        /// One file.
        one: String,
        /// The other.
        other: String,
    },
    /// There is no row in any file that can be used.
    #[error("there are no rows to work on")]
    Nothing,
    /// The study's own files cannot be written or read.
    #[error("the study's own files could not be written or read")]
    Scratch(#[source] io::Error),
}

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// A folder for rows. It is emptied, and belongs to the study until that has ended.
    pub work: &'a Path,
    /// Where rows that are not understood are listed. Written also where there are none.
    pub rejected: &'a Path,
    /// Whether the first row that is not understood stops the study.
    pub strict: bool,
    /// Whether months that several files have may be counted several times.
    pub allow_overlap: bool,
}

/// Rows by archive date, and where they come from. It can be asked by several threads at once.
#[derive(Debug)]
pub struct Lists {
    sources: Vec<Source>,
    paths: Vec<PathBuf>,
    forms: Vec<Form>,
    is_synthetic: bool,
    spool: Spool,
    names: Names,
    attributes: Vec<Attribute>,
    dates: BTreeMap<Day, (u64, u64)>,
}

impl Lists {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// See [`ListError`].
    pub fn gather(files: &[PathBuf], options: Options<'_>) -> Result<Self, ListError> {
        let mut files =
            files.iter().map(|path| Examined::new(path)).collect::<Result<Vec<_>, _>>()?;
        files.sort_by(|one, other| {
            (&one.name, one.print.digest).cmp(&(&other.name, other.print.digest))
        });
        tell_apart(&mut files);

        let mut spooling = Spooling::new(options.work).map_err(ListError::Scratch)?;
        let mut rejected = Rejections::new(options)?;
        let mut count = NameCount::default();
        let mut sources = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let mut source = file.source();
            file.read(|row| {
                source.rows_read += 1;
                match row {
                    Ok(row) => {
                        count.add(number, &row);
                        spooling.add(number, &row).map_err(ListError::Scratch)
                    }
                    Err((line, reason)) => {
                        source.rows_rejected += 1;
                        rejected.add(&file.name, line, reason)
                    }
                }
            })?;
            sources.push(source);
        }
        rejected.finish()?;

        let (names, contradictions) = count.settle();
        for (source, remark) in contradictions {
            sources[source].remarks.push(remark);
        }
        let mut lists = Self {
            sources,
            paths: files.iter().map(|file| file.path.clone()).collect(),
            forms: files.into_iter().map(|file| file.form).collect(),
            is_synthetic: false,
            spool: spooling.finish().map_err(ListError::Scratch)?,
            names,
            attributes: Vec::new(),
            dates: BTreeMap::new(),
        };
        lists.settle_overlaps(options.allow_overlap)?;
        lists.survey()?;
        if lists.dates.is_empty() { Err(ListError::Nothing) } else { Ok(lists) }
    }

    /// Makes a list up, writes it to `file`, and reads it as any other. Months of [`SYNTHETIC_ROWS`], from January
    /// 2020 on.
    ///
    /// # Errors
    ///
    /// See [`ListError`].
    pub fn synthetic(
        seed: u64,
        rows: u64,
        file: &Path,
        options: Options<'_>,
    ) -> Result<Self, ListError> {
        let out = File::create(file).map_err(ListError::Scratch)?;
        write_synthetic(io::BufWriter::new(out), seed, rows).map_err(ListError::Scratch)?;
        let mut lists = Self::gather(&[file.to_owned()], options)?;
        lists.is_synthetic = true;
        let remark = format!("made up from seed {seed}: nobody was counted for it");
        lists.sources[0].remarks.push(remark);
        Ok(lists)
    }

    /// The archive dates in their order, and how many rows and people each has.
    pub fn dates(&self) -> impl ExactSizeIterator<Item = (Day, u64, u64)> {
        self.dates.iter().map(|(date, (rows, patients))| (*date, *rows, *patients))
    }

    /// The rows of one date that are used: outpatients first, then in the order of files and of their lines.
    ///
    /// # Errors
    ///
    /// [`ListError::Scratch`] when they cannot be read again.
    pub fn rows(&self, date: Day) -> Result<Vec<Row>, ListError> {
        let mut rows = Vec::new();
        for part in self.spool.parts().iter().filter(|part| part.date == date) {
            rows.append(&mut self.part(*part)?);
        }
        Ok(rows)
    }

    /// Each date with its rows, in their order. One date is held at a time.
    pub fn segments(&self) -> impl Iterator<Item = Result<(Day, Vec<Row>), ListError>> {
        self.dates.keys().map(|date| Ok((*date, self.rows(*date)?)))
    }

    /// What became of each file.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// How many rows were not understood, in all files.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.sources.iter().map(|source| source.rows_rejected).sum()
    }

    /// What is reported of it. `rounds` is how often its dates are gone through.
    #[must_use]
    pub fn dataset(&self, rounds: u32) -> Dataset {
        Dataset {
            synthetic: self.is_synthetic,
            sources: self.sources.clone(),
            head: self.head(),
            attributes: self.attributes.clone(),
            rounds,
        }
    }

    /// Reads the digest of each file again, at the study's end.
    ///
    /// # Errors
    ///
    /// [`ListError::Changed`] when a file is not what it was, [`ListError::Unreadable`] when it cannot be read.
    pub fn still_the_same(&self) -> Result<(), ListError> {
        for (path, source) in self.paths.iter().zip(&self.sources) {
            let file = || source.file.clone();
            let print =
                Print::of(path).map_err(|source| ListError::Unreadable { file: file(), source })?;
            if print != (Print { digest: source.digest, size_bytes: source.size_bytes }) {
                return Err(ListError::Changed { file: file() });
            }
        }
        Ok(())
    }

    fn part(&self, part: Part) -> Result<Vec<Row>, ListError> {
        let mut rows = self.spool.rows(part).map_err(ListError::Scratch)?;
        rows.iter_mut().for_each(|row| self.names.apply(row));
        Ok(rows)
    }

    /// Of the file that begins with January 2020, by hospital if there is one; else of the first that is used.
    fn head(&self) -> Head {
        let rank = |number: &usize| {
            let first = self.sources[*number].first;
            let is_january = first.is_some_and(|day| (day.year, day.month) == (2020, 1));
            (!is_january, first.is_none(), !self.names_hospitals(*number), *number)
        };
        let number = (0..self.sources.len()).min_by_key(rank).unwrap_or_default();
        let (source, form) = (&self.sources[number], &self.forms[number]);
        Head { file: source.file.clone(), columns: form.columns.clone(), rows: form.head.clone() }
    }

    fn names_hospitals(&self, source: usize) -> bool {
        self.forms[source].columns.iter().any(|name| name.to_lowercase().contains("hospital"))
    }

    fn settle_overlaps(&mut self, is_allowed: bool) -> Result<(), ListError> {
        let files: Vec<_> = self.sources.iter().map(|source| source.file.clone()).collect();
        let decisions = overlap::decide(&self.spool, &files, is_allowed)?;
        for ((year, month), list, one, other) in decisions.allowed {
            for (this, that) in [(one, other), (other, one)] {
                let remark = format!(
                    "{year:04}-{month:02}: {} has this month's {list} list, too",
                    files[that]
                );
                self.sources[this].remarks.push(remark);
            }
        }
        let mut reasons: BTreeMap<_, Vec<Day>> = BTreeMap::new();
        for (part, instead, why) in decisions.aside {
            let rows = self.spool.rows(part).map_err(ListError::Scratch)?.len() as u64;
            self.sources[part.source].rows_set_aside += rows;
            self.spool.remove(part).map_err(ListError::Scratch)?;
            reasons.entry((part.source, part.list, why, instead)).or_default().push(part.date);
        }
        for ((source, list, why, instead), dates) in reasons {
            let why = match why {
                Why::SameRows => "the same rows, with hospitals".to_owned(),
                Why::SamePeople(rows) => format!(
                    "the same people by age and time band, with hospitals; {rows} rows of this file are cut otherwise \
                     there"
                ),
            };
            let [first, .., last] = &*dates else {
                let remark =
                    format!("{list} of {} is set aside: {} has {why}", dates[0], files[instead]);
                self.sources[source].remarks.push(remark);
                continue;
            };
            let remark = format!(
                "{list} of {} dates from {first} to {last} is set aside: {} has {why}",
                dates.len(),
                files[instead]
            );
            self.sources[source].remarks.push(remark);
        }
        Ok(())
    }

    /// Goes through all rows that are used, once.
    fn survey(&mut self) -> Result<(), ListError> {
        let mut survey = Survey::default();
        for part in self.spool.parts() {
            let rows = self.part(*part)?;
            let patients = rows.iter().map(|row| u64::from(row.patients)).sum::<u64>();
            let count = rows.len() as u64;
            let date = self.dates.entry(part.date).or_default();
            *date = (date.0 + count, date.1 + patients);
            let source = &mut self.sources[part.source];
            source.rows_used += count;
            source.patients += patients;
            // Parts come in the order of their dates.
            source.first.get_or_insert(part.date);
            source.last = Some(part.date);
            rows.iter().for_each(|row| survey.see(row));
        }
        self.attributes = survey.attributes();
        Ok(())
    }
}

/// A file, and what it is like as a whole.
struct Examined {
    path: PathBuf,
    /// Without its folder, and not that of another.
    name: String,
    print: Print,
    form: Form,
}

impl Examined {
    fn new(path: &Path) -> Result<Self, ListError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let unreadable = |source| ListError::Unreadable { file: name.clone(), source };
        let mut raw = Printing::new(File::open(path).map_err(unreadable)?);
        let input = unpacked(&mut raw).map_err(unreadable)?;
        let form = Form::of(input).map_err(|error| stops(&name, error))?;
        let print = raw.finish().map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), name, print, form })
    }

    fn source(&self) -> Source {
        Source {
            file: self.name.clone(),
            digest: self.print.digest,
            size_bytes: self.print.size_bytes,
            rows_read: 0,
            rows_used: 0,
            rows_set_aside: 0,
            rows_rejected: 0,
            patients: 0,
            first: None,
            last: None,
            remarks: Vec::new(),
        }
    }

    /// Gives each row, or the line and reason of one that is not understood.
    fn read(
        &self,
        mut each: impl FnMut(Result<Row, (usize, &'static str)>) -> Result<(), ListError>,
    ) -> Result<(), ListError> {
        let unreadable = |source| ListError::Unreadable { file: self.name.clone(), source };
        let mut raw = Printing::new(File::open(&self.path).map_err(unreadable)?);
        let input = unpacked(&mut raw).map_err(unreadable)?;
        let rows = Rows::new(input, self.form.order).map_err(|error| stops(&self.name, error))?;
        for row in rows {
            match row {
                // A chain's time begins in 1970.
                Ok(row) if row.date.year < 1970 => {
                    each(Err((row.line, "its date is before 1970")))?
                }
                Ok(row) => each(Ok(of_published(row)))?,
                Err(ReadError::Row { line, reason }) => each(Err((line, reason)))?,
                Err(error) => return Err(stops(&self.name, error)),
            }
        }
        if raw.finish().map_err(unreadable)? != self.print {
            return Err(ListError::Changed { file: self.name.clone() });
        }
        Ok(())
    }
}

fn stops(file: &str, error: ReadError) -> ListError {
    let file = file.to_owned();
    match error {
        ReadError::File { line, reason } | ReadError::Row { line, reason } => {
            ListError::NotUnderstood { file, line, reason }
        }
        ReadError::Unreadable(source) => ListError::Unreadable { file, source },
    }
}

fn of_published(row: census::Row) -> Row {
    let (group, name) = (row.group, row.hospital_name);
    let hospital = |number: census::Hospital| Hospital { number: number.into(), name, group };
    Row {
        date: row.date,
        hospital: row.hospital.map(hospital),
        specialty: Specialty { code: row.specialty, name: row.specialty_name },
        case_type: row.case_type,
        adult_child: row.adult_child,
        age: row.age,
        band: row.time,
        patients: row.count,
    }
}

/// Files of one name in several folders are told apart by a number.
fn tell_apart(files: &mut [Examined]) {
    let mut taken = BTreeMap::<String, u32>::new();
    for file in files {
        let times = taken.entry(file.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            file.name = format!("{} ({times})", file.name);
        }
    }
}

/// Writes down what was not understood.
struct Rejections {
    out: csv::Writer<File>,
    is_strict: bool,
}

impl Rejections {
    fn new(options: Options<'_>) -> Result<Self, ListError> {
        let file = fs::File::create(options.rejected).map_err(ListError::Scratch)?;
        let mut this = Self { out: csv::Writer::from_writer(file), is_strict: options.strict };
        this.write(["file", "line", "reason"])?;
        Ok(this)
    }

    fn add(&mut self, file: &str, line: usize, reason: &'static str) -> Result<(), ListError> {
        self.write([file, &line.to_string(), reason])?;
        if self.is_strict {
            self.out.flush().map_err(ListError::Scratch)?;
            return Err(ListError::Rejected { file: file.to_owned(), line, reason });
        }
        Ok(())
    }

    fn write(&mut self, cells: [&str; 3]) -> Result<(), ListError> {
        self.out.write_record(cells).map_err(|error| ListError::Scratch(error.into()))
    }

    fn finish(mut self) -> Result<(), ListError> {
        self.out.flush().map_err(ListError::Scratch)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Any row of outpatients on 31 January 2020.
    pub(crate) fn row(hospital: Option<&str>, patients: u32) -> Row {
        Row {
            date: Day { year: 2020, month: 1, day: 31 },
            hospital: hospital.map(|number| Hospital {
                number: number.into(),
                name: String::new(),
                group: String::new(),
            }),
            specialty: Specialty { code: Some(600), name: "ENT".into() },
            case_type: "Outpatient".into(),
            adult_child: "Adult".into(),
            age: "16-64".into(),
            band: "0-3 Months".into(),
            patients,
        }
    }
}
