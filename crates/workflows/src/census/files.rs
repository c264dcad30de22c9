//! Reading the files in which waiting lists are published: one row for each hospital, specialty, age and
//! time band, with how many people wait.
//!
//! Every year has its own form: with or without a byte order mark, three orders of a date, several names
//! for each column, none at all in one file. What is the same is read the same. A row that is not
//! understood is told with its line; none is left out.

use std::{fmt, str::FromStr, sync::Arc};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use super::{Band, Entry};

/// A hospital's number in the national files: four digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hospital(String);

impl Hospital {
    /// As the contract holds it: as text at the left of 32 bytes.
    #[must_use]
    pub fn to_word(&self) -> B256 {
        B256::right_padding_from(self.0.as_bytes())
    }
}

impl FromStr for Hospital {
    type Err = NotUnderstood;

    /// Up to four digits; zeros that are left out come back.
    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        let digits = text.trim();
        let is_number = matches!(digits.len(), 1..=4) && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number {
            return Err(NotUnderstood("a hospital's number has up to four digits"));
        }
        Ok(Self(format!("{digits:0>4}")))
    }
}

impl fmt::Display for Hospital {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Hospital {
    type Error = NotUnderstood;

    fn try_from(text: String) -> Result<Self, NotUnderstood> {
        text.parse()
    }
}

impl From<Hospital> for String {
    fn from(hospital: Hospital) -> Self {
        hospital.0
    }
}

/// A month of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month {
    year: u16,
    month: u8,
}

impl Month {
    /// A month, counted from 1; `None` unless the year has four digits.
    #[must_use]
    pub const fn new(year: u16, month: u8) -> Option<Self> {
        let is_month = 1 <= month && month <= 12 && 1_000 <= year && year <= 9_999;
        if is_month { Some(Self { year, month }) } else { None }
    }

    /// As the contract writes it: year times 100 plus month.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.year as u32 * 100 + self.month as u32
    }
}

impl FromStr for Month {
    type Err = NotUnderstood;

