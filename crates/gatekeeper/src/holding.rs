//! What this vault gives to other holders, and what it should take over from them.
//!
//! Sealed copies move as reads do: whoever gets one is known by key or peer, the chain is asked first,
//! `domain::decide` allows it for each version, and each transfer leaves its receipt. Three sorts of
//! holder get something:
//!
//! - patients, every version of theirs that stands on chain, with their wraps of the kind keys;
//! - stewards, what they sealed themselves and lost, for they can open it anyhow;
//! - members who may read it now, what the patient has accepted, with the content key wrapped for them
//!   alone: never a kind key. What the patient has not answered yet is read at its steward.
//!
//! The same rule, asked about oneself, says what is expected here from others ([`Expected`]). A version
//! that was anchored in a batch comes with the way from its leaf to the root on chain; without one that
//! leads there it is not expected.
//!
//! Each attempt to get a body leaves its receipt. What members ask for in vain is bounded, so that none
//! fills the log: whoever has no attempts left is told that there is no answer now, whatever they ask for.

use std::{
    collections::{BTreeSet, HashMap},
    error,
    sync::Arc,
};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use domain::{
    AnchorState, Basis, KindSet, Outcome, Permit, Purpose, Reader, Receipt, RecordDigest, RecordId,
    RecordVersion, Refusal, Timestamp,
};
use exchange::{BatchProof, Cursor, Expected, Holder, HolderError, Offers, PeerId};
use ledger::{Projection, is_valid_signature};
use parking_lot::Mutex;
use sqlx::Row as _;
use vault::{Entry, Listing, OpenError, PublicKey, SealedBytes, SealedCopy, StoreError, Subject};

use crate::{Gatekeeper, QueryRefusal, answer::use_nonce, proven::proves, standing::Standing};

/// How many peers are noted for one patient.
pub const PATIENT_PEERS_MAX: i64 = 8;

/// How many versions are looked at for one page of offers.
const EXAMINED_MAX: usize = 2_000;

/// How many records are listed at a time.
const LISTED: usize = 256;

/// How many bodies a member may ask for in vain at once. A transfer of many that is cut off by a
/// revocation stays below.
pub const IN_VAIN_MAX: u64 = 64;

/// How long it takes until one more is allowed, in seconds.
const IN_VAIN_EVERY_S: u64 = 10;

/// How many members are remembered with what they asked for in vain before those who have been quiet
/// since are forgotten.
const REMEMBERED_MAX: usize = 1_024;

/// The gateway's clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A gatekeeper as it answers other holders. Clones are the same one.
#[derive(Clone)]
pub struct Holding {
    gatekeeper: Gatekeeper,
    clock: Clock,
    attempts: Arc<Attempts>,
}

/// What members asked for in vain of late: how much, and when that was counted.
#[derive(Debug, Default)]
struct Attempts(Mutex<HashMap<Address, (u64, Timestamp)>>);

impl Attempts {
    /// Takes one of a member's attempts; false when none is left. It is taken before anything is looked
    /// up, so that attempts at the same time count as well.
    fn take(&self, member: Address, now: Timestamp) -> bool {
        let mut members = self.0.lock();
        let left = |(count, at): (u64, Timestamp)| {
            count.saturating_sub(now.since(at.min(now)).as_secs() / IN_VAIN_EVERY_S)
        };
        if members.len() >= REMEMBERED_MAX {
            members.retain(|_, counted| left(*counted) > 0);
        }
        let counted = members.entry(member).or_insert((0, now));
        let count = left(*counted);
        if count >= IN_VAIN_MAX {
            return false;
        }
        // What is left of an interval still counts.
        let at = if count == 0 || counted.1 > now {
            now
        } else {
            counted.1.after(std::time::Duration::from_secs((counted.0 - count) * IN_VAIN_EVERY_S))
        };
        *counted = (count + 1, at);
        true
    }

    /// Gives an attempt back that was not in vain.
    fn give_back(&self, member: Address) {
        if let Some((count, _)) = self.0.lock().get_mut(&member) {
            *count = count.saturating_sub(1);
        }
    }
}

impl std::fmt::Debug for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holding").field("member", &self.gatekeeper.member()).finish_non_exhaustive()
    }
}

/// Why a member gets a version.
enum Ground {
    /// It is about them: they are the patient.
    Patient(Permit),
    /// They sealed it.
    Steward,
    /// They may read it.
    Reader(Permit, Purpose),
}

