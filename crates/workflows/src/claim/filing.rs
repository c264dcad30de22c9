//! What providers and patients file: requests beforehand, claims, appeals, and that something did not happen.

use alloy_primitives::{B256, U256};
use bindings::{
    Claims, Contract, LabOrders, Prescriptions, Surgeries, convert::make_id, patient_account::Call,
};
use domain::{Anchor, Kind, RecordDigest, RecordId, Timestamp};

use super::{
    Coverage, Item, Source, clerk, coverage,
    documents::{self, Claimed, Parties, Use},
    standing,
};
use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    record::{Draft, Written},
};

/// What is claimed, and for what.
#[derive(Clone, Debug)]
pub struct Filing {
    /// Under which coverage.
    pub coverage: B256,
    /// From which workflow.
    pub source: Source,
    /// The id of the prescription, order or operation.
    pub service: B256,
    /// The fill or the round, from 1.
    pub part: u64,
    /// What it cost.
    pub items: Vec<Item>,
    /// What was granted for it beforehand.
    pub authorisation: Option<B256>,
}

/// A provider asks the insurer beforehand, in a record of its own whose id is the request's on chain.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses, such as a coverage that does not run now. It is asked before anything is
/// kept.
pub async fn request_authorisation(
    provider: &Gateway,
    author: &Person,
    patient: &PatientActor,
    (id, source): (B256, Source),
    items: &[Item],
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let total = documents::total(items)?;
    let held = coverage_of(provider, patient, id).await?;
    let author = clerk(provider, author, now).await?;
    let salt = provider.make_salt();
    let request = RecordId(make_id(provider.member(), salt));
    let parties = parties(provider, patient, id, &held, now);
    let claimed = Claimed {
        what: Use::Preauthorisation,
        source,
        items,
        total,
        service: None,
        authorisation: None,
    };
    let resource = documents::claim(&claimed, &author, &parties);
    let draft = Draft { kind: Kind::Financial, resource };
    let call = |digest| Claims::requestAuthorisationCall {
        salt,
        coverage: id,
        amount: total.0,
        request: digest,
    };
    let written = Written { gateway: provider, author: &author, patient, now };
    let (anchor, sealed, asked) = written.and_send(request, &draft, Contract::Claims, call).await?;
    let what = format!("asks the insurer beforehand for {total}");
    let step = Step::new(&provider.name, what, "claim.request-authorisation", &asked);
    Ok((anchor, vec![sealed, step]))
}

/// A provider claims for a completed service, in a record of its own whose id is the claim's on chain.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses: a service that is not complete, somebody else's, or claimed already, or
/// one that the coverage does not reach. It is asked before anything is kept.
pub async fn submit(
    provider: &Gateway,
    author: &Person,
    patient: &PatientActor,
    filing: &Filing,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let total = documents::total(&filing.items)?;
    let held = coverage_of(provider, patient, filing.coverage).await?;
    let author = clerk(provider, author, now).await?;
    let evidence = evidence(provider, filing).await?;
    let salt = provider.make_salt();
    let id = RecordId(make_id(provider.member(), salt));
    let parties = parties(provider, patient, filing.coverage, &held, now);
    let claimed = Claimed {
        what: Use::Claim,
        source: filing.source,
        items: &filing.items,
        total,
        service: Some((filing.service, evidence)),
        authorisation: filing.authorisation,
    };
    let resource = documents::claim(&claimed, &author, &parties);
    let draft = Draft { kind: Kind::Financial, resource };
    let call = |digest| Claims::submitCall {
        salt,
        submission: Claims::Submission {
            coverage: filing.coverage,
            source: filing.source.number(),
            service: filing.service,
            part: U256::from(filing.part),
            evidence,
            amount: total.0,
            authorisation: filing.authorisation.unwrap_or_default(),
            digest,
        },
    };
    let written = Written { gateway: provider, author: &author, patient, now };
    let (anchor, sealed, submitted) = written.and_send(id, &draft, Contract::Claims, call).await?;
    let what = format!("claims {total} from the insurer");
    let step = Step::new(&provider.name, what, "claim.submit", &submitted);
    Ok((anchor, vec![sealed, step]))
}

