//! Reads of many records at once, of one patient or of many: searches, histories, exports.
//!
//! It goes in two steps, because a search gives out fewer records than it finds: [`Gatekeeper::find`]
//! decides for each record, and [`Gatekeeper::give`] opens what is given out, with one receipt for each
//! patient. What the reader may not read is as if it were not there; nothing of it may be counted.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use domain::{
    AnchorState, Basis, KindSet, Outcome, Permit, Purpose, Reader, Receipt, RecordDigest, RecordId,
    RecordVersion, Refusal, Timestamp,
};
use futures_util::future::try_join_all;
use vault::{Entry, OpenError, StoreError};

use crate::{
    AnswerError, Gatekeeper, GatekeeperError, OpenedRecord, QueryRefusal, ReadRequest,
    answer::{opened_record, refused},
};

/// Who reads, and why.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Who.
    pub reader: Reader,
    /// Why.
    pub purpose: Purpose,
}

/// Which version of a record is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// The one in force.
    Current,
    /// The newest that stands, whether or not the patient has answered: what a steward's own people work
    /// on.
    Newest,
    /// All that are not rejected, oldest first.
    All,
}

/// A version that was found and that the reader may read now.
#[derive(Debug)]
#[must_use = "a permit that nobody uses should not have been asked for"]
pub struct Found {
    permit: Permit,
    entry: Entry,
    state: AnchorState,
}

/// Whose records were looked for and refused: of which kinds they are, and the first reason.
pub type Refusals = BTreeMap<Address, (KindSet, Refusal)>;

/// Which versions of a record stand on chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// The newest, whether or not the patient has answered.
    pub newest: Option<RecordVersion>,
    /// The one that others than the steward read, when it is not only proposed.
    pub in_force: Option<RecordVersion>,
}

impl Found {
    /// Which version it is.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Where it stands on chain.
    #[must_use]
    pub const fn state(&self) -> AnchorState {
        self.state
    }

    /// Why it may be read.
    #[must_use]
    pub const fn basis(&self) -> Basis {
        self.permit.basis()
    }
}

impl Gatekeeper {
    /// Which of these records the reader may read now, in the order given, and whose were refused. Of the
    /// refusals there is no receipt yet: whoever asks several times for one answer leaves one of it.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Refused`] when too little is known of the chain, and [`AnswerError::Gatekeeper`].
    pub async fn find(
        &self,
        reading: Reading,
        records: &[RecordId],
        versions: Versions,
        now: Timestamp,
    ) -> Result<(Vec<Found>, Refusals), AnswerError> {
        let is_stale = self.is_stale(now).await;
        let entries = self.vault().versions_of(records).await?;
        if is_stale {
            self.note_stale(reading, &entries, now).await?;
            return Err(AnswerError::Refused(QueryRefusal::Stale));
        }
        self.learn_leaves().await?;
        let mut by_record: BTreeMap<RecordId, &[Entry]> = BTreeMap::new();
        for versions in entries.chunk_by(|one, next| one.header.record == next.header.record) {
            by_record.insert(versions[0].header.record, versions);
        }
        // The chain may go on while the database is read, but not while is decided.
        let projection = self.inner.projection.read().await;
        let time = self.time(&projection, now);
        let rejected_too = matches!(reading.reader, Reader::Patient { .. });
        let (mut found, mut refusals) = (Vec::new(), Refusals::new());
        for entries in records.iter().filter_map(|record| by_record.remove(record)) {
            let chosen: Vec<_> = match versions {
                Versions::Current => self.choose(&projection, entries, false).into_iter().collect(),
                Versions::Newest => {
                    let newest = self.newest(&projection, entries);
                    let newest = newest.or_else(|| self.choose(&projection, entries, false));
                    newest.into_iter().collect()
                }
                Versions::All => entries
                    .iter()
                    .filter_map(|entry| {
                        let version = entry.header.version;
                        self.named(&projection, entries, version, rejected_too)
                    })
                    .collect(),
            };
            for (entry, state) in chosen {
                let who = (reading.reader, reading.purpose);
                match self.decide_entry(&projection, who, &entry, time) {
                    Ok(permit) => found.push(Found { permit, entry, state }),
                    Err(reason) => {
                        let kinds = KindSet::of(&[entry.header.kind]);
                        let (all, _) =
                            refusals.entry(entry.patient).or_insert((KindSet::EMPTY, reason));
                        *all = all.union(kinds);
                    }
                }
            }
        }
        Ok((found, refusals))
    }

    /// Leaves a receipt with each patient whose records somebody tried to read while too little was known
    /// of the chain.
    async fn note_stale(
        &self,
        reading: Reading,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(), AnswerError> {
        let mut patients: BTreeMap<Address, KindSet> = BTreeMap::new();
        for entry in entries {
            let kinds = patients.entry(entry.patient).or_default();
            *kinds = kinds.union(KindSet::of(&[entry.header.kind]));
        }
        let noting = patients.into_iter().map(|(patient, kinds)| {
            self.note(reading, patient, kinds, refused(QueryRefusal::Stale), now)
        });
        // They are written together.
        try_join_all(noting).await.map(drop)
    }

    /// Which versions of a record that is here stand on chain. It says nothing of what they hold, and so
    /// needs no permission; what is known of the chain should be up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn standings(&self, record: RecordId) -> Result<Standings, StoreError> {
        self.learn_leaves().await?;
        let entries = self.vault().versions_of(&[record]).await?;
        let projection = self.inner.projection.read().await;
        let chosen = self.choose(&projection, &entries, false).filter(|(entry, state)| {
            *state != AnchorState::Proposed || self.is_in_batch(&projection, entry)
        });
        let in_force = chosen.filter(|(_, state)| *state != AnchorState::Erased);
        let version = |(entry, _): (Entry, AnchorState)| entry.header.version;
        Ok(Standings {
            newest: self.newest(&projection, &entries).map(version),
            in_force: in_force.map(version),
        })
    }

