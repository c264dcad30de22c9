//! Who has a part in what: later events name only the thing, so this is kept when it begins.

use alloy_primitives::{Address, B256};
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use vault::StoreError;

use crate::columns::address;

/// What an id names. Ids are chosen by whoever issues them, so the same one may name a prescription and
/// an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A patient's relationships; the id is the patient's address.
    Relationships = 1,
    Prescription = 2,
    LabOrder = 3,
    Emergency = 4,
    Surgery = 5,
    /// A trial, one of its subjects, or one of its adverse events.
    Trial = 6,
    /// A device, a firmware, or an alert.
    Device = 7,
    WaitingList = 8,
    /// An offer, a study, or an order of an extract.
    Research = 10,
    /// A coverage, a request beforehand, or a claim.
    Claim = 9,
}

/// A part in something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Patient = 1,
    /// Who prescribed, ordered, opened or referred.
    Professional = 2,
    /// For which institution they acted.
    Institution = 3,
    /// The laboratory, a pharmacy that was permitted, the hospital where the patient waits, or a site of a trial.
    Counterpart = 4,
    /// A steward in an active relationship, or the site of a trial's subject.
    Steward = 5,
    /// One whose policy wants its signature under consents.
    Countersigner = 6,
    /// The regulator that approved a trial.
    Overseer = 7,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Patient,
        Self::Professional,
        Self::Institution,
        Self::Counterpart,
        Self::Steward,
        Self::Countersigner,
        Self::Overseer,
    ];
}

/// What the parties of something are looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) Scope, pub(crate) B256);

impl Key {
    /// What concerns a patient's relationships, and so whatever happens to their records.
    pub(crate) fn of_patient(patient: Address) -> Self {
        Self(Scope::Relationships, patient.into_word())
    }
}

/// Who has a part in one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parties {
    parts: Vec<(Part, Address)>,
    /// Whom the patient wants told when the glass is broken.
    pub(crate) contacts: Vec<Address>,
    /// Who cares for the patient at this gateway, by member address.
    pub(crate) care_team: Vec<Address>,
}

impl Parties {
    pub(crate) async fn load(connection: &mut AnyConnection, key: Key) -> Result<Self, StoreError> {
        let rows = sqlx::query(
            "select part, party from notify_parties where scope = $1 and subject = $2
            order by part, party",
        )
        .bind(key.0 as i64)
        .bind(key.1.to_vec())
        .fetch_all(connection)
        .await?;
        let party = |row: &AnyRow| -> Result<_, StoreError> {
            let number: i64 = row.try_get(0)?;
            let part = Part::ALL.into_iter().find(|part| *part as i64 == number);
            Ok((part.ok_or(StoreError::Corrupt { what: "part" })?, address(row, 1)?))
        };
        let parts = rows.iter().map(party).collect::<Result<_, _>>()?;
        Ok(Self { parts, ..Self::default() })
    }

    /// Those who have a part in something else, too.
    pub(crate) fn add(&mut self, others: Self) {
        self.parts.extend(others.parts);
    }

    pub(crate) fn of(&self, part: Part) -> impl Iterator<Item = Address> {
        self.parts.iter().filter(move |(held, _)| *held == part).map(|(_, party)| *party)
    }

    pub(crate) fn patient(&self) -> Option<Address> {
        self.of(Part::Patient).next()
    }
}

/// Somebody takes a part in something, or has it no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartyChange {
    pub(crate) key: Key,
    pub(crate) part: Part,
    pub(crate) party: Address,
    pub(crate) joins: bool,
}

impl PartyChange {
    pub(crate) async fn write(&self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        let statement = if self.joins {
            "insert into notify_parties (scope, subject, part, party) values ($1, $2, $3, $4)
            on conflict do nothing"
        } else {
            "delete from notify_parties
            where scope = $1 and subject = $2 and part = $3 and party = $4"
        };
        sqlx::query(statement)
            .bind(self.key.0 as i64)
            .bind(self.key.1.to_vec())
            .bind(self.part as i64)
            .bind(self.party.to_vec())
            .execute(connection)
            .await?;
        Ok(())
    }
}
