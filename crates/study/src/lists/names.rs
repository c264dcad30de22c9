//! One name for each specialty and hospital, where the files have several.
//!
//! The name that most rows have is everybody's; among names in as many rows, the first by alphabet. Files that have
//! no names at all take them from the others. One exception: a hospital that a file calls what elsewhere is the name
//! of another number keeps the name that it has there. Number and name contradict each other then, and which of them
//! is wrong cannot be known here; it is said.
//!
//! A hospital's group is left as each row has it: groups were formed anew in these years.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::row::Row;

/// How names are used.
#[derive(Debug, Default)]
pub(super) struct NameCount {
    specialties: BTreeMap<u16, BTreeMap<String, Uses>>,
    hospitals: BTreeMap<String, BTreeMap<String, Uses>>,
}

#[derive(Debug, Default)]
struct Uses {
    rows: u64,
    sources: BTreeSet<usize>,
}

impl NameCount {
    pub(super) fn add(&mut self, source: usize, row: &Row) {
        if let Some(code) = row.specialty.code {
            count(self.specialties.entry(code).or_default(), source, &row.specialty.name);
        }
        if let Some(hospital) = &row.hospital {
            if !self.hospitals.contains_key(&hospital.number) {
                self.hospitals.insert(hospital.number.clone(), BTreeMap::new());
            }
            if let Some(names) = self.hospitals.get_mut(&hospital.number) {
                count(names, source, &hospital.name);
            }
        }
    }

    /// The names to use, and what contradicts: for each source in words.
    pub(super) fn settle(&self) -> (Names, Vec<(usize, String)>) {
        let specialties = self.specialties.iter();
        let hospitals = self.hospitals.iter();
        let names = Names {
            specialties: specialties
                .filter_map(|(code, uses)| Some((*code, most(uses)?)))
                .collect(),
            hospitals: hospitals
                .filter_map(|(number, uses)| Some((number.clone(), most(uses)?)))
                .collect(),
        };
        let mut remarks = Vec::new();
        for (number, uses) in &self.hospitals {
            for (name, uses) in uses.iter().filter(|(name, _)| names.is_of_another(number, name)) {
                let elsewhere = names.hospitals.iter().find(|(_, other)| *other == name);
                let elsewhere = elsewhere.map_or("another", |(number, _)| number);
                for source in &uses.sources {
                    let remark = format!(
                        "hospital {number} is called {name} here, in {} rows, which elsewhere is {elsewhere}; both are \
                         left as published",
                        uses.rows
                    );
                    remarks.push((*source, remark));
                }
            }
        }
        (names, remarks)
    }
}

fn count(names: &mut BTreeMap<String, Uses>, source: usize, name: &str) {
    if name.is_empty() {
        return;
    }
    if !names.contains_key(name) {
        names.insert(name.to_owned(), Uses::default());
    }
    if let Some(uses) = names.get_mut(name) {
        uses.rows += 1;
        uses.sources.insert(source);
    }
}

fn most(names: &BTreeMap<String, Uses>) -> Option<String> {
    let first = names.iter().min_by_key(|(name, uses)| (Reverse(uses.rows), *name));
    first.map(|(name, _)| name.clone())
}

/// One name for each.
#[derive(Debug, Default)]
pub(super) struct Names {
    specialties: BTreeMap<u16, String>,
    hospitals: BTreeMap<String, String>,
}

impl Names {
    fn is_of_another(&self, number: &str, name: &str) -> bool {
        let own = self.hospitals.get(number).is_some_and(|own| own == name);
        !own && self.hospitals.values().any(|other| other == name)
    }

    pub(super) fn apply(&self, row: &mut Row) {
        if let Some(name) = row.specialty.code.and_then(|code| self.specialties.get(&code))
            && row.specialty.name != *name
        {
            row.specialty.name.clone_from(name);
        }
        if let Some(hospital) = &mut row.hospital
            && let Some(name) = self.hospitals.get(&hospital.number)
            && hospital.name != *name
            && !self.is_of_another(&hospital.number, &hospital.name)
        {
            hospital.name.clone_from(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::tests::row;

    fn named(number: &str, hospital: &str, specialty: &str) -> Row {
        let mut row = row(Some(number), 1);
        row.hospital.as_mut().unwrap().name = hospital.into();
        row.specialty.name = specialty.into();
        row
    }

    /// The names of hospital and specialty of each row, and the remarks.
    type Settled = (Vec<(String, String)>, Vec<(usize, String)>);

    fn settled(rows: &[Row]) -> Settled {
        let mut count = NameCount::default();
        for (source, row) in rows.iter().enumerate() {
            count.add(source, row);
        }
        let (names, remarks) = count.settle();
        let told = rows.iter().cloned().map(|mut row| {
            names.apply(&mut row);
            (row.hospital.unwrap().name, row.specialty.name)
        });
        (told.collect(), remarks)
    }

    #[test]
    fn most_rows_give_the_name_then_the_alphabet() {
        let rows = [
            named("0001", "B", "Y"),
            named("0001", "A", "X"),
            named("0001", "B", ""),
            named("0001", "", ""),
        ];
        let expected = vec![("B".to_owned(), "X".to_owned()); 4];
        assert_eq!(settled(&rows), (expected, Vec::new()));
    }

    #[test]
    fn a_name_that_is_another_numbers_is_left_and_said() {
        let rows = [
            named("0300", "L", "X"),
            named("0300", "L", "X"),
            named("0302", "C", "X"),
            named("0302", "C", "X"),
            named("0302", "L", "X"),
        ];
        let (told, remarks) = settled(&rows);
        let names: Vec<_> = told.iter().map(|(hospital, _)| hospital.as_str()).collect();
        assert_eq!(names, ["L", "L", "C", "C", "L"]);
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].0 == 4 && remarks[0].1.contains("0302 is called L here"), "{remarks:?}");
    }
}