    /// Such as `2020-01` or `202001`.
    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        const REASON: NotUnderstood = NotUnderstood("a month is written as in 2020-01");
        let digits = text.trim().replacen('-', "", 1);
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(REASON);
        }
        let (year, month) = digits.split_at(4);
        let year = year.parse::<u16>().map_err(|_| REASON)?;
        let month = month.parse::<u8>().map_err(|_| REASON)?;
        Self::new(year, month).ok_or(REASON)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl TryFrom<String> for Month {
    type Error = NotUnderstood;

    fn try_from(text: String) -> Result<Self, NotUnderstood> {
        text.parse()
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

/// A text does not say what it should, and this is why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(&'static str);

/// A row that was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {reason}")]
pub struct RowProblem {
    /// In which file.
    pub file: Arc<str>,
    /// In which line, from 1: where the row begins.
    pub line: usize,
    /// Why.
    pub reason: &'static str,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The rows, in their order.
    pub entries: Vec<Entry>,
    /// Those that were not understood.
    pub problems: Vec<RowProblem>,
}

impl Reading {
    /// Reads one more file. `hospital` is whose rows these are when the file does not say.
    pub fn read(&mut self, name: &str, bytes: &[u8], hospital: Option<&Hospital>) {
        let file: Arc<str> = name.into();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut records = split(bytes, delimiter(bytes));
        let mut problem = |line, reason| {
            self.problems.push(RowProblem { file: Arc::clone(&file), line, reason });
        };
        // What spreadsheets leave at the end of a file: nothing is in it.
        records.retain(|record| record.fault.is_some() || !record.is_blank());
        let Some(first) = records.first() else {
            problem(1, "the file is empty");
            return;
        };
        let columns = match Columns::of(first) {
            Ok(columns) => columns,
            Err(reason) => {
                problem(first.line, reason);
                return;
            }
        };
        if columns.at[Column::Hospital as usize].is_none() && hospital.is_none() {
            problem(first.line, "the file does not say of which hospital its rows are");
            return;
        }
        let rows = if columns.has_head { &records[1..] } else { &records[..] };
        let dates = rows.iter().filter_map(|record| columns.get(record, Column::Date));
        let order = DateOrder::of(dates.filter_map(date_parts));
        for record in rows {
            match columns.entry(record, order, hospital, &file) {
                Ok(entry) => self.entries.push(entry),
                Err(reason) => problem(record.line, reason),
            }
        }
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Date,
    Group,
    Hospital,
    HospitalName,
    Specialty,
    SpecialtyName,
    CaseType,
    AdultChild,
    Age,
    Band,
    Count,
}

impl Column {
    const COUNT: usize = 11;

    /// The column that a file calls so.
    fn named(name: &str) -> Option<Self> {
        let letters: String =
            name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        Some(match &*letters {
            "archivedate" | "date" => Self::Date,
            "group" | "hospitalgroup" => Self::Group,
            "hospitalhipe" | "hospitalhipe1" => Self::Hospital,
            "hospital" | "hospitalname" => Self::HospitalName,
            "specialtyhipe" | "specialtyhipe1" | "specialityhipe" => Self::Specialty,
            "speciality" | "specialty" | "specialtyname" | "specialityname" => Self::SpecialtyName,
            "casetype" => Self::CaseType,
            "adultchild" => Self::AdultChild,
            "ageprofile" | "agecategorisation" => Self::Age,
            "timebands" | "timeband" => Self::Band,
            "total" | "count" => Self::Count,
            _ => return None,
        })
    }
}

/// What a file without a head has, by the number of its columns: the forms of files that have one.
const HEADLESS: [&[Column]; 4] = {
    use Column::{
        AdultChild, Age, Band, CaseType, Count, Date, Group, Hospital, HospitalName, Specialty,
        SpecialtyName,
    };
    [
        &[Date, Specialty, SpecialtyName, AdultChild, Age, Band, Count],
        &[Date, Specialty, SpecialtyName, CaseType, AdultChild, Age, Band, Count],
        &[
            Date,
            Group,
            Hospital,
            HospitalName,
            Specialty,
            SpecialtyName,
            AdultChild,
            Age,
            Band,
            Count,
        ],
        &[
            Date,
            Group,
            Hospital,
            HospitalName,
            Specialty,
            SpecialtyName,
            CaseType,
            AdultChild,
            Age,
            Band,
            Count,
        ],
    ]
};

/// Which column is where.
struct Columns {
    has_head: bool,
    at: [Option<usize>; Column::COUNT],
    /// How many there are.
    width: usize,
}

impl Columns {
    fn of(first: &Record) -> Result<Self, &'static str> {
        if let Some(fault) = first.fault {
            return Err(fault);
        }
        let width = first.width();
        let mut columns = Self { has_head: true, at: [None; Column::COUNT], width };
        if date_parts(&first.fields[0]).is_some() {
            let form = HEADLESS.iter().find(|form| form.len() == width);
            let form =
                form.ok_or("the file has no head, and none of the known numbers of columns")?;
            columns.has_head = false;
            for (position, column) in form.iter().enumerate() {
                columns.at[*column as usize] = Some(position);
            }
            return Ok(columns);
        }
        for (position, name) in first.fields[..width].iter().enumerate() {
            // A column that is left out would make rows the same that are not.
            let column = Column::named(name).ok_or("a column has a name that is not known")?;
            if columns.at[column as usize].replace(position).is_some() {
                return Err("two columns hold the same");
            }
        }
        let needed = [Column::Date, Column::Specialty, Column::Age, Column::Band, Column::Count];
        if needed.iter().any(|column| columns.at[*column as usize].is_none()) {
            return Err("a column is missing: date, specialty, age, time band or total");
        }
        Ok(columns)
    }

    fn get<'a>(&self, record: &'a Record, column: Column) -> Option<&'a str> {
        record.fields.get(self.at[column as usize]?).map(String::as_str)
    }

    fn entry(
        &self,
        record: &Record,
        order: DateOrder,
        hospital: Option<&Hospital>,
        file: &Arc<str>,
    ) -> Result<Entry, &'static str> {
        if let Some(fault) = record.fault {
            return Err(fault);
        }
        // Fields beyond the last column may be there, if they are empty.
        if record.fields.len() < self.width || record.width() > self.width {
            return Err("it has other columns than the first line");
        }
        let text = |column| self.get(record, column).map(tidy).unwrap_or_default();
        let month = date_parts(&text(Column::Date)).and_then(|parts| order.month(parts));
        let month = month.ok_or("its date is no date")?;
        let hospital = match self.get(record, Column::Hospital) {
            Some(number) => {
                number.parse::<Hospital>().map_err(|_| "it names no hospital by number")?
            }
            None => hospital.cloned().ok_or("it names no hospital by number")?,
        };
        let (code, name) = (text(Column::Specialty), text(Column::SpecialtyName));
        let specialty = match &*code {
            "" | "NULL" if name.is_empty() => return Err("it names no specialty"),
            "" | "NULL" => None,
            code => {
                let code = number::<u16>(code).filter(|code| *code != Entry::NO_CODE);
                Some(code.ok_or("its specialty's code is no number")?)
            }
        };
        let count = number(&text(Column::Count)).ok_or("its total is no whole number")?;
        let case_type = match self.at[Column::CaseType as usize] {
            Some(_) => text(Column::CaseType),
            // Only the lists for beds and day places have this column.
            None => "Outpatient".into(),
        };
        let band = Band {
            specialty_name: if specialty.is_none() { name } else { String::new() },
            case_type,
            adult_child: text(Column::AdultChild),
            age: text(Column::Age),
            time: time_band(&text(Column::Band)),
        };
        Ok(Entry {
            hospital,
            month,
            specialty,
            band,
            count,
            file: Arc::clone(file),
            line: record.line,
        })
    }
}