    /// Opens what was found to look at it inside this program, and gives the records back, with what
    /// `look` made of each. Nothing of it may leave the program before it went through
    /// [`Gatekeeper::give`]: there is no receipt of this. What does not open is left out.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn look_at<T: Send>(
        &self,
        found: Vec<Found>,
        look: impl Fn(&Entry, &OpenedRecord) -> T + Send + Sync,
    ) -> Result<Vec<(RecordId, T)>, StoreError> {
        let opening = self.open_each_found(found, |entry, _, opened| {
            let record = opened.ok()?;
            Some((entry.header.record, look(entry, &record)))
        });
        Ok(opening.await?.into_iter().flatten().collect())
    }

    /// Opens what was found, one after the other and in its order; `take` has each while it is open, with
    /// the reason why it may be.
    async fn open_each_found<T>(
        &self,
        found: Vec<Found>,
        mut take: impl FnMut(&Entry, Basis, Result<OpenedRecord, OpenError>) -> T,
    ) -> Result<Vec<T>, StoreError> {
        let about: Vec<_> = found.iter().map(|one| (one.permit.basis(), one.state)).collect();
        let permitted = found.into_iter().map(|one| (one.permit, one.entry)).collect();
        let mut about = about.into_iter();
        let opening =
            self.vault().open_each(permitted, self.inner.identity.get(), |entry, opened| {
                let (basis, state) = about.next().expect("each is given once");
                take(entry, basis, opened.map(|opened| opened_record(entry, state, opened.body())))
            });
        opening.await
    }

    /// Opens what was found. Each patient among them gets a receipt, which is on the disk before
    /// anything is given out. What does not open is left out, and told to the log of this program.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Gatekeeper`] when the database failed.
    pub async fn give(
        &self,
        reading: Reading,
        found: Vec<Found>,
        now: Timestamp,
    ) -> Result<Vec<OpenedRecord>, AnswerError> {
        let opening = self.open_each_found(found, |entry, basis, opened| (*entry, basis, opened));
        let opened = opening.await.map_err(GatekeeperError::from)?;
        let mut given: BTreeMap<Address, Given> = BTreeMap::new();
        let mut records = Vec::with_capacity(opened.len());
        for (entry, basis, opened) in opened {
            // Whoever was allowed to read what does not open has read nothing, and tried.
            let given = given.entry(entry.patient).or_default();
            given.kinds = given.kinds.union(KindSet::of(&[entry.header.kind]));
            given.basis = given.basis.or(Some(basis));
            match opened {
                Ok(record) => {
                    given.records.push((record.record, record.digest));
                    records.push(record);
                }
                Err(error) => {
                    let (record, version) = (entry.header.record, entry.header.version);
                    tracing::warn!(%record, %version, %error, "a permitted record does not open");
                }
            }
        }
        let noting = given.into_iter().map(|(patient, Given { kinds, records, basis })| {
            self.note(reading, patient, kinds, Outcome::Allowed { records, basis }, now)
        });
        // They are written together.
        try_join_all(noting).await?;
        Ok(records)
    }

    /// What a search says that found nothing of a patient whom it named: that there is nothing, which is
    /// an answer, or why the reader would not have been told of anything.
    pub async fn outcome_of_nothing(
        &self,
        reading: Reading,
        patient: Address,
        kinds: KindSet,
        now: Timestamp,
    ) -> Outcome {
        let Reading { reader, purpose } = reading;
        let (record, version, after, limit, query) = (None, None, None, 0, B256::ZERO);
        let asked =
            ReadRequest { reader, patient, kinds, record, version, after, limit, purpose, query };
        let projection = self.inner.projection.read().await;
        let time = self.time(&projection, now);
        match self.refusal_of_nothing(&projection, &asked, time) {
            None => Outcome::Allowed { records: Vec::new(), basis: None },
            Some(refusal) => Outcome::refused(refusal),
        }
    }

    /// Leaves a receipt of a read that gave out no record: one that was refused, or that only counted.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Gatekeeper`] when the database failed; then nothing may be answered.
    pub async fn note(
        &self,
        reading: Reading,
        patient: Address,
        kinds: KindSet,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<Receipt, AnswerError> {
        let time = self.time(&*self.inner.projection.read().await, now);
        let receipt = Receipt {
            sequence: 0,
            time,
            gatekeeper: self.member(),
            requester: reading.reader.address(),
            institution: reading.reader.institution(),
            patient,
            purpose: reading.purpose,
            kinds,
            query: B256::ZERO,
            outcome,
        };
        Ok(self.log_along(receipt).await?)
    }
}

/// What was given out of one patient's records.
#[derive(Default)]
struct Given {
    kinds: KindSet,
    records: Vec<(RecordId, RecordDigest)>,
    basis: Option<Basis>,
}
