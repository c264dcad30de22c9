//! What an adjudicator reads before deciding: the claim, the policy, and the order behind the service.
//!
//! All of it on the patient's consent to the insurer, for payment; without it nothing is opened, and there is a receipt
//! of the attempt. What is read is held against the chain, so that what is decided on is what was submitted.

use alloy_primitives::{Address, B256};
use bindings::{Contract, Prescriptions};
use domain::{Kind, KindSet, Purpose, RecordDigest, RecordId, Timestamp};
use gatekeeper::{Gatekeeper, ReadRequest};
use serde_json::value::RawValue;

use super::{
    Cents, Coverage, Flags, Item, Performed, Policy, Source, Standing, Submitted, Tariff,
    authorisation, coverage, documents,
    rules::{self, Adjudication},
    standing, submitted,
};
use crate::{
    Gateway, Person, WorkflowError,
    access::{self, Wanted},
};

/// Who keeps what the adjudicator asks for; the policy is the insurer's own.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    /// The provider, who keeps the claim.
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
        let open = async |which, record: B256, kind| {
            desk.open(insurer, which, (patient, RecordId(record), kind), now).await
        };
        let (digest, body) = open(Which::Claim, id, Kind::Financial).await?;
        let items = documents::items_of(body.get())?;
        let total = rules::total(&items);
        if digest.0 != submitted.digest || total != Ok(claim.amount) {
            let why = "the claim that is kept is not the one that was submitted";
            return Err(WorkflowError::Invalid(why.into()));
        }
        let (digest, body) = open(Which::Policy, claim.coverage, Kind::Financial).await?;
        let plan = documents::plan_of(body.get())?;
        if digest.0 != coverage.policy {
            let why = "the policy that is kept is not the one that the patient accepted";
            return Err(WorkflowError::Invalid(why.into()));
        }
        let text = match submitted.source {
            Source::Prescription => {
                let (_, body) = open(Which::Order, submitted.service, Kind::Medication).await?;
                documents::words_of(body.get())?
            }
            Source::Surgery => {
                let (_, body) = open(Which::Order, submitted.service, Kind::Order).await?;
                documents::words_of(body.get())?
            }
            // An insurer reads none, whatever a consent says.
            Source::LabOrder => String::new(),
        };
        let performed = Performed {
            source: submitted.source,
            text,
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
}

/// How an adjudicator reads.
enum Desk<'a> {
    Asking(&'a Person, Places<'a>),
    Copies(Address),
}

impl Desk<'_> {
    async fn open(
        &self,
        insurer: &Gateway,
        which: Which,
        (patient, record, kind): (Address, RecordId, Kind),
        now: Timestamp,
    ) -> Result<(RecordDigest, Box<RawValue>), WorkflowError> {
        let (kinds, purpose) = (KindSet::of(&[kind]), Purpose::Payment);
        let unknown = || WorkflowError::Unknown { what: "record", id: record.0 };
        match self {
            Self::Asking(adjudicator, places) => {
                let keeper = match which {
                    Which::Claim => places.claim,
                    Which::Policy => &insurer.gatekeeper,
                    Which::Order => places.order,
                };
                let wanted = Wanted { patient, kinds, record: Some(record), purpose };
                let (answered, _) = access::ask(keeper, adjudicator, &wanted, now).await?;
                let found = answered.records.into_iter().next().ok_or_else(unknown)?;
                Ok((found.digest, found.body))
            }
            Self::Copies(adjudicator) => {
                let keeper = &insurer.gatekeeper;
                keeper.refresh(now).await?;
                let reader = keeper.projection().await.registry.reader_of(*adjudicator, now);
                let out = || WorkflowError::Invalid("the adjudicator is not in force".into());
                let request = ReadRequest {
                    reader: reader.ok_or_else(out)?,
                    patient,
                    kinds,
                    record: Some(record),
                    version: None,
                    after: None,
                    limit: 1,
                    purpose,
                    query: B256::ZERO,
                };
                let (served, _) = keeper.read(&request, now).await?;
                let found = served.records.into_iter().next().ok_or_else(unknown)?;
                Ok((found.digest, found.body))
            }
        }
    }
}