/// Digits and nothing else.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// A text without blanks around it, and one between words.
fn tidy(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

/// In which order a file writes day and month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DateOrder {
    DayFirst,
    MonthFirst,
}

impl DateOrder {
    /// One row can leave it open; a file as a whole seldom does. In Ireland the day comes first.
    fn of(dates: impl Iterator<Item = DateParts>) -> Self {
        let (mut day_first, mut month_first) = (false, false);
        for (one, other) in dates.filter_map(|parts| match parts {
            DateParts::YearFirst(..) => None,
            DateParts::YearLast(one, other, _) => Some((one, other)),
        }) {
            day_first |= one > 12;
            month_first |= other > 12;
        }
        if month_first && !day_first { Self::MonthFirst } else { Self::DayFirst }
    }

    fn month(self, parts: DateParts) -> Option<Month> {
        let (year, month, day) = match (self, parts) {
            (_, DateParts::YearFirst(year, month, day))
            | (Self::DayFirst, DateParts::YearLast(day, month, year))
            | (Self::MonthFirst, DateParts::YearLast(month, day, year)) => (year, month, day),
        };
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u16::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let month = Month::new(year, u8::try_from(month).ok()?)?;
        (1..=days).contains(&day).then_some(month)
    }
}

/// The three numbers of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DateParts {
    YearFirst(u16, u16, u16),
    YearLast(u16, u16, u16),
}

fn date_parts(text: &str) -> Option<DateParts> {
    let mut parts = text.trim().split(['/', '-', '.']);
    let (one, two, three) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let numbers = (number(one)?, number(two)?, number(three)?);
    match (one.len(), two.len(), three.len()) {
        (4, 1 | 2, 1 | 2) => Some(DateParts::YearFirst(numbers.0, numbers.1, numbers.2)),
        (1 | 2, 1 | 2, 4) => Some(DateParts::YearLast(numbers.0, numbers.1, numbers.2)),
        _ => None,
    }
}

/// One record of a file.
#[derive(Clone, Debug, Default)]
struct Record {
    line: usize,
    fields: Vec<String>,
    fault: Option<&'static str>,
}

impl Record {
    /// How many fields there are, without empty ones at the end.
    fn width(&self) -> usize {
        let last = self.fields.iter().rposition(|field| !field.trim().is_empty());
        last.map_or(0, |last| last + 1)
    }

    fn is_blank(&self) -> bool {
        self.width() == 0
    }
}

/// What stands between fields: what the first line has most of, outside of quotes.
fn delimiter(bytes: &[u8]) -> u8 {
    const DELIMITERS: [u8; 3] = *b",;\t";
    let (mut quoted, mut counts) = (false, [0_usize; 3]);
    for byte in bytes.iter().skip_while(|byte| byte.is_ascii_whitespace()) {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            byte if !quoted => {
                if let Some(position) = DELIMITERS.iter().position(|one| one == byte) {
                    counts[position] += 1;
                }
            }
            _ => {}
        }
    }
    // The first of equals, so that a file of one column has the usual one.
    let most = counts.iter().copied().max().unwrap_or_default();
    counts.iter().position(|count| *count == most).map_or(b',', |position| DELIMITERS[position])
}

