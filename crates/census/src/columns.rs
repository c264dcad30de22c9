//! Which column of a file holds what, by the names of every year, or by their number where there are no names.

use crate::{date::DateParts, split::Record};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
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

    /// What most files call it.
    const fn usual_name(self) -> &'static str {
        match self {
            Self::Date => "Archive_Date",
            Self::Group => "Group",
            Self::Hospital => "Hospital_HIPE",
            Self::HospitalName => "Hospital",
            Self::Specialty => "Specialty_HIPE",
            Self::SpecialtyName => "Speciality",
            Self::CaseType => "Case_Type",
            Self::AdultChild => "Adult_Child",
            Self::Age => "Age_Profile",
            Self::Band => "Time_Bands",
            Self::Count => "Total",
        }
    }

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

/// Every column, in the order of a file that has them all.
const ALL: [Column; Column::COUNT] = [
    Column::Date,
    Column::Group,
    Column::Hospital,
    Column::HospitalName,
    Column::Specialty,
    Column::SpecialtyName,
    Column::CaseType,
    Column::AdultChild,
    Column::Age,
    Column::Band,
    Column::Count,
];

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
pub(crate) struct Columns {
    pub(crate) has_head: bool,
    at: [Option<usize>; Column::COUNT],
    /// How many there are.
    width: usize,
}

impl Columns {
    pub(crate) fn of(first: &Record) -> Result<Self, &'static str> {
        if let Some(fault) = first.fault {
            return Err(fault);
        }
        let width = first.width();
        let mut columns = Self { has_head: true, at: [None; Column::COUNT], width };
        if first.fields.first().and_then(|text| DateParts::of(text)).is_some() {
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

    /// Whether the file has such a column.
    pub(crate) const fn has(&self, column: Column) -> bool {
        self.at[column as usize].is_some()
    }

    /// What stands there in a record.
    pub(crate) fn get<'a>(&self, record: &'a Record, column: Column) -> Option<&'a str> {
        record.fields.get(self.at[column as usize]?).map(String::as_str)
    }

    /// Whether a record has these columns. Fields beyond the last may be there, if they are empty.
    pub(crate) fn fit(&self, record: &Record) -> bool {
        record.fields.len() >= self.width && record.width() <= self.width
    }

    /// What a record has in these columns.
    pub(crate) fn cells<'a>(&self, record: &'a Record) -> &'a [String] {
        &record.fields[..self.width.min(record.fields.len())]
    }

    /// What the columns of a file without a head are called in others, from the first.
    pub(crate) fn usual_names(&self) -> Vec<String> {
        let mut columns: Vec<_> = ALL.iter().filter(|column| self.has(**column)).collect();
        columns.sort_by_key(|column| self.at[**column as usize]);
        columns.into_iter().map(|column| column.usual_name().to_owned()).collect()
    }
}
