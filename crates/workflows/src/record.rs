//! One record: sealed and proposed by its steward, verified and accepted or rejected by the patient.
//!
//! The sealed record is in the steward's vault before its digest goes on chain. The patient is alerted
//! by the event, opens the record with their own key, and answers. An amendment is the next version.

use alloy_primitives::B256;
use alloy_sol_types::SolCall;
use bindings::{Contract, Records, convert::to_anchor, patient_account::Call};
use domain::{Anchor, Kind, RecordId, RecordVersion, Timestamp};
use gatekeeper::{Along, Inclusion};
use ledger::{Outcome, Prepared, SendError};
use vault::{Content, ErasureOrder, ErasureReason, NewRecord, SealedRecord};

use crate::{Gateway, PatientActor, Person, Step, WorkflowError};

/// What is to be sealed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it is about.
    pub kind: Kind,
    /// The FHIR resource, as JSON.
    pub resource: serde_json::Value,
}

impl Draft {
    /// The first version of a record, to be sealed.
    pub(crate) fn first_version(
        &self,
        record: RecordId,
        author: &Person,
        patient: &PatientActor,
        now: Timestamp,
    ) -> NewRecord {
        let mut resource = self.resource.clone();
        if let Some(fields) = resource.as_object_mut() {
            // As others refer to it, and as whoever gets a copy finds it.
            fields.entry("id").or_insert_with(|| format!("{:x}", record.0).into());
        }
        NewRecord {
            record,
            version: RecordVersion::FIRST,
            patient: patient.account(),
            kind: self.kind,
            content: Content::FhirJson,
            author: author.member,
            created: now,
            body: serde_json::to_vec(&resource).expect("a JSON value has a text"),
        }
    }

    /// The version after another one, to be sealed.
    pub(crate) fn next_version(
        &self,
        previous: &Anchor,
        author: &Person,
        patient: &PatientActor,
        now: Timestamp,
    ) -> Result<NewRecord, WorkflowError> {
        let version = RecordVersion::try_from(previous.version.get() + 1)
            .map_err(|_| WorkflowError::Invalid("no version follows this one".into()))?;
        let new = self.first_version(previous.record, author, patient, now);
        Ok(NewRecord { version, ..new })
    }
}

/// Where a record is written that a step of a workflow names, by whom, and about whom.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) author: &'a Person,
    pub(crate) patient: &'a PatientActor,
    pub(crate) now: Timestamp,
}

impl<'a> Written<'a> {
    /// Seals the first version of a record, anchors it, and has its author send the call that its digest
    /// goes into. The contract is asked and the author signs before anything is kept, so that a refused step
    /// leaves nothing behind.
    pub(crate) async fn and_send<C: SolCall>(
        self,
        record: RecordId,
        draft: &Draft,
        contract: Contract,
        call: impl Fn(B256) -> C,
    ) -> Result<(Anchor, Step, Outcome), WorkflowError> {
        self.sign(record, draft, contract, call).await?.keep_and_send().await
    }

    /// As [`Written::and_send`], with the version after `previous`, which is withdrawn when the patient has
    /// not answered it.
    pub(crate) async fn next_and_send<C: SolCall>(
        self,
        previous: &'a Anchor,
        draft: &Draft,
        contract: Contract,
        call: impl Fn(B256) -> C,
    ) -> Result<(Anchor, Step, Outcome), WorkflowError> {
        let new = draft.next_version(previous, self.author, self.patient, self.now)?;
        self.gateway.gatekeeper.refresh(self.now).await?;
        let signed = self.sign_version(new, draft.kind, contract, call).await?;
        SignedRecord { previous: Some(previous), ..signed }.keep_and_send().await
    }

    /// Seals the first version of a record, and has its author sign the call that its digest goes into.
    /// Nothing is kept or sent.
    pub(crate) async fn sign<C: SolCall>(
        self,
        record: RecordId,
        draft: &Draft,
        contract: Contract,
        call: impl Fn(B256) -> C,
    ) -> Result<SignedRecord<'a>, WorkflowError> {
        let new = draft.first_version(record, self.author, self.patient, self.now);
        self.sign_version(new, draft.kind, contract, call).await
    }

    async fn sign_version<C: SolCall>(
        self,
        new: NewRecord,
        kind: Kind,
        contract: Contract,
        call: impl Fn(B256) -> C,
    ) -> Result<SignedRecord<'a>, WorkflowError> {
        let Self { gateway, author, .. } = self;
        let along = gateway.along(&new);
        let sealed = gateway.gatekeeper.seal(new).await?;
        let call = call(sealed.entry().digest.0);
        let prepared = author.sender.prepare(gateway.at(contract), &call).await?;
        Ok(SignedRecord { gateway, author, kind, sealed, along, previous: None, prepared })
    }
}

/// A record that is sealed, with the call that its author signed for it; neither kept nor sent.
pub(crate) struct SignedRecord<'a> {
    gateway: &'a Gateway,
    author: &'a Person,
    kind: Kind,
    sealed: SealedRecord,
    along: Along<'static>,
    previous: Option<&'a Anchor>,
    prepared: Prepared,
}