/// Splits a file into its records.
///
/// # Source
///
/// RFC 4180, with line feeds alone, and with any delimiter.
fn split(bytes: &[u8], delimiter: u8) -> Vec<Record> {
    let mut records = Vec::new();
    let mut line = 1;
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut record = Record { line, ..Record::default() };
        loop {
            let (field, after) = match rest.strip_prefix(b"\"") {
                Some(inside) => quoted(inside, delimiter, &mut record.fault),
                None => {
                    let is_end = |byte: &u8| *byte == delimiter || *byte == b'\n';
                    let end = rest.iter().position(is_end).unwrap_or(rest.len());
                    (rest[..end].to_vec(), &rest[end..])
                }
            };
            line += field.iter().filter(|byte| **byte == b'\n').count();
            let field = field.strip_suffix(b"\r").unwrap_or(&field);
            match std::str::from_utf8(field) {
                Ok(text) => record.fields.push(text.into()),
                Err(_) => {
                    record.fields.push(String::new());
                    record.fault = Some("it is not UTF-8");
                }
            }
            match after.split_first() {
                Some((byte, after)) if *byte == delimiter => rest = after,
                Some((_, after)) => {
                    rest = after;
                    break;
                }
                None => {
                    rest = after;
                    break;
                }
            }
        }
        line += 1;
        records.push(record);
    }
    records
}

