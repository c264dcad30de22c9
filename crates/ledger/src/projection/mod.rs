//! What the contracts' events add up to: who is who, who may read what, where records stand.
//!
//! A gateway decides thousands of reads a second; asking the chain for each would not do. The
//! projection follows the events and knows how far it got. Whoever decides from it must refuse when
//! that is too long ago (S3).
//!
//! Saved to a file together with its cursor, it continues there after a restart.

mod consents;
mod records;
mod registry;
mod workflows;

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
};

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::SolEventInterface as _;
use bindings::{
    AccessLog::AccessLogEvents, Consents::ConsentsEvents, Contract, Deployment,
    EmergencyAccess::EmergencyAccessEvents, LabOrders::LabOrdersEvents,
    Prescriptions::PrescriptionsEvents, Records::RecordsEvents, Registry::RegistryEvents,
    Relationships::RelationshipsEvents,
};
use domain::{
    Facts, KindSet, PeriodError, RecordDigest, RecordVersion, Request, Timestamp, UnknownNumber,
};
use serde::{Deserialize, Serialize};

use crate::{Cursor, EndpointError, Follower, Ledger, Step};

pub use consents::{ConsentChange, ConsentDeed, Consents, EmergencyOpening, Relationship};
pub use records::{AnchorEntry, Batch, Records};
pub use registry::{Institution, Professional, Profile, Registry};
pub use workflows::{LabOrder, LabOrderState, Prescription, Workflows};

/// Where and when an event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The block's number.
    pub block: u64,
    /// The block's time.
    pub time: Timestamp,
    /// The transaction.
    pub transaction: B256,
}

/// What the events up to a block add up to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Projection {
    cursor: Option<Cursor>,
    /// Members, keys and identities.
    pub registry: Registry,
    /// Relationships, consents, emergency openings.
    pub consents: Consents,
    /// Anchors.
    pub records: Records,
    /// Prescriptions and laboratory orders.
    pub workflows: Workflows,
    /// Consents taken back that nobody has acted on yet: whose, and which kinds they opened.
    revocations: VecDeque<(Address, KindSet)>,
    /// Whether more is final than was taken in, by what the chain said when it was last asked.
    #[serde(skip)]
    is_behind: bool,
    /// How far each gatekeeper's log was anchored: batches and receipts.
    pub logs: std::collections::HashMap<Address, AnchoredLog>,
}

/// How far a gatekeeper's access log was anchored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchoredLog {
    /// The log's head on chain.
    pub head: B256,
    /// How many receipts were anchored.
    pub receipts: u64,
    /// Root, first sequence and number of receipts of each batch.
    pub batches: Vec<(B256, u64, u32)>,
    /// Where each of these batches was anchored, in the same order.
    pub moments: Vec<Moment>,
}

/// Why a saved projection was not taken over.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}", path.display())]
pub struct SaveError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Changes with every change of the saved form; older files are then rebuilt from the chain.
const SAVED_VERSION: u8 = 6;

impl Projection {
    /// The last block taken in.
    #[must_use]
    pub const fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Whether the chain said, when it was last asked, that more is final than was taken in.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// The first consent taken back on which nobody has acted yet: whose, and which kinds it opened.
    #[must_use]
    pub fn next_revocation(&self) -> Option<(Address, KindSet)> {
        self.revocations.front().copied()
    }

    /// Notes that [`Projection::next_revocation`] was acted on.
    pub fn finish_revocation(&mut self) {
        self.revocations.pop_front();
    }

    /// Takes in everything final that is new; returns whether there was anything.
    ///
    /// Each range of blocks is taken in whole or not at all. When blocks were taken back, everything
    /// known stays until it was all built anew. An event that means nothing here changes nothing: what
    /// one member writes on chain must not stop the others.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the chain cannot be asked. What was taken in before stays.
    pub async fn catch_up(
        &mut self,
        ledger: &Ledger,
        deployment: &Deployment,
    ) -> Result<bool, EndpointError> {
        let contracts = deployment.addresses();
        let mut follower = Follower::new(ledger.clone(), contracts, self.cursor);
        let followed = self.follow(&mut follower, ledger, deployment).await;
        self.is_behind = follower.is_behind();
        followed
    }

    async fn follow(
        &mut self,
        follower: &mut Follower,
        ledger: &Ledger,
        deployment: &Deployment,
    ) -> Result<bool, EndpointError> {
        let mut rebuilt: Option<Self> = None;
        let mut any = false;
        while let Some(step) = follower.next().await? {
            any = true;
            match step {
                Step::Rewind => rebuilt = Some(Self::default()),
                Step::Forward { logs, cursor } => {
                    let moments = moments_of(ledger, &logs, cursor).await?;
                    let target = rebuilt.as_mut().unwrap_or(&mut *self);
                    // Nothing can fail from here to the cursor, so nothing is taken in twice.
                    for (log, moment) in logs.iter().zip(moments) {
                        target.apply_or_skip(deployment, log, moment);
                    }
                    target.cursor = Some(cursor);
                }
            }
        }
        if let Some(rebuilt) = rebuilt {
            *self = rebuilt;
        }
        Ok(any)
    }

    /// Takes in one event, or leaves it out when it means nothing here.
    fn apply_or_skip(&mut self, deployment: &Deployment, log: &Log, moment: Moment) {
        if self.apply(deployment, log, moment).is_err() {
            let (transaction, contract) = (moment.transaction, log.inner.address);
            tracing::warn!(%transaction, %contract, "left out an event that means nothing here");
        }
    }

