//! The rows of a published file, one after the other: for each hospital, specialty, age and time band, how many
//! people wait.
//!
//! Every year has its own form: with or without a byte order mark, three orders of a date, several names for each
//! column, none at all in one file. What is the same is read the same. A row that is not understood is told with
//! its line; none is left out. However long a file is, one record of it is held.

use std::{
    io::{self, Read},
    str::FromStr,
};

use crate::{
    Hospital,
    columns::{Column, Columns},
    date::{DateOrder, DateParts, Day, OrderFinder},
    split::{Record, Records},
};

/// One row as it is published. A text is empty where the file does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// In which line of the file it begins, from 1.
    pub line: usize,
    /// The archive date: when people were counted.
    pub date: Day,
    /// The hospital group.
    pub group: String,
    /// At which hospital; `None` in files that have no such column.
    pub hospital: Option<Hospital>,
    /// What the hospital is called.
    pub hospital_name: String,
    /// The specialty's HIPE code; `None` when the file has none.
    pub specialty: Option<u16>,
    /// What the specialty is called; never empty where there is no code.
    pub specialty_name: String,
    /// `Inpatient`, `Day Case` or `Outpatient`.
    pub case_type: String,
    /// `Adult` or `Child`.
    pub adult_child: String,
    /// The years of age.
    pub age: String,
    /// How long these people have waited, in one spelling for all files.
    pub time: String,
    /// How many people.
    pub count: u32,
}

/// Why a row was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// This row is not understood. The next may be.
    #[error("line {line}: {reason}")]
    Row {
        /// Where it begins, from 1.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// The file as a whole is not understood.
    #[error("line {line}: {reason}")]
    File {
        /// Where that shows, from 1.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// The file cannot be read. Nothing more comes.
    #[error("the file could not be read")]
    Unreadable(#[from] io::Error),
}

/// How a file is written: what only the file as a whole tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// In which order it writes dates. In Ireland the day comes first, where all dates leave it open.
    pub order: DateOrder,
    /// The names of its columns as it has them, or the usual ones where it has none.
    pub columns: Vec<String>,
    /// Its first rows, in these columns and in its own words.
    pub head: Vec<Vec<String>>,
}

impl Form {
    /// How many rows of a file's head are kept.
    const HEAD_ROWS: usize = 10;

    /// Goes through a file, as far as it must.
    ///
    /// # Errors
    ///
    /// [`ReadError::File`] when the columns are not understood, [`ReadError::Unreadable`] when reading fails.
    pub fn of(input: impl Read) -> Result<Self, ReadError> {
        let Opened { records, columns, first, names, .. } = Opened::new(input)?;
        let mut order = OrderFinder::default();
        let mut head = Vec::new();
        for record in first.map(Ok).into_iter().chain(records) {
            let record = record?;
            if let Some(parts) = columns.get(&record, Column::Date).and_then(DateParts::of) {
                order.see(parts);
            }
            if head.len() < Self::HEAD_ROWS {
                head.push(trimmed(columns.cells(&record)));
            } else if order.is_sure() {
                break;
            }
        }
        Ok(Self { order: order.found(), columns: names, head })
    }
}

/// The rows of a file. A row that is not understood is an error, and the next comes after it.
pub struct Rows<R> {
    records: Records<R>,
    columns: Columns,
    order: DateOrder,
    /// The first record, where it is a row.
    first: Option<Record>,
    first_line: usize,
    has_ended: bool,
}

impl<R: Read> Rows<R> {
    /// Reads the head. `order` is the [`Form`]'s.
    ///
    /// # Errors
    ///
    /// [`ReadError::File`] when the columns are not understood, [`ReadError::Unreadable`] when reading fails.
    pub fn new(input: R, order: DateOrder) -> Result<Self, ReadError> {
        let Opened { records, columns, first, first_line, .. } = Opened::new(input)?;
        Ok(Self { records, columns, order, first, first_line, has_ended: false })
    }

    /// Whether the rows name a hospital.
    #[must_use]
    pub const fn name_hospitals(&self) -> bool {
        self.columns.has(Column::Hospital)
    }

    /// The line of the head, or of the first row where there is none.
    pub(crate) const fn first_line(&self) -> usize {
        self.first_line
    }

    fn row(&self, record: &Record) -> Result<Row, &'static str> {
        if let Some(fault) = record.fault {
            return Err(fault);
        }
        if !self.columns.fit(record) {
            return Err("it has other columns than the first line");
        }
        let text = |column| self.columns.get(record, column).map(tidy).unwrap_or_default();
        let date = DateParts::of(&text(Column::Date)).and_then(|parts| self.order.day(parts));
        let date = date.ok_or("its date is no date")?;
        let hospital = match self.columns.get(record, Column::Hospital) {
            Some(number) => Some(number.parse().map_err(|_| "it names no hospital by number")?),
            None => None,
        };
        let (code, specialty_name) = (text(Column::Specialty), text(Column::SpecialtyName));
        let specialty = match &*code {
            "" | "NULL" if specialty_name.is_empty() => return Err("it names no specialty"),
            "" | "NULL" => None,
            code => {
                let code = number(code).filter(|code| *code != crate::Entry::NO_CODE);
                Some(code.ok_or("its specialty's code is no number")?)
            }
        };
        let case_type = if self.columns.has(Column::CaseType) {
            text(Column::CaseType)
        } else {
            // Only the lists for beds and day places have this column.
            "Outpatient".into()
        };
        Ok(Row {
            line: record.line,
            date,
            group: text(Column::Group),
            hospital,
            hospital_name: text(Column::HospitalName),
            specialty,
            specialty_name,
            case_type,
            adult_child: text(Column::AdultChild),
            age: text(Column::Age),
            time: time_band(&text(Column::Band)),
            count: total(&text(Column::Count))?,
        })
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let record = match self.first.take() {
            Some(record) => record,
            None => match self.records.next()? {
                Ok(record) => record,
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error.into()));
                }
            },
        };
        Some(self.row(&record).map_err(|reason| ReadError::Row { line: record.line, reason }))
    }
}