impl SignedRecord<'_> {
    /// Whether its author's wallet sent the call by itself already.
    pub(crate) const fn is_sent(&self) -> bool {
        self.prepared.is_sent()
    }

    /// Keeps the record, proposes it, and sends the call. When something changed since it was signed and the
    /// call is refused, the record is taken back: it would tell of what did not happen.
    pub(crate) async fn keep_and_send(self) -> Result<(Anchor, Step, Outcome), WorkflowError> {
        let Self { gateway, author, kind, sealed, along, previous, prepared } = self;
        let keeper = &gateway.gatekeeper;
        let (anchor, anchored) = keeper.keep_and_propose(sealed, previous, along).await?;
        let outcome = match author.sender.send_prepared(prepared).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let error = error.into();
                take_back_after(gateway, &anchor, &error).await;
                return Err(error);
            }
        };
        let (what, operation) = match previous {
            None => (proposes(kind), "record.propose"),
            Some(_) => (
                format!("proposes version {} of the {kind} record", anchor.version),
                "record.amend",
            ),
        };
        Ok((anchor, Step::new(&gateway.name, what, operation, &anchored), outcome))
    }
}

/// That a record is proposed, in words.
fn proposes(kind: Kind) -> String {
    let kind = kind.to_string();
    let article = if kind.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("proposes {article} {kind} record")
}

/// Takes back a record that was proposed along with a call, when it is certain that the call did not happen.
pub(crate) async fn take_back_after(gateway: &Gateway, anchor: &Anchor, error: &WorkflowError) {
    use SendError::{NotSigned, NotTaken, Refused, Reverted};
    let WorkflowError::Send(Refused(_) | Reverted { .. } | NotTaken { .. } | NotSigned(_)) = error
    else {
        return;
    };
    // What cannot be taken back now stays proposed, and the patient can reject it.
    let withdraw = Records::withdrawCall { anchor: to_anchor(anchor) };
    let _ = gateway.sender().send(gateway.at(Contract::Records), &withdraw).await;
}

/// The call by which a patient accepts a record, when it waits for their answer.
pub(crate) async fn accept_call(
    gateway: &Gateway,
    anchor: &Anchor,
) -> Result<Option<Call>, WorkflowError> {
    let (records, anchor) = (gateway.at(Contract::Records), to_anchor(anchor));
    let state = Records::stateOfCall { anchor: anchor.clone() };
    let state = gateway.gatekeeper.ledger().call(records, &state, Default::default()).await?;
    let accept = Records::acceptCall { anchor };
    Ok((state == PROPOSED).then(|| Call::to_contract(records, &accept)))
}

/// A record that waits for its patient's answer.
///
/// # Source
///
/// `State` in `Records.sol`.
const PROPOSED: u8 = 1;

/// The steward seals a record and proposes its first version.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses; then nothing was sealed.
pub async fn propose(
    steward: &Gateway,
    author: &Person,
    patient: &PatientActor,
    draft: &Draft,
    now: Timestamp,
) -> Result<(Anchor, Step), WorkflowError> {
    let new = draft.first_version(steward.make_record_id(), author, patient, now);
    let along = steward.along(&new);
    let (anchor, outcome) = steward.gatekeeper.put_and_propose_along(new, None, along).await?;
    Ok((anchor, Step::new(&steward.name, proposes(draft.kind), "record.propose", &outcome)))
}

/// The steward seals the next version of a record and proposes it. A record that came in a batch is
/// first given a place of its own on chain.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses; then nothing was sealed.
pub async fn amend(
    steward: &Gateway,
    author: &Person,
    patient: &PatientActor,
    previous: &Anchor,
    draft: &Draft,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let new = draft.next_version(previous, author, patient, now)?;
    let (version, along) = (new.version, steward.along(&new));
    let mut steps = Vec::from_iter(materialise(steward, previous).await?);
    steward.gatekeeper.refresh(now).await?;
    let (anchor, outcome) =
        steward.gatekeeper.put_and_propose_answered(new, Some(previous), along).await?;
    let what = format!("proposes version {version}");
    steps.push(Step::new(&steward.name, what, "record.amend", &outcome));
    Ok((anchor, steps))
}

/// What a patient answers to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Accept,
    /// It is wrong, or not theirs.
    Reject,
    /// It was accepted, but is wrong.
    Dispute,
}

/// The patient opens the proposed version with their own key, to see what it says.
///
/// # Errors
///
/// [`WorkflowError`] when the steward has no copy for the patient or it does not open.
pub async fn verify(
    steward: &Gateway,
    patient: &PatientActor,
    anchor: &Anchor,
) -> Result<Vec<u8>, WorkflowError> {
    let vault = steward.gatekeeper.vault();
    let unknown = || WorkflowError::Unknown { what: "record", id: anchor.record.0 };
    let copy = vault.copy_for(anchor.digest, patient.account()).await?.ok_or_else(unknown)?;
    let sealed = vault.sealed_bytes(anchor.digest).await?.ok_or_else(unknown)?;
    let identity = vault::Identity { address: patient.account(), secret: patient.secret.clone() };
    let mut body = Vec::new();
    copy.open(sealed, &identity, vault.network(), &mut body)?;
    Ok(body)
}