/// What a receipt says that the performers signed; zero while there is none, which the contract refuses.
async fn evidence(provider: &Gateway, filing: &Filing) -> Result<B256, WorkflowError> {
    let (id, part) = (filing.service, U256::from(filing.part));
    let (ledger, latest) = (provider.gatekeeper.ledger(), Default::default());
    Ok(match filing.source {
        Source::Prescription => {
            let call = Prescriptions::serviceOfCall { id, part };
            ledger.call(provider.at(Contract::Prescriptions), &call, latest).await?.evidence
        }
        Source::LabOrder => {
            let call = LabOrders::serviceOfCall { id, part };
            ledger.call(provider.at(Contract::LabOrders), &call, latest).await?.evidence
        }
        Source::Surgery => {
            let call = Surgeries::serviceOfCall { id, part };
            ledger.call(provider.at(Contract::Surgeries), &call, latest).await?.evidence
        }
    })
}

/// The provider takes a claim back before it is decided. The service can be claimed anew.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is another provider's, or was decided.
pub async fn withdraw(provider: &Gateway, id: B256) -> Result<Step, WorkflowError> {
    let call = Claims::withdrawClaimCall { id };
    let outcome = provider.sender().send(provider.at(Contract::Claims), &call).await?;
    Ok(Step::new(&provider.name, "takes the claim back", "claim.withdraw", &outcome))
}

/// The patient says that what is claimed did not happen. The reason stays with the patient: with the salt that is
/// returned, its digest can be shown to be of these words.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the claim is not about them.
pub async fn contest(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    reason: &str,
    now: Timestamp,
) -> Result<(B256, Step), WorkflowError> {
    let (salt, digest) = salted(relay, reason)?;
    let call = Claims::contestCall { id, reason: digest };
    let call = Call::to_contract(relay.at(Contract::Claims), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = "says that what is claimed did not happen";
    Ok((salt, Step::new(&patient.name, what, "claim.contest", &outcome)))
}

/// The provider appeals a decision, with a reason that is a record of its own.
///
/// # Errors
///
/// [`WorkflowError`] when all was approved, nothing was decided yet, it was appealed before, or it is too late. The
/// chain is asked before anything is kept.
pub async fn appeal(
    provider: &Gateway,
    author: &Person,
    patient: &PatientActor,
    id: B256,
    reason: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    documents::require_reason(reason)?;
    let claim = standing(provider, id).await?;
    let held = coverage_of(provider, patient, claim.coverage).await?;
    let author = clerk(provider, author, now).await?;
    let parties = parties(provider, patient, claim.coverage, &held, now);
    let resource = documents::appeal(id, reason, &author, &parties);
    let draft = Draft { kind: Kind::Order, resource };
    let call = |reason| Claims::appealCall { id, reason };
    let written = Written { gateway: provider, author: &author, patient, now };
    let record = provider.make_record_id();
    let (anchor, sealed, appealed) =
        written.and_send(record, &draft, Contract::Claims, call).await?;
    let step = Step::new(&provider.name, "appeals the decision", "claim.appeal", &appealed);
    Ok((anchor, vec![sealed, step]))
}

/// The patient appeals a decision. The reason stays with the patient, as of [`contest`].
///
/// # Errors
///
/// [`WorkflowError::Send`] as of [`appeal`], and when the claim is not about them.
pub async fn appeal_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    reason: &str,
    now: Timestamp,
) -> Result<(B256, Step), WorkflowError> {
    let (salt, digest) = salted(relay, reason)?;
    let call = Claims::appealCall { id, reason: digest };
    let call = Call::to_contract(relay.at(Contract::Claims), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    Ok((salt, Step::new(&patient.name, "appeals the decision", "claim.appeal", &outcome)))
}

fn salted(relay: &Gateway, reason: &str) -> Result<(B256, B256), WorkflowError> {
    documents::require_reason(reason)?;
    let salt = relay.make_salt();
    Ok((salt, RecordDigest::of(&[salt.as_slice(), reason.as_bytes()].concat()).0))
}

/// The coverage under which something is written about a patient, who has to be the covered one.
pub(super) async fn coverage_of(
    gateway: &Gateway,
    patient: &PatientActor,
    id: B256,
) -> Result<Coverage, WorkflowError> {
    let held = coverage(gateway, id).await?;
    patient.require_theirs("coverage", held.patient)?;
    Ok(held)
}

fn parties<'a>(
    provider: &Gateway,
    patient: &'a PatientActor,
    coverage: B256,
    held: &Coverage,
    now: Timestamp,
) -> Parties<'a> {
    let (provider, insurer) = (provider.member(), held.insurer);
    Parties { patient, provider, insurer, coverage, now }
}