/// A file whose columns are known.
struct Opened<R> {
    records: Records<R>,
    columns: Columns,
    first: Option<Record>,
    first_line: usize,
    names: Vec<String>,
}

impl<R: Read> Opened<R> {
    fn new(input: R) -> Result<Self, ReadError> {
        let mut records = Records::new(input);
        let Some(first) = records.next().transpose()? else {
            return Err(ReadError::File { line: 1, reason: "the file is empty" });
        };
        let first_line = first.line;
        let columns =
            Columns::of(&first).map_err(|reason| ReadError::File { line: first_line, reason })?;
        let (names, first) = if columns.has_head {
            (trimmed(columns.cells(&first)), None)
        } else {
            (columns.usual_names(), Some(first))
        };
        Ok(Self { records, columns, first, first_line, names })
    }
}

fn trimmed(cells: &[String]) -> Vec<String> {
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// Digits and nothing else.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// How many people, and why not where it does not say.
fn total(text: &str) -> Result<u32, &'static str> {
    if let Some(total) = number(text) {
        return Ok(total);
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Err(match text.split_once(['.', ',']) {
        _ if text.is_empty() => "its total is missing",
        _ if is_digits(text) => "its total is larger than 4,294,967,295",
        _ if text.strip_prefix('-').is_some_and(is_digits) => "its total is negative",
        Some((whole, part)) if is_digits(whole) && is_digits(part) => "its total is a fraction",
        _ => "its total is no whole number",
    })
}

/// A text without blanks around it, and one between words.
fn tidy(text: &str) -> String {
    let mut words = text.split_whitespace();
    let mut tidied = String::from(words.next().unwrap_or_default());
    for word in words {
        tidied.push(' ');
        tidied.push_str(word);
    }
    tidied
}

/// A time band as the files of most years have it: `18+ Months`, not `18 Months +`.
fn time_band(text: &str) -> String {
    if !text.contains('+') {
        return text.into();
    }
    let rest = tidy(&text.replace('+', " "));
    match rest.split_once(' ') {
        Some((months, unit)) => format!("{months}+ {unit}"),
        None => format!("{rest}+"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Archive_Date,Group,Hospital_HIPE,Hospital,Specialty_HIPE1,Speciality,\
                        Adult_Child,Age_Profile,Time_Bands,Total";

    fn rows(text: &str) -> Vec<Result<Row, (usize, &'static str)>> {
        let form = Form::of(text.as_bytes()).unwrap();
        let rows = Rows::new(text.as_bytes(), form.order).unwrap();
        rows.map(|row| {
            row.map_err(|error| match error {
                ReadError::Row { line, reason } => (line, reason),
                other => panic!("{other}"),
            })
        })
        .collect()
    }

    #[test]
    fn a_row_says_all_that_the_file_does() {
        let text = format!(
            "\u{feff}{HEAD}\r\n30/01/2020, Saolta ,801,\"Merlin  Park\",0600,ENT,Adult,16-64, 0-3 Months,41\r\n"
        );
        let expected = Row {
            line: 2,
            date: Day { year: 2020, month: 1, day: 30 },
            group: "Saolta".into(),
            hospital: Some("0801".parse().unwrap()),
            hospital_name: "Merlin Park".into(),
            specialty: Some(600),
            specialty_name: "ENT".into(),
            case_type: "Outpatient".into(),
            adult_child: "Adult".into(),
            age: "16-64".into(),
            time: "0-3 Months".into(),
            count: 41,
        };
        assert_eq!(rows(&text), [Ok(expected)]);
    }

    #[test]
    fn a_file_without_hospitals_is_read_and_empty_age_and_band_too() {
        let text = "Archive_Date,Specialty_HIPE,Specialty_Name,Case_Type,Adult_Child,Age_Profile,\
                    Time_Bands,Total,\n2018-01-31,NULL,Other,Day Case,,,,5,\n";
        let row = rows(text).remove(0).unwrap();
        assert_eq!((row.hospital, row.specialty, row.count), (None, None, 5));
        assert_eq!((&*row.specialty_name, &*row.case_type), ("Other", "Day Case"));
        assert_eq!((&*row.adult_child, &*row.age, &*row.time), ("", "", ""));
    }

    #[test]
    fn a_total_that_is_none_says_why() {
        let told = |total: &str| {
            let row = |total: &str| format!("31/01/2020,600,ENT,Adult,16-64,0-3 Months,{total}\n");
            rows(&(row("1") + &row(&format!("\"{total}\""))))
                .remove(1)
                .map(|row| row.count)
                .map_err(|(_, reason)| reason)
        };
        assert_eq!(told("4294967295"), Ok(u32::MAX));
        assert_eq!(told("0"), Ok(0));
        assert_eq!(told("4294967296"), Err("its total is larger than 4,294,967,295"));
        assert_eq!(told("99999999999999999999999"), Err("its total is larger than 4,294,967,295"));
        assert_eq!(told("-7"), Err("its total is negative"));
        assert_eq!(told("7.5"), Err("its total is a fraction"));
        assert_eq!(told("7,0"), Err("its total is a fraction"));
        assert_eq!(told("<5"), Err("its total is no whole number"));
        assert_eq!(told("+7"), Err("its total is no whole number"));
        assert_eq!(told(" "), Err("its total is missing"));
    }

    #[test]
    fn rows_come_on_after_one_that_is_not_understood() {
        let good = "31/01/2020,600,ENT,Adult,16-64,0-3 Months,7\n";
        let told = rows(&format!("{good}{}{good}", good.replace("31/01", "31/02")));
        assert!(told[0].is_ok() && told[2].is_ok());
        assert_eq!(told[1], Err((2, "its date is no date")));
    }

    #[test]
    fn the_form_has_the_head_in_the_files_own_words() {
        let rows = "30/01/2020,G,0904,H,0600,ENT,Adult,16-64, 0-3 Months,7\r\n".repeat(12);
        let form = Form::of(format!("{HEAD},\r\n{rows}").as_bytes()).unwrap();
        assert_eq!(form.columns.join(","), HEAD);
        assert_eq!(form.head.len(), Form::HEAD_ROWS);
        assert_eq!(form.head[0].join(","), rows.lines().next().unwrap().replace(", 0", ",0"));
        let headless = Form::of(rows.as_bytes()).unwrap();
        assert_eq!(headless.columns.join(","), HEAD.replace("HIPE1", "HIPE"));
        assert_eq!(headless.head, form.head);
    }

    #[test]
    fn the_order_of_dates_is_found_however_late_it_shows() {
        let row = "01/02/2020,600,ENT,Adult,16-64,0-3 Months,7\n";
        let late = |last: &str| {
            Form::of((row.repeat(1_000) + &row.replace("01/02", last)).as_bytes()).unwrap().order
        };
        assert_eq!(late("01/31"), DateOrder::MonthFirst);
        assert_eq!(late("31/01"), DateOrder::DayFirst);
        assert_eq!(late("02/02"), DateOrder::DayFirst);
        let both = row.replace("01/02", "01/31") + row;
        assert_eq!(
            Form::of((both + &row.replace("01/02", "31/01")).as_bytes()).unwrap().order,
            DateOrder::DayFirst
        );
    }

    /// Gives a little, then fails.
    struct Broken(bool);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("broken"));
            }
            let text = b"31/01/2020,600,ENT,Adult,16-64,0-3 Months,7\n31/01";
            buffer[..text.len()].copy_from_slice(text);
            Ok(text.len())
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_on_is_told_once() {
        let mut rows = Rows::new(Broken(false), DateOrder::DayFirst).unwrap();
        assert!(rows.next().unwrap().is_ok());
        assert!(matches!(rows.next(), Some(Err(ReadError::Unreadable(_)))));
        assert!(rows.next().is_none());
    }
}