impl Ground {
    const fn purpose(&self) -> Purpose {
        match self {
            Self::Patient(_) => Purpose::PatientRequest,
            Self::Steward => Purpose::Operations,
            Self::Reader(_, purpose) => *purpose,
        }
    }

    const fn basis(&self) -> Option<Basis> {
        match self {
            Self::Patient(permit) | Self::Reader(permit, _) => Some(permit.basis()),
            Self::Steward => None,
        }
    }
}

/// Why a member does not get a version.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum NotGiven {
    #[error("no such version is here")]
    NotHere,
    #[error("not a holder in force")]
    NoHolder,
    #[error("the version does not stand on chain as something that others hold")]
    NotStanding,
    #[error("{0}")]
    Decided(Refusal),
}

impl Holding {
    /// Lets others ask a gatekeeper, whose clock this is.
    #[must_use]
    pub fn new(gatekeeper: Gatekeeper, clock: Clock) -> Self {
        Self { gatekeeper, clock, attempts: Arc::default() }
    }

    /// Brings what is known of the chain up to date, and says what time it is.
    async fn now(&self) -> Result<Timestamp, HolderError> {
        let now = (self.clock)();
        match self.gatekeeper.is_stale(now).await {
            false => Ok(now),
            true => Err(HolderError(QueryRefusal::Stale.into())),
        }
    }

    /// Who this is: a member in force, or a patient of this holder.
    fn reader(&self, projection: &Projection, member: Address, time: Timestamp) -> Option<Reader> {
        let known = projection.registry.reader_of(member, time);
        known.or_else(|| {
            self.is_patient(projection, member).then_some(Reader::Patient { account: member })
        })
    }

    fn is_patient(&self, projection: &Projection, account: Address) -> bool {
        projection.consents.relationship(account, self.gatekeeper.member()).is_some()
    }