    /// Takes in one event; changes nothing when it fails.
    fn apply(
        &mut self,
        deployment: &Deployment,
        log: &Log,
        moment: Moment,
    ) -> Result<(), Uninterpretable> {
        let Some(contract) = deployment.contract_at(&log.inner.address) else { return Ok(()) };
        macro_rules! decoded {
            ($events:ty) => {
                <$events>::decode_log(&log.inner).map_err(|_| Uninterpretable)?.data
            };
        }
        match contract {
            Contract::Registry => self.registry.apply(decoded!(RegistryEvents), moment)?,
            Contract::Relationships => {
                self.consents.apply_relationship(decoded!(RelationshipsEvents));
            }
            Contract::Consents => {
                let closed = self.consents.apply(decoded!(ConsentsEvents), moment)?;
                self.revocations.extend(closed);
            }
            Contract::EmergencyAccess => {
                self.consents.apply_emergency(decoded!(EmergencyAccessEvents), moment)?;
            }
            Contract::Records => self.records.apply(decoded!(RecordsEvents), moment)?,
            Contract::Prescriptions => {
                self.workflows.apply_prescription(decoded!(PrescriptionsEvents), moment);
            }
            Contract::LabOrders => {
                self.workflows.apply_lab_order(decoded!(LabOrdersEvents), moment);
            }
            Contract::AccessLog => self.apply_log(decoded!(AccessLogEvents), moment),
            // These bear on no read yet.
            Contract::WebAuthnVerifier
            | Contract::PatientAccounts
            | Contract::Surgeries
            | Contract::Trials
            | Contract::Devices
            | Contract::WaitingLists
            | Contract::PaymentToken
            | Contract::Claims
            | Contract::DataExchange => {}
        }
        Ok(())
    }

    fn apply_log(&mut self, event: AccessLogEvents, moment: Moment) {
        let AccessLogEvents::ReceiptsAppended(appended) = event;
        let log = self.logs.entry(appended.gatekeeper).or_default();
        log.head = appended.head;
        // The contract counts receipts from 0, the log's sequence begins at 1.
        log.receipts = appended.firstSequence.saturating_add(appended.count.into());
        let first = appended.firstSequence.saturating_add(1);
        log.batches.push((appended.root, first, appended.count));
        log.moments.push(moment);
    }

    /// The facts that bear on a read of one version of a record, the one with `digest`, all from the
    /// cursor's block.
    ///
    /// Whether the reader is in the care team is the institution's own knowledge and left out.
    #[must_use]
    pub fn facts(&self, request: &Request, version: RecordVersion, digest: RecordDigest) -> Facts {
        let Request { ref reader, patient, steward, record, .. } = *request;
        let relationship = self.consents.relationship(patient, steward);
        let institution = reader.institution();
        Facts {
            relationship: relationship.and_then(|relationship| relationship.state),
            countersigning: relationship.is_some_and(|relationship| relationship.countersigned),
            grants: self.consents.grants_naming(patient, reader),
            countersignatures: self.consents.countersignatures(patient, steward),
            openings: self.consents.openings(patient),
            restricted_kinds: self.consents.restricted_kinds(patient),
            in_care_team: false,
            workflow_grants: institution
                .map(|institution| self.workflows.grants(institution, request, digest))
                .unwrap_or_default(),
            erased: self.records.is_erased(steward, record, version),
        }
    }

    /// Saves the projection with its cursor, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`SaveError`] when the file cannot be written; an earlier one stays as it was.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        let fail = |action| move |source| SaveError { action, path: path.into(), source };
        let body = postcard::to_stdvec(self).map_err(io::Error::other).map_err(fail("encode"))?;
        let mut bytes = vec![SAVED_VERSION];
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, &bytes)
            .and_then(|()| fs::File::open(&unfinished)?.sync_all())
            .and_then(|()| fs::rename(&unfinished, path))
            .map_err(fail("write"))
    }

    /// Loads a saved projection; an empty one when there is none that can be used, to be built anew
    /// from the chain.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let Ok(bytes) = fs::read(path) else { return Self::default() };
        let Some((&[SAVED_VERSION, ref checksum @ ..], body)) = bytes.split_first_chunk::<5>()
        else {
            return Self::default();
        };
        if crc32fast::hash(body).to_le_bytes() != *checksum {
            tracing::warn!("a saved projection is damaged and will be built anew");
            return Self::default();
        }
        postcard::from_bytes(body).unwrap_or_default()
    }
}

/// An event that this program cannot interpret: of later contracts, or with a value that it has no
/// name for.
#[derive(Clone, Copy, Debug)]
struct Uninterpretable;

impl From<UnknownNumber> for Uninterpretable {
    fn from(_: UnknownNumber) -> Self {
        Self
    }
}

impl From<PeriodError> for Uninterpretable {
    fn from(_: PeriodError) -> Self {
        Self
    }
}

/// Where and when each of the logs happened.
async fn moments_of(
    ledger: &Ledger,
    logs: &[Log],
    cursor: Cursor,
) -> Result<Vec<Moment>, EndpointError> {
    const MALFORMED: EndpointError = EndpointError::Malformed { what: "an event" };
    let mut moments = Vec::with_capacity(logs.len());
    for log in logs {
        let time = match log.block_timestamp {
            Some(time) => time,
            None => block_time(ledger, log, cursor).await?,
        };
        moments.push(Moment {
            block: log.block_number.ok_or(MALFORMED)?,
            time: Timestamp(time),
            transaction: log.transaction_hash.ok_or(MALFORMED)?,
        });
    }
    Ok(moments)
}

/// The time of a log's block, for endpoints that do not give it with the log.
async fn block_time(ledger: &Ledger, log: &Log, cursor: Cursor) -> Result<u64, EndpointError> {
    match log.block_number {
        Some(number) if number == cursor.number => Ok(cursor.time),
        Some(number) => Ok(ledger.block(number.into()).await?.header.timestamp),
        None => Err(EndpointError::Malformed { what: "an event" }),
    }
}
