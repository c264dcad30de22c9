//! Rows of hospitals as a census takes them, out of whole files.

use std::sync::Arc;

use crate::{Band, Form, Hospital, Month, ReadError, Row, Rows, StatedRow};

/// One row of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// At which hospital.
    pub hospital: Hospital,
    /// When they were counted.
    pub month: Month,
    /// The specialty's HIPE code; `None` when the file has none.
    pub specialty: Option<u16>,
    /// Who was counted.
    pub band: Band,
    /// How many people.
    pub count: u32,
    /// In which file.
    pub file: Arc<str>,
    /// In which line of it.
    pub line: usize,
}

impl Entry {
    /// What stands in a leaf where a file gives no code. No specialty has it.
    pub const NO_CODE: u16 = u16::MAX;

    /// Whether two rows are the same, wherever they were read.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        (&self.hospital, self.month, self.stated().key())
            == (&other.hospital, other.month, other.stated().key())
    }

    /// What is proven of it.
    #[must_use]
    pub fn stated(&self) -> StatedRow {
        StatedRow { specialty: self.specialty, band: self.band.clone(), count: self.count }
    }

    /// Of a row; `hospital` is whose it is when the row does not say.
    fn of(row: Row, hospital: Option<&Hospital>, file: &Arc<str>) -> Result<Self, &'static str> {
        let hospital = row.hospital.or_else(|| hospital.cloned());
        let hospital = hospital.ok_or("it names no hospital by number")?;
        let month = Month::new(row.date.year, row.date.month).ok_or("its date is no date")?;
        let specialty_name =
            if row.specialty.is_none() { row.specialty_name } else { String::new() };
        let band = Band {
            specialty_name,
            case_type: row.case_type,
            adult_child: row.adult_child,
            age: row.age,
            time: row.time,
        };
        let file = Arc::clone(file);
        let (specialty, count, line) = (row.specialty, row.count, row.line);
        Ok(Self { hospital, month, specialty, band, count, file, line })
    }
}

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
        if let Err(error) = self.read_rows(&file, bytes, hospital) {
            let (line, reason) = match error {
                ReadError::Row { line, reason } | ReadError::File { line, reason } => {
                    (line, reason)
                }
                ReadError::Unreadable(_) => (1, "the file could not be read"),
            };
            self.problems.push(RowProblem { file, line, reason });
        }
    }

    fn read_rows(
        &mut self,
        file: &Arc<str>,
        bytes: &[u8],
        hospital: Option<&Hospital>,
    ) -> Result<(), ReadError> {
        let rows = Rows::new(bytes, Form::of(bytes)?.order)?;
        if !rows.name_hospitals() && hospital.is_none() {
            let reason = "the file does not say of which hospital its rows are";
            return Err(ReadError::File { line: rows.first_line(), reason });
        }
        for row in rows {
            let entry = row.and_then(|row| {
                let line = row.line;
                Entry::of(row, hospital, file).map_err(|reason| ReadError::Row { line, reason })
            });
            match entry {
                Ok(entry) => self.entries.push(entry),
                Err(ReadError::Row { line, reason }) => {
                    self.problems.push(RowProblem { file: Arc::clone(file), line, reason });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