/// What is in quotes, and what comes after them.
fn quoted<'a>(
    inside: &'a [u8],
    delimiter: u8,
    fault: &mut Option<&'static str>,
) -> (Vec<u8>, &'a [u8]) {
    let mut field = Vec::new();
    let mut rest = inside;
    loop {
        match rest {
            [b'"', b'"', after @ ..] => {
                field.push(b'"');
                rest = after;
            }
            [b'"', after @ ..] => {
                let is_end = |byte: &u8| *byte == delimiter || *byte == b'\n';
                let end = after.iter().position(is_end).unwrap_or(after.len());
                if !matches!(&after[..end], b"" | b"\r") {
                    *fault = Some("something follows on a quoted field");
                }
                return (field, &after[end..]);
            }
            [byte, after @ ..] => {
                field.push(*byte);
                rest = after;
            }
            [] => {
                *fault = Some("a quoted field does not end");
                return (field, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Archive_Date,Group,Hospital_HIPE,Hospital,Specialty_HIPE1,Speciality,\
                        Adult_Child,Age_Profile,Time_Bands,Total";

    fn read(text: impl AsRef<[u8]>) -> Reading {
        let mut reading = Reading::default();
        reading.read("made-up.csv", text.as_ref(), None);
        reading
    }

    /// The only row of a file without any problem.
    #[track_caller]
    fn one(text: impl AsRef<[u8]>) -> Entry {
        let mut reading = read(text);
        assert_eq!(reading.problems, []);
        assert_eq!(reading.entries.len(), 1);
        reading.entries.remove(0)
    }

    /// The same row as in every other form.
    #[track_caller]
    fn check(text: impl AsRef<[u8]>) {
        let usual = one(format!("{HEAD}\n31/01/2020,G,0904,H,0600,ENT,Adult,16-64,18+ Months,7\n"));
        assert!(one(text).says_the_same_as(&usual));
    }

    #[track_caller]
    fn check_problem(text: impl AsRef<[u8]>, line: usize, reason: &str) {
        let reading = read(text);
        let told: Vec<_> = reading.problems.iter().map(|one| (one.line, one.reason)).collect();
        assert_eq!(told, [(line, reason)]);
    }

    #[test]
    fn every_form_in_which_files_were_published_is_read() {
        let row = "31/01/2020,G,0904,H,0600,ENT,Adult,16-64,18 Months +,7";
        check(format!("\u{feff}{HEAD}\r\n{row}\r\n\r\n"));
        check(format!("{HEAD},\n{row},\n,,,,,,,,,,\n"));
        check(row);
        check(format!("{HEAD}\n31-01-2020,G,904,H,600,ENT, Adult ,16-64,  18  Months + ,7"));
        check(format!("{HEAD}\n2020-01-31,G,904,H,600,ENT,Adult,16-64,18+ Months,007"));
        check(format!("{HEAD}\n1/31/2020,G,904,H,600,ENT,Adult,16-64,18+ Months,7"));
        check(format!(
            "{HEAD}\n31/1/2020,\"G, \"\"x\"\"\ny\",0904,H,0600,ENT,Adult,16-64,18+ Months,\"7\"\n"
        ));
        check(format!("{HEAD}\n{row}\n").replace(',', ";"));
        check(format!("{HEAD}\n{row}\n").replace(',', "\t"));
        check(
            "Archive Date,Hospital Group,Hospital HIPE,Hospital_Name,Specialty HIPE,Specialty_Name,\
             Adult Child,Age Categorisation,Time Bands,Count\n31/01/2020,G,904,H,600,ENT,Adult,16-64,18+ Months,7",
        );
        check("2020-01-31,G,904,H,600,ENT,Outpatient,Adult,16-64,18+ Months,7");
    }

    #[test]
    fn a_file_as_a_whole_says_whether_the_month_comes_first() {
        let row = |date| format!("{date},G,0904,H,0600,ENT,Adult,16-64,0-3 Months,7\n");
        let months = |one, other| {
            let reading = read(row(one) + &row(other));
            assert_eq!(reading.problems, []);
            let months = reading.entries.iter().map(|entry| entry.month.number());
            months.collect::<Vec<_>>()
        };
        assert_eq!(months("02/01/2020", "01/31/2020"), [202_002, 202_001]);
        assert_eq!(months("02/01/2020", "31/01/2020"), [202_001, 202_001]);
        assert_eq!(months("02/01/2020", "03/01/2020"), [202_001, 202_001]);
    }

    #[test]
    fn a_specialty_without_a_code_goes_by_its_name() {
        let row = |code, name| format!("31/01/2020,G,0904,H,{code},{name},,,0-3 Months,7\n");
        let entry = one(row("NULL", "Rare"));
        assert_eq!((entry.specialty, &*entry.band.specialty_name), (None, "Rare"));
        assert!(!entry.says_the_same_as(&one(row("NULL", "Other"))));
        check_problem(row("NULL", ""), 1, "it names no specialty");
        check_problem(row("65535", "ENT"), 1, "its specialty's code is no number");
    }

    #[test]
    fn files_that_name_no_hospital_need_one() {
        let text = "31/01/2020,600,ENT,Adult,16-64,0-3 Months,7\n";
        check_problem(text, 1, "the file does not say of which hospital its rows are");
        let mut reading = Reading::default();
        reading.read("made-up.csv", text.as_bytes(), Some(&"904".parse().unwrap()));
        assert_eq!(reading.entries[0].hospital.to_string(), "0904");
    }

    #[test]
    fn rows_that_are_not_understood_are_told_with_their_line() {
        let good = "31/01/2020,G,0904,H,0600,ENT,Adult,16-64,0-3 Months,7\n";
        let bad =
            |row: &str, reason| check_problem(format!("{HEAD}\n{good}\n{row}\n{good}"), 4, reason);
        bad(
            "31/01/2020,G,0904,H,0600,ENT,Adult,16-64,0-3 Months",
            "it has other columns than the first line",
        );
        bad(
            "31/01/2020,G,0904,H,0600,ENT,Adult,16-64,0-3 Months,7,8",
            "it has other columns than the first line",
        );
        bad("31/02/2020,G,0904,H,0600,ENT,Adult,16-64,0-3 Months,7", "its date is no date");
        bad("soon,G,0904,H,0600,ENT,Adult,16-64,0-3 Months,7", "its date is no date");
        bad(
            "31/01/2020,G,NULL,H,0600,ENT,Adult,16-64,0-3 Months,7",
            "it names no hospital by number",
        );
        bad(
            "31/01/2020,G,0904,H,06x0,ENT,Adult,16-64,0-3 Months,7",
            "its specialty's code is no number",
        );
        for count in ["-7", "7.0", "1 420", "4294967296", "", "+7"] {
            let row = format!("31/01/2020,G,0904,H,0600,ENT,Adult,16-64,0-3 Months,{count}");
            let text = format!("{good}{row}\n");
            let reading = read(text);
            assert_eq!((reading.entries.len(), reading.problems.len()), (1, 1), "{count}");
        }
        bad(
            "31/01/2020,\"G\"x,0904,H,0600,ENT,Adult,16-64,0-3 Months,7",
            "something follows on a quoted field",
        );
        check_problem(format!("{good}\"31/01/2020,G\n{good}"), 2, "a quoted field does not end");
        let latin = b"31/01/2020,\xe9,0904,H,0600,ENT,Adult,16-64,0-3 Months,7\n";
        check_problem([good.as_bytes(), latin].concat(), 2, "it is not UTF-8");
    }

    #[test]
    fn heads_that_are_not_understood_refuse_the_file() {
        check_problem("", 1, "the file is empty");
        check_problem("\n\n", 1, "the file is empty");
        check_problem(format!("\n{HEAD},Surgeon\n"), 2, "a column has a name that is not known");
        check_problem(format!("{HEAD},Count\n"), 1, "two columns hold the same");
        let missing = "a column is missing: date, specialty, age, time band or total";
        check_problem(HEAD.replace(",Total", ""), 1, missing);
        let reason = "the file has no head, and none of the known numbers of columns";
        check_problem("31/01/2020,G,0904,7\n", 1, reason);
    }
}
