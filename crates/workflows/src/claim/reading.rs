//! What an adjudicator reads before deciding: the claim, the policy, the order behind the service, and of an operation
//! its report.
//!
//! All of it on the patient's consent to the insurer, for payment; without it nothing is opened, and there is a receipt
//! of the attempt. Of each, only the version is decided on whose digest the chain names: the claim as it was submitted,
//! the policy that the patient accepted, the order by which the service was done, the report that the team signed out.
//! The report has to stand on chain as the provider's record of this patient, and to be of this operation and round.
//! Of copies that came the bytes were hashed; who asks instead takes the answering gatekeeper's word for which version
//! it answers with.

use alloy_primitives::{Address, B256};
use bindings::{Contract, Prescriptions, Surgeries};
use domain::{AnchorState, Kind, KindSet, Purpose, RecordDigest, RecordId, Timestamp};
use gatekeeper::{Gatekeeper, ReadRequest};
use serde_json::value::RawValue;

use super::{
    Cents, Coverage, Flags, Item, Performed, Policy, Source, Standing, Submitted, Tariff,
    authorisation, begun, coverage, documents,
    rules::{self, Adjudication},
    standing, submitted,
};
use crate::{
    Gateway, Person, WorkflowError,
    access::{self, Wanted},
    surgery::Operation,
};

/// Who keeps what the adjudicator asks for; the policy is the insurer's own.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    /// The provider, who keeps the claim, and of an operation the report.
    pub claim: &'a Gatekeeper,
    /// Whoever keeps the order behind the service.
    pub order: &'a Gatekeeper,
}

/// A claim that was read, and held against the chain.
#[derive(Clone, Debug)]
pub struct Reviewed {
    pub(super) id: B256,
    pub(super) claim: Standing,
    pub(super) coverage: Coverage,
    pub(super) submitted: Submitted,
    pub(super) items: Vec<Item>,
    plan: String,
    performed: Performed,
    authorised: Option<Cents>,
}

impl Reviewed {
    /// Reads by signed queries of the adjudicator to whoever keeps the records.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Answer`] without the patient's consent, and [`WorkflowError::Invalid`] when what is kept is not
    /// what was submitted.
    pub async fn read(
        insurer: &Gateway,
        adjudicator: &Person,
        places: Places<'_>,
        id: B256,
        now: Timestamp,
    ) -> Result<Self, WorkflowError> {
        Self::gather(insurer, &Desk::Asking(adjudicator, places), id, now).await
    }

    /// Reads the copies that came to the insurer, for an adjudicator whose identity the caller has checked.
    ///
    /// # Errors
    ///
    /// As of [`Reviewed::read`], and [`WorkflowError::Unknown`] when a copy has not come yet.
    pub async fn read_copies(
        insurer: &Gateway,
        adjudicator: Address,
        id: B256,
        now: Timestamp,
    ) -> Result<Self, WorkflowError> {
        Self::gather(insurer, &Desk::Copies(adjudicator), id, now).await
    }

    async fn gather(
        insurer: &Gateway,
        desk: &Desk<'_>,
        id: B256,
        now: Timestamp,
    ) -> Result<Self, WorkflowError> {
        let claim = standing(insurer, id).await?;
        let coverage = coverage(insurer, claim.coverage).await?;
        if coverage.insurer != insurer.member() {
            return Err(WorkflowError::Invalid("the claim is with another insurer".into()));
        }
        let submitted = submitted(insurer, id).await?;
        let patient = coverage.patient;
        let open = async |which, record: B256, kind, digest: B256| {
            let (record, digest) = (RecordId(record), RecordDigest(digest));
            desk.open(insurer, which, (patient, record, kind, digest), now).await
        };
        let body = open(Which::Claim, id, Kind::Financial, submitted.digest).await?;
        let items = documents::items_of(body.get())?;
        if rules::total(&items) != Ok(claim.amount) {
            return Err(Which::Claim.differs());
        }
        let body = open(Which::Policy, claim.coverage, Kind::Financial, coverage.policy).await?;
        let plan = documents::plan_of(body.get())?;
        let mut texts = Vec::new();
        if let Some((kind, digest)) = ordered(insurer, &submitted).await? {
            let body = open(Which::Order, submitted.service, kind, digest).await?;
            texts.push(documents::words_of(body.get())?);
        }
        if submitted.source == Source::Surgery {
            let record = reported(insurer, &claim, patient, now).await?;
            let body = open(Which::Report, record.0, Kind::Procedure, claim.evidence).await?;
            let operation = Operation { id: submitted.service, patient, round: submitted.part };
            let report = serde_json::from_str(body.get()).unwrap_or_default();
            texts.push(operation.performed(&report).ok_or_else(|| Which::Report.differs())?);
        }
        if texts.is_empty() {
            texts.push(String::new());
        }
        let performed = Performed {
            source: submitted.source,
            texts,
            units: units(insurer, &submitted).await?,
            contested: claim.flags.has(Flags::CONTESTED),
        };
        let authorised = match claim.authorisation {
            Some(id) => Some(authorisation(insurer, id).await?.granted),
            None => None,
        };
        Ok(Self { id, claim, coverage, submitted, items, plan, performed, authorised })
    }

    /// Which claim it is.
    #[must_use]
    pub const fn id(&self) -> B256 {
        self.id
    }

