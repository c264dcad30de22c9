//! A waiting list that is made up, for when no file is given: of the form, and about the size, of that of January
//! 2020. Nobody was counted for it; its hospitals, groups and specialties say in their names that they do not exist.
//!
//! The same seed and number of rows make the same bytes everywhere: only whole numbers are used.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

/// As many rows as the outpatient list by hospital of January 2020 has.
pub const SYNTHETIC_ROWS: u64 = 6_706;

const HOSPITALS: u64 = 44;
const GROUPS: u64 = 7;
const SPECIALTIES: u64 = 68;

/// Adult or child, age, and how many of a hundred rows are of it, about as published.
const AGES: [(&str, &str, u64); 4] =
    [("Adult", "16-64", 43), ("Adult", "65+", 37), ("Child", "0-15", 18), ("Child", "16-64", 2)];

/// Time bands, and how many of a hundred rows are of each, about as published.
const BANDS: [(&str, u64); 7] = [
    ("0-3 Months", 20),
    ("3-6 Months", 18),
    ("6-9 Months", 16),
    ("9-12 Months", 14),
    ("12-15 Months", 12),
    ("15-18 Months", 10),
    ("18+ Months", 10),
];

/// Random enough for a list that is made up.
///
/// # Source
///
/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

/// Writes a list of so many rows: a month of [`SYNTHETIC_ROWS`] at a time, from January 2020 on.
///
/// # Errors
///
/// What writing reports.
pub fn write_synthetic(mut out: impl Write, seed: u64, rows: u64) -> io::Result<()> {
    writeln!(
        out,
        "Archive_Date,Group,Hospital_HIPE,Hospital,Specialty_HIPE,Speciality,Adult_Child,Age_Profile,Time_Bands,Total"
    )?;
    let mut numbers = Numbers(seed);
    let mut left = rows;
    for month in 0.. {
        if left == 0 {
            break;
        }
        // The 28th is a day of every month.
        let date = format!("28/{:02}/{:04}", month % 12 + 1, 2020 + month / 12);
        let count = left.min(SYNTHETIC_ROWS);
        write_month(&mut out, &date, count, &mut numbers)?;
        left -= count;
    }
    out.flush()
}

fn write_month(
    out: &mut impl Write,
    date: &str,
    rows: u64,
    numbers: &mut Numbers,
) -> io::Result<()> {
    // The cells that draw the smallest numbers are there; a cell of more weight draws smaller ones.
    let mut drawn = BTreeSet::new();
    for cell in Cell::all() {
        drawn.insert((numbers.next() / cell.weight(), cell));
        if drawn.len() as u64 > rows {
            drawn.pop_last();
        }
    }
    let cells: BTreeSet<Cell> = drawn.into_iter().map(|(_, cell)| cell).collect();
    for cell in cells {
        let Cell { hospital, specialty, age, band } = cell;
        let ((adult_child, age, _), (band, _)) = (AGES[age], BANDS[band]);
        // Few of many and many of few, as in any waiting list: about 86 in the mean, 1,024 at most.
        let most = 1 << (numbers.next() % 12);
        let total = 1 + numbers.next() % most / 2;
        let (number, code) = (9_001 + hospital, 100 * (specialty + 1));
        writeln!(
            out,
            "{date},Made-up Group {},{number:04},Made-up Hospital {:02},{code:04},Made-up Specialty \
             {:02},{adult_child},{age},{band},{total}",
            hospital % GROUPS + 1,
            hospital + 1,
            specialty + 1,
        )?;
    }
    Ok(())
}

/// A row without its total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    hospital: u64,
    specialty: u64,
    age: usize,
    band: usize,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        let pairs = (0..HOSPITALS).flat_map(|one| (0..SPECIALTIES).map(move |two| (one, two)));
        pairs.flat_map(|(hospital, specialty)| {
            let cells = (0..AGES.len()).flat_map(|one| (0..BANDS.len()).map(move |two| (one, two)));
            cells.map(move |(age, band)| Self { hospital, specialty, age, band })
        })
    }

    /// Large hospitals and common specialties come first, and have most; the last have some.
    fn weight(self) -> u64 {
        let falling = |place: u64, of: u64| 4 + 20 * (of - place) / of;
        falling(self.hospital, HOSPITALS).pow(2)
            * falling(self.specialty, SPECIALTIES).pow(2)
            * AGES[self.age].2
            * BANDS[self.band].1
    }
}