    /// Decides whether somebody gets a version, by what is known of the chain now.
    fn ground(
        &self,
        projection: &Projection,
        member: Address,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<Ground, NotGiven> {
        let standing = self.gatekeeper.standing(projection, entry);
        self.ground_for(projection, member, (entry, standing), now)
    }

    /// Decides whether somebody gets a version that stands there on chain.
    fn ground_for(
        &self,
        projection: &Projection,
        member: Address,
        (entry, standing): (&Entry, Option<Standing>),
        now: Timestamp,
    ) -> Result<Ground, NotGiven> {
        let keeper = &self.gatekeeper;
        let time = keeper.time(projection, now);
        let standing = standing.ok_or(NotGiven::NotStanding)?;
        if standing.state == AnchorState::Erased {
            return Err(NotGiven::Decided(Refusal::Erased));
        }
        let reader = self.reader(projection, member, time).ok_or(NotGiven::NoHolder)?;
        let decide = |purpose| keeper.decide_entry(projection, (reader, purpose), entry, time);
        if let Reader::Patient { .. } = reader {
            let permit = decide(Purpose::PatientRequest).map_err(NotGiven::Decided)?;
            return Ok(Ground::Patient(permit));
        }
        if member == entry.header.steward {
            return Ok(Ground::Steward);
        }
        // What nobody has accepted, or somebody rejected, is not spread.
        let is_accepted = matches!(
            standing.state,
            AnchorState::Accepted | AnchorState::Disputed | AnchorState::Superseded
        );
        let mut refusal = None;
        for purpose in purposes(projection, entry.patient, &reader) {
            match decide(purpose) {
                Ok(permit) if is_accepted => return Ok(Ground::Reader(permit, purpose)),
                Ok(_unused) => return Err(NotGiven::NotStanding),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        Err(refusal.map_or(NotGiven::NoHolder, NotGiven::Decided))
    }

    /// What goes with a version that a member gets: the wraps for them, of the content key alone unless
    /// it is their own record; `None` when nothing here would open it for them.
    async fn copy(
        &self,
        member: Address,
        entry: &Entry,
        ground: Ground,
        key: Option<&PublicKey>,
    ) -> Result<Option<SealedCopy>, StoreError> {
        let vault = self.gatekeeper.vault();
        let Some(mut copy) = vault.copy_for(entry.digest, member).await? else { return Ok(None) };
        let permit = match ground {
            Ground::Steward => return Ok(Some(copy)),
            Ground::Patient(_) => return Ok((!copy.wraps.is_empty()).then_some(copy)),
            Ground::Reader(permit, _) => permit,
        };
        let Some(key) = key else { return Ok(None) };
        let consent = consent_of(entry.patient, permit.basis());
        let (subject, key_digest) = (Subject::Record(entry.digest), key.digest());
        copy.wraps.retain(|wrap| {
            (wrap.subject, wrap.key_digest, wrap.consent) == (subject, key_digest, consent)
        });
        // Copies of other stewards' records are not passed on: their keys are not ours to wrap.
        if copy.wraps.is_empty() && entry.header.steward == self.gatekeeper.member() {
            let mut rng = self.gatekeeper.entropy().fork();
            let version = Some(entry.header.version);
            match vault.wrap_for(permit, version, member, key, consent, &mut rng).await {
                Ok(wrap) => copy.wraps.push(wrap),
                Err(OpenError::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::warn!(digest = %entry.digest, %error, "a copy could not be wrapped");
                }
            }
        }
        Ok((!copy.wraps.is_empty()).then_some(copy))
    }

    /// The patients whose records somebody may get something of, those from `first` on.
    fn patients_for(
        &self,
        projection: &Projection,
        member: Address,
        time: Timestamp,
        first: Address,
    ) -> BTreeSet<Address> {
        let Some(reader) = self.reader(projection, member, time) else { return BTreeSet::new() };
        let mut patients = BTreeSet::from([member]);
        patients.extend(projection.consents.patients_granting(&reader));
        let relationships = projection.consents.relationships();
        patients.extend(
            relationships.filter(|((_, steward), _)| *steward == member).map(|((of, _), _)| *of),
        );
        if let Some(institution) = reader.institution() {
            let workflows = &projection.workflows;
            let filled = workflows
                .prescriptions()
                .filter(|(_, held)| held.permits.contains_key(&institution));
            patients.extend(filled.map(|(_, held)| held.patient));
            let ordered = workflows.lab_orders().filter(|(_, held)| held.laboratory == institution);
            patients.extend(ordered.map(|(_, held)| held.patient));
        }
        patients.split_off(&first)
    }

    /// Versions of a patient's records after a place, in order; with whether those are all.
    async fn versions_after(
        &self,
        patient: Address,
        after: Option<(RecordId, RecordVersion)>,
    ) -> Result<(Vec<Entry>, bool), StoreError> {
        let vault = self.gatekeeper.vault();
        let mut entries = Vec::new();
        if let Some((record, version)) = after {
            let versions = vault.versions(record).await?;
            entries.extend(versions.into_iter().filter(|entry| entry.header.version > version));
        }
        let listing = Listing { patient, steward: None, kinds: KindSet::ALL };
        let after = after.map(|(record, _)| record);
        let (listed, next) = vault.list_versions(&listing, after, LISTED).await?;
        entries.extend(listed);
        // The versions of one record may be filed under several patients.
        entries.retain(|entry| entry.patient == patient);
        Ok((entries, next.is_none()))
    }

    /// A page of the copies that somebody gets.
    async fn copies_for(
        &self,
        member: Address,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Offers, HolderError> {
        let now = self.now().await?;
        let keeper = &self.gatekeeper;
        keeper.learn_leaves().await.map_err(unavailable)?;
        let place = match after {
            None => Place::default(),
            Some(after) => Place::of(&after).ok_or(HolderError("not one of our cursors".into()))?,
        };
        let (patients, key) = {
            let projection = keeper.projection().await;
            let time = keeper.time(&projection, now);
            let profile = projection.registry.profile(&member);
            let key = profile.and_then(|profile| PublicKey::from_bytes(&profile.hpke_key).ok());
            (self.patients_for(&projection, member, time, place.patient), key)
        };
        let (mut offers, mut examined) = (Offers::default(), 0);
        for patient in patients {
            let mut after = place.after.filter(|_| patient == place.patient);
            loop {
                let listed = self.versions_after(patient, after).await;
                let (entries, is_all) = listed.map_err(unavailable)?;
                for entry in &entries {
                    if offers.copies.len() >= limit || examined >= EXAMINED_MAX {
                        offers.next = Some(Place { patient, after }.cursor());
                        return Ok(offers);
                    }
                    examined += 1;
                    after = Some(entry.key());
                    let ground = self.ground(&*keeper.projection().await, member, entry, now);
                    if let Ok(ground) = ground {
                        let copy = self.copy(member, entry, ground, key.as_ref()).await;
                        offers.copies.extend(copy.map_err(unavailable)?);
                    }
                }
                if is_all || entries.is_empty() {
                    break;
                }
            }
        }
        Ok(offers)
    }

    async fn note(
        &self,
        (member, reader): (Address, Option<Reader>),
        entry: Option<&Entry>,
        purpose: Purpose,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), HolderError> {
        let receipt = Receipt {
            sequence: 0,
            time: now,
            gatekeeper: self.gatekeeper.member(),
            requester: member,
            institution: reader.and_then(|reader| reader.institution()),
            patient: entry.map_or(Address::ZERO, |entry| entry.patient),
            purpose,
            kinds: entry.map_or(KindSet::EMPTY, |entry| KindSet::of(&[entry.header.kind])),
            query: B256::ZERO,
            outcome,
        };
        self.gatekeeper.log(receipt, async |_| Ok(true)).await.map(drop).map_err(unavailable)
    }
}

impl Holder for Holding {
    async fn members_of(&self, peer: PeerId) -> Result<Vec<Address>, HolderError> {
        let now = self.now().await?;
        let rows = sqlx::query("select account from patient_peers where peer = $1")
            .bind(peer.0.to_vec())
            .fetch_all(self.gatekeeper.vault().database().readers())
            .await
            .map_err(unavailable)?;
        let projection = self.gatekeeper.projection().await;
        let time = self.gatekeeper.time(&projection, now);
        let registered = projection.registry.members_of_peer(peer.0.into());
        let mut members: Vec<_> = registered
            .filter(|member| projection.registry.reader_of(*member, time).is_some())
            .collect();
        for row in rows {
            let account: Vec<u8> = row.try_get(0).map_err(unavailable)?;
            let account = Address::try_from(account.as_slice()).map_err(unavailable)?;
            if self.is_patient(&projection, account) {
                members.push(account);
            }
        }
        Ok(members)
    }

    async fn member_signing(&self, signer: Address) -> Result<Option<Address>, HolderError> {
        let now = self.now().await?;
        let projection = self.gatekeeper.projection().await;
        let time = self.gatekeeper.time(&projection, now);
        Ok(projection.registry.reader(&signer, time).map(|reader| reader.address()))
    }

    async fn account_signed(
        &self,
        account: Address,
        digest: B256,
        signature: &[u8],
    ) -> Result<bool, HolderError> {
        self.now().await?;
        // Nobody but patients of this holder, so that no stranger's contract is called.
        if !self.is_patient(&*self.gatekeeper.projection().await, account) {
            return Ok(false);
        }
        let signature = Bytes::copy_from_slice(signature);
        let signed = is_valid_signature(self.gatekeeper.ledger(), account, digest, signature);
        signed.await.map_err(unavailable)
    }

    async fn take_nonce(
        &self,
        member: Address,
        nonce: B256,
        deadline: Timestamp,
    ) -> Result<bool, HolderError> {
        let mut transaction =
            self.gatekeeper.vault().database().begin().await.map_err(unavailable)?;
        let now = (self.clock)();
        let is_new = use_nonce(&mut transaction, (member, nonce, deadline), now).await;
        let is_new = is_new.map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(is_new)
    }

    async fn note_peer(
        &self,
        account: Address,
        peer: PeerId,
        holds: bool,
    ) -> Result<bool, HolderError> {
        let mut transaction =
            self.gatekeeper.vault().database().begin().await.map_err(unavailable)?;
        let statement = if holds {
            "insert into patient_peers (account, peer) values ($1, $2) on conflict do nothing"
        } else {
            "delete from patient_peers where account = $1 and peer = $2"
        };
        sqlx::query(statement)
            .bind(account.to_vec())
            .bind(peer.0.to_vec())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let noted: i64 = sqlx::query("select count(*) from patient_peers where account = $1")
            .bind(account.to_vec())
            .fetch_one(&mut *transaction)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(unavailable)?;
        if noted > PATIENT_PEERS_MAX {
            return Ok(false);
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(true)
    }

    async fn note_key(&self, account: Address, key: &[u8]) -> Result<bool, HolderError> {
        let Ok(key) = PublicKey::from_bytes(key) else { return Ok(false) };
        let vault = self.gatekeeper.vault();
        // One that is known stays: a node must not take the place of the patient's other devices.
        if !vault.knows_keys_of(account).await.map_err(unavailable)? {
            let mut rng = self.gatekeeper.entropy().fork();
            vault.set_patient_keys(account, &[key], &mut rng).await.map_err(unavailable)?;
        }
        Ok(true)
    }

    async fn offers(
        &self,
        member: Address,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Offers, HolderError> {
        let mut offers = self.copies_for(member, after, limit).await?;
        let entries: Vec<_> = offers.copies.iter().map(|copy| copy.entry).collect();
        offers.proofs = self.gatekeeper.proofs_of(&entries).await.map_err(unavailable)?;
        Ok(offers)
    }

    async fn give(
        &self,
        member: Address,
        digest: RecordDigest,
    ) -> Result<Option<SealedBytes>, HolderError> {
        let keeper = &self.gatekeeper;
        if !self.attempts.take(member, (self.clock)()) {
            tracing::warn!(%member, "a member asks for too much in vain and is not answered");
            return Err(HolderError("too much was asked for in vain".into()));
        }
        let entry = keeper.vault().find(digest).await.map_err(unavailable)?;
        let refused = |reason: String| Outcome::Refused { reason };
        let now = match self.now().await {
            Ok(now) => now,
            Err(stale) => {
                let (who, now) = ((member, None), (self.clock)());
                let outcome = refused(QueryRefusal::Stale.to_string());
                self.note(who, entry.as_ref(), Purpose::Treatment, outcome, now).await?;
                return Err(stale);
            }
        };
        keeper.learn_leaves().await.map_err(unavailable)?;
        let (time, reader, ground) = {
            let projection = keeper.projection().await;
            let time = keeper.time(&projection, now);
            let ground = entry.as_ref().ok_or(NotGiven::NotHere);
            let ground = ground.and_then(|entry| self.ground(&projection, member, entry, now));
            (time, self.reader(&projection, member, time), ground)
        };
        let sealed = match &ground {
            Ok(_) => keeper.vault().sealed_bytes(digest).await.map_err(unavailable)?,
            Err(_) => None,
        };
        let purpose = ground.as_ref().map_or(Purpose::Treatment, Ground::purpose);
        let outcome = match (&ground, &entry) {
            (Ok(ground), Some(entry)) if sealed.is_some() => Outcome::Allowed {
                records: vec![(entry.header.record, digest)],
                basis: ground.basis(),
            },
            (Err(reason), _) => refused(reason.to_string()),
            _ => refused("the sealed bytes are not here".into()),
        };
        self.note((member, reader), entry.as_ref(), purpose, outcome, time).await?;
        if sealed.is_some() {
            self.attempts.give_back(member);
        }
        Ok(sealed)
    }

    async fn may_have(&self, member: Address, digest: RecordDigest) -> Result<bool, HolderError> {
        let now = self.now().await?;
        let entry = self.gatekeeper.vault().find(digest).await.map_err(unavailable)?;
        let projection = self.gatekeeper.projection().await;
        Ok(entry.is_some_and(|entry| self.ground(&projection, member, &entry, now).is_ok()))
    }
}

impl Expected for Holding {
    async fn expects(
        &self,
        entry: &Entry,
        proof: Option<&BatchProof>,
    ) -> Result<bool, HolderError> {
        let now = self.now().await?;
        self.gatekeeper.learn_leaves().await.map_err(unavailable)?;
        let own = self.gatekeeper.member();
        let (proof, is_expected) = {
            let projection = self.gatekeeper.projection().await;
            let proof = proof.filter(|proof| proves(&projection, entry, proof));
            let root = proof.map(|proof| proof.root);
            let standing = self.gatekeeper.standing_under(&projection, entry, root);
            let is_expected = if entry.patient == own {
                standing.is_some_and(|standing| standing.state != AnchorState::Erased)
            } else {
                self.ground_for(&projection, own, (entry, standing), now).is_ok()
            };
            let in_batch = standing.is_some_and(Standing::is_in_batch);
            (proof.filter(|_| in_batch), is_expected)
        };
        // Kept before the bytes come, which are read, and reconciled, by it.
        if let Some(proof) = proof.filter(|_| is_expected) {
            self.gatekeeper.keep_proof(entry, proof).await.map_err(unavailable)?;
        }
        Ok(is_expected)
    }
}

/// For which purposes somebody may want a patient's records: care, and what the patient's grants say.
fn purposes(projection: &Projection, patient: Address, reader: &Reader) -> Vec<Purpose> {
    let mut purposes = vec![Purpose::Treatment];
    for grant in projection.consents.grants_naming(patient, reader) {
        let others = grant.terms.purposes.iter();
        purposes.extend(others.filter(|purpose| *purpose != Purpose::Emergency));
    }
    purposes.sort_unstable();
    purposes.dedup();
    purposes
}

/// What a wrap is bound to: the consent, or the workflow, under which it was made.
fn consent_of(patient: Address, basis: Basis) -> B256 {
    match basis {
        Basis::Consent { reader, version } => {
            let label: &[u8] = b"salus/exchange/v1/consent";
            let parts = [label, patient.as_slice(), reader.as_slice(), &version.to_be_bytes()];
            keccak256(parts.concat())
        }
        Basis::Workflow { workflow } => workflow,
        Basis::Emergency { opening } => opening,
        Basis::OwnRecord | Basis::CareTeam => B256::ZERO,
    }
}

fn unavailable(error: impl error::Error + Send + Sync + 'static) -> HolderError {
    HolderError(Box::new(error))
}

/// Where a list of offers goes on: 20 bytes of patient, then 32 of record and 4 of version unless it
/// begins with that patient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    patient: Address,
    after: Option<(RecordId, RecordVersion)>,
}

impl Place {
    fn of(cursor: &Cursor) -> Option<Self> {
        let (patient, rest) = cursor.as_bytes().split_first_chunk::<20>()?;
        let patient = Address::from(*patient);
        if rest.is_empty() {
            return Some(Self { patient, after: None });
        }
        let (record, version) = rest.split_first_chunk::<32>()?;
        let version = u32::from_be_bytes(version.try_into().ok()?);
        let version = RecordVersion::try_from(version).ok()?;
        Some(Self { patient, after: Some((RecordId(B256::from(*record)), version)) })
    }

    fn cursor(self) -> Cursor {
        let mut bytes = self.patient.to_vec();
        if let Some((record, version)) = self.after {
            bytes.extend_from_slice(record.0.as_slice());
            bytes.extend_from_slice(&version.get().to_be_bytes());
        }
        Cursor::new(bytes).expect("56 bytes fit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: Place) {
        assert_eq!(Place::of(&place.cursor()), Some(place));
    }

    #[test]
    fn attempts_in_vain_are_bounded_for_each_member_and_come_back_with_time() {
        let (attempts, one, other) =
            (Attempts::default(), Address::repeat_byte(1), Address::repeat_byte(2));
        let at = |seconds| Timestamp(1_000 + seconds);
        let take =
            |member, count: u64, now| (0..count).filter(|_| attempts.take(member, now)).count();
        assert_eq!(take(one, IN_VAIN_MAX + 5, at(0)), 64);
        assert_eq!(take(other, 1, at(0)), 1);
        assert_eq!(take(one, 5, at(IN_VAIN_EVERY_S - 1)), 0);
        assert_eq!(take(one, 5, at(IN_VAIN_EVERY_S)), 1);
        assert_eq!(take(one, 5, at(2 * IN_VAIN_EVERY_S + 1)), 1);
        // The second that was left over is not lost.
        assert_eq!(take(one, 5, at(3 * IN_VAIN_EVERY_S)), 1);
        attempts.give_back(one);
        assert_eq!(take(one, 5, at(3 * IN_VAIN_EVERY_S)), 1);
        // A clock that goes back gives nothing.
        assert_eq!(take(one, 5, at(0)), 0);
        assert_eq!(take(one, 100, at(100_000)), 64);
    }

    #[test]
    fn a_list_goes_on_where_it_ended() {
        let patient = Address::repeat_byte(7);
        check(Place { patient, after: None });
        check(Place {
            patient,
            after: Some((RecordId(B256::repeat_byte(9)), RecordVersion::FIRST)),
        });
        for length in [1, 19, 21, 55, 57, 64] {
            assert_eq!(Place::of(&Cursor::new(vec![1; length]).unwrap()), None, "{length}");
        }
        // There is no version 0.
        assert_eq!(Place::of(&Cursor::new(vec![0; 56]).unwrap()), None);
    }
}