    /// What is claimed.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What comes of it by the rules. Nothing is changed by asking.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when the claim cannot be counted, or the tariff does not know the plan.
    pub fn by_rules(&self, tariff: &Tariff) -> Result<Adjudication, WorkflowError> {
        let left = self.coverage.limit.less(self.coverage.used);
        let remaining = left.plus(self.claim.share).unwrap_or(left);
        let policy = Policy {
            plan: &self.plan,
            copayment: self.coverage.copayment,
            remaining,
            authorised: self.authorised,
        };
        rules::adjudicate(&policy, &self.items, &self.performed, tariff)
            .map_err(|error| WorkflowError::Invalid(error.to_string()))
    }
}

/// The kind of the order behind a service, and its digest when the service began; nothing for what an insurer does
/// not read, whatever a consent says.
async fn ordered(
    insurer: &Gateway,
    submitted: &Submitted,
) -> Result<Option<(Kind, B256)>, WorkflowError> {
    let id = submitted.service;
    let unknown = || WorkflowError::Unknown { what: "service", id };
    Ok(match submitted.source {
        Source::Prescription => {
            let at = Contract::Prescriptions;
            let issued = begun::<Prescriptions::PrescriptionIssued>(insurer, at, id).await?;
            Some((Kind::Medication, issued.ok_or_else(unknown)?.terms.digest))
        }
        Source::Surgery => {
            let at = Contract::Surgeries;
            let referred = begun::<Surgeries::SurgeryReferred>(insurer, at, id).await?;
            Some((Kind::Order, referred.ok_or_else(unknown)?.referral))
        }
        Source::LabOrder => None,
    })
}

/// Which record the signed report of an operation is: the provider's, of this patient, as it stands on chain.
async fn reported(
    insurer: &Gateway,
    claim: &Standing,
    patient: Address,
    now: Timestamp,
) -> Result<RecordId, WorkflowError> {
    insurer.gatekeeper.refresh(now).await?;
    let projection = insurer.gatekeeper.projection().await;
    let found = projection.records.anchors().find(|entry| {
        let anchor = &entry.anchor;
        let is_gone = matches!(entry.state, AnchorState::Rejected | AnchorState::Erased);
        !is_gone
            && (anchor.digest.0, anchor.kind) == (claim.evidence, Kind::Procedure)
            && (anchor.steward, anchor.patient) == (claim.provider, patient)
    });
    let why = "the report that was signed does not stand on chain as a record of the provider's of this patient";
    let record = found.map(|entry| entry.anchor.record);
    record.ok_or_else(|| WorkflowError::Invalid(why.into()))
}

/// How many units were given, by the receipt: a completed fill is whole.
async fn units(insurer: &Gateway, submitted: &Submitted) -> Result<u32, WorkflowError> {
    if submitted.source != Source::Prescription {
        return Ok(1);
    }
    let call = Prescriptions::prescriptionOfCall { id: submitted.service };
    let (at, latest) = (insurer.at(Contract::Prescriptions), Default::default());
    Ok(insurer.gatekeeper.ledger().call(at, &call, latest).await?.quantity)
}

#[derive(Clone, Copy)]
enum Which {
    Claim,
    Policy,
    Order,
    Report,
}

impl Which {
    fn differs(self) -> WorkflowError {
        let why = match self {
            Self::Claim => "the claim that is kept is not the one that was submitted",
            Self::Policy => "the policy that is kept is not the one that the patient accepted",
            Self::Order => "the order that is kept is not the one by which the service was done",
            Self::Report => "the report that is kept is not the one of this operation and round",
        };
        WorkflowError::Invalid(why.into())
    }
}

/// How an adjudicator reads.
enum Desk<'a> {
    Asking(&'a Person, Places<'a>),
    Copies(Address),
}

impl Desk<'_> {
    /// Opens the version of a record that has this digest, and no other.
    async fn open(
        &self,
        insurer: &Gateway,
        which: Which,
        (patient, record, kind, digest): (Address, RecordId, Kind, RecordDigest),
        now: Timestamp,
    ) -> Result<Box<RawValue>, WorkflowError> {
        let (kinds, purpose) = (KindSet::of(&[kind]), Purpose::Payment);
        let unknown = || WorkflowError::Unknown { what: "record", id: record.0 };
        let (found, body) = match self {
            Self::Asking(adjudicator, places) => {
                let keeper = match which {
                    Which::Claim | Which::Report => places.claim,
                    Which::Policy => &insurer.gatekeeper,
                    Which::Order => places.order,
                };
                let wanted = Wanted { patient, kinds, record: Some(record), purpose };
                let (answered, _) = access::ask(keeper, adjudicator, &wanted, now).await?;
                let found = answered.records.into_iter().next().ok_or_else(unknown)?;
                (found.digest, found.body)
            }
            Self::Copies(adjudicator) => {
                let keeper = &insurer.gatekeeper;
                keeper.refresh(now).await?;
                let reader = keeper.projection().await.registry.reader_of(*adjudicator, now);
                let out = || WorkflowError::Invalid("the adjudicator is not in force".into());
                let named = keeper.vault().find(digest).await?;
                let named = named.filter(|entry| entry.header.record == record);
                let request = ReadRequest {
                    reader: reader.ok_or_else(out)?,
                    patient,
                    kinds,
                    record: Some(record),
                    version: named.map(|entry| entry.header.version),
                    after: None,
                    limit: 1,
                    purpose,
                    query: B256::ZERO,
                };
                let (served, _) = keeper.read(&request, now).await?;
                let found = served.records.into_iter().next().ok_or_else(unknown)?;
                (found.digest, found.body)
            }
        };
        if found == digest { Ok(body) } else { Err(which.differs()) }
    }
}