/// The patient answers a record.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the record does not stand so that this answer is possible.
pub async fn answer(
    steward: &Gateway,
    patient: &PatientActor,
    anchor: &Anchor,
    verdict: Verdict,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let records = steward.at(Contract::Records);
    let anchor = to_anchor(anchor);
    let (call, what, operation) = match verdict {
        Verdict::Accept => (
            Call::to_contract(records, &Records::acceptCall { anchor }),
            "verifies and accepts it",
            "record.accept",
        ),
        Verdict::Reject => (
            Call::to_contract(records, &Records::rejectCall { anchor }),
            "verifies and rejects it",
            "record.reject",
        ),
        Verdict::Dispute => (
            Call::to_contract(records, &Records::disputeCall { anchor }),
            "disputes it",
            "record.dispute",
        ),
    };
    let outcome = patient.act(steward.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, what, operation, &outcome))
}

/// The patient accepts everything of theirs in a batch.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the batch is not known or was accepted already.
pub async fn accept_batch(
    steward: &Gateway,
    patient: &PatientActor,
    root: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let accept = Records::acceptBatchCall { steward: steward.member(), root };
    let call = Call::to_contract(steward.at(Contract::Records), &accept);
    let outcome = patient.act(steward.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "accepts a batch", "record.accept-batch", &outcome))
}

/// The steward gives a record that came in a batch a place of its own on chain, from where it can be
/// answered, amended and erased alone; nothing when it has one.
///
/// # Errors
///
/// [`WorkflowError`] when it is not on chain at all.
pub async fn materialise(
    steward: &Gateway,
    anchor: &Anchor,
) -> Result<Option<Step>, WorkflowError> {
    let (records, on_chain) = (steward.at(Contract::Records), to_anchor(anchor));
    let state = Records::stateOfCall { anchor: on_chain.clone() };
    let latest = Default::default();
    // Zero says that no place of its own holds this anchor.
    if steward.gatekeeper.ledger().call(records, &state, latest).await? != 0 {
        return Ok(None);
    }
    let inclusion = steward.gatekeeper.inclusion(anchor.record, anchor.version).await?;
    let Some((_, Inclusion::Batch { root, proof })) = inclusion else {
        return Err(WorkflowError::Unknown { what: "record", id: anchor.record.0 });
    };
    let call = Records::materialiseCall { anchor: on_chain, root, proof };
    let outcome = steward.sender().send(records, &call).await?;
    let what = "takes a record out of its batch";
    Ok(Some(Step::new(&steward.name, what, "record.materialise", &outcome)))
}

/// The newest version of a record that an institution holds, when it stands by itself on chain.
///
/// # Errors
///
/// [`WorkflowError`] when vault or chain cannot be asked.
pub async fn newest(
    steward: &Gateway,
    record: RecordId,
    now: Timestamp,
) -> Result<Option<Anchor>, WorkflowError> {
    let keeper = &steward.gatekeeper;
    keeper.refresh(now).await?;
    let Some(entry) = keeper.vault().head(record).await? else { return Ok(None) };
    let found = keeper.inclusion(record, entry.header.version).await?;
    Ok(found.and_then(|(anchor, place)| matches!(place, Inclusion::Alone).then_some(anchor)))
}

/// The steward destroys one version and every key to it, and says so on chain. A record that came in a
/// batch is first given a place of its own there.
///
/// # Errors
///
/// [`WorkflowError`] when the chain would refuse; then nothing was destroyed. The body is gone before
/// the chain is told; telling it again is possible.
pub async fn erase(
    steward: &Gateway,
    anchor: &Anchor,
    reason: ErasureReason,
    now: Timestamp,
) -> Result<Vec<Step>, WorkflowError> {
    let mut steps = Vec::from_iter(materialise(steward, anchor).await?);
    let records = steward.at(Contract::Records);
    let erase = |receipt| Records::eraseCall { anchor: to_anchor(anchor), receipt };
    steward.sender().check(records, &erase(B256::repeat_byte(1))).await?;
    let order = ErasureOrder { by: steward.member(), reason, at: now };
    let vault = steward.gatekeeper.vault();
    let receipt = vault
        .erase(anchor.record, anchor.version, order, &mut steward.gatekeeper.entropy().fork())
        .await
        .map_err(|error| WorkflowError::Invalid(error.to_string()))?;
    let outcome = steward.sender().send(records, &erase(receipt.digest())).await?;
    steps.push(Step::new(&steward.name, "erases a record", "record.erase", &outcome));
    Ok(steps)
}
