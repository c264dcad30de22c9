//! What adjudicators decide: requests beforehand, claims, and appeals.

use alloy_primitives::B256;
use alloy_sol_types::SolCall;
use bindings::{Claims, Contract, convert::to_uint40};
use domain::{Anchor, Kind, Timestamp};

use super::{
    Adjudication, Cents, Reviewed, Tariff, authorisation,
    documents::{self, Outcome, Parties},
    filing::coverage_of,
    standing,
};
use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    record::{self, Draft, Written},
};

/// What was decided, and where it is written down.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the rules, or the rules and an adjudicator, came to.
    pub made: Adjudication,
    /// The explanation of benefit, for the patient.
    pub explanation: Anchor,
    /// The response, for the provider.
    pub response: Anchor,
    /// What happened.
    pub steps: Vec<Step>,
}

/// An adjudicator answers a request beforehand, once; nothing granted refuses it. The answer is a record of the
/// insurer.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses: somebody who is no adjudicator of this insurer, more than was asked for,
/// or a request that was answered. It is asked before anything is kept.
pub async fn decide_authorisation(
    insurer: &Gateway,
    adjudicator: &Person,
    patient: &PatientActor,
    id: B256,
    (granted, until): (Cents, Timestamp),
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    granted.require_writable()?;
    let asked = authorisation(insurer, id).await?;
    let held = coverage_of(insurer, patient, asked.coverage).await?;
    let parties = Parties {
        patient,
        provider: asked.provider,
        insurer: held.insurer,
        coverage: asked.coverage,
        now,
    };
    let resource = documents::granted(id, (granted, until), adjudicator, &parties);
    let draft = Draft { kind: Kind::Financial, resource };
    let call =
        |_| Claims::decideAuthorisationCall { id, granted: granted.0, until: to_uint40(until) };
    let written = Written { gateway: insurer, author: adjudicator, patient, now };
    let record = insurer.make_record_id();
    let (anchor, sealed, decided) =
        written.and_send(record, &draft, Contract::Claims, call).await?;
    let what = format!("grants {granted} beforehand, until {until}");
    let step = Step::new(&adjudicator.name, what, "claim.decide-authorisation", &decided);
    Ok((anchor, vec![sealed, step]))
}

/// An adjudicator decides a claim by the rules.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses: somebody who is no adjudicator of this insurer, a claim that was decided,
/// or an insurer that has not paid enough in. It is asked before anything is kept.
pub async fn adjudicate(
    insurer: &Gateway,
    adjudicator: &Person,
    patient: &PatientActor,
    reviewed: &Reviewed,
    tariff: &Tariff,
    now: Timestamp,
) -> Result<Decision, WorkflowError> {
    let id = reviewed.id;
    let call = |decision| Claims::adjudicateCall { id, decision };
    let deciding = Deciding { insurer, adjudicator, patient, reviewed, tariff, now };
    let made = reviewed.by_rules(tariff)?;
    deciding.decide((made, None, false), call, "claim.adjudicate").await
}

/// Another adjudicator decides an appeal: by the rules, never lower than before, and with `more`, an amount and the
/// reason for it, at least that much.
///
/// # Errors
///
/// As of [`adjudicate`], and when it is who decided before.
pub async fn decide_appeal(
    insurer: &Gateway,
    adjudicator: &Person,
    patient: &PatientActor,
    reviewed: &Reviewed,
    (tariff, more): (&Tariff, Option<(Cents, &str)>),
    now: Timestamp,
) -> Result<Decision, WorkflowError> {
    let id = reviewed.id;
    let call = |decision| Claims::decideAppealCall { id, decision };
    let deciding = Deciding { insurer, adjudicator, patient, reviewed, tariff, now };
    let mut made = reviewed.by_rules(tariff)?;
    if let Some((_, reason)) = more {
        documents::require_reason(reason)?;
    }
    let least = more.map_or(Cents::ZERO, |(amount, _)| amount).max(reviewed.claim.approved);
    made.raise_to(least).map_err(|error| WorkflowError::Invalid(error.to_string()))?;
    let note = more.map(|(_, reason)| reason);
    deciding.decide((made, note, true), call, "claim.decide-appeal").await
}

struct Deciding<'a> {
    insurer: &'a Gateway,
    adjudicator: &'a Person,
    patient: &'a PatientActor,
    reviewed: &'a Reviewed,
    tariff: &'a Tariff,
    now: Timestamp,
}

impl Reviewed {
    /// Refuses what changed since it was read: the patient may have contested it, or somebody else decided.
    async fn require_unchanged(&self, insurer: &Gateway) -> Result<(), WorkflowError> {
        let now = standing(insurer, self.id).await?;
        if (now.state, now.flags) == (self.claim.state, self.claim.flags) {
            return Ok(());
        }
        let why = "the claim has changed since it was read; read it again";
        Err(WorkflowError::Invalid(why.into()))
    }
}

impl Deciding<'_> {
    /// Seals explanation and response, keeps them once the contract would take the decision, and sends that. When
    /// it is refused in the end, both are taken back.
    async fn decide<C: SolCall>(
        self,
        (made, note, is_final): (Adjudication, Option<&str>, bool),
        call: impl Fn(Claims::Decision) -> C,
        operation: &'static str,
    ) -> Result<Decision, WorkflowError> {
        let Self { insurer, adjudicator, patient, reviewed, tariff, now } = self;
        patient.require_theirs("claim", reviewed.coverage.patient)?;
        reviewed.require_unchanged(insurer).await?;
        let parties = Parties {
            patient,
            provider: reviewed.claim.provider,
            insurer: reviewed.coverage.insurer,
            coverage: reviewed.claim.coverage,
            now,
        };
        let outcome = Outcome {
            claim: reviewed.id,
            source: reviewed.submitted.source,
            items: &reviewed.items,
            made: &made,
            note,
            is_final,
        };
        let (explained, answered) = (insurer.make_record_id(), insurer.make_record_id());
        let resource = documents::explanation(&outcome, answered.0, adjudicator, &parties);
        let explanation = Draft { kind: Kind::Financial, resource };
        let resource = documents::response(&outcome, adjudicator, &parties);
        let response = Draft { kind: Kind::Financial, resource };
        let call = |explanation| {
            call(Claims::Decision {
                approved: made.approved.0,
                flags: made.flags().0,
                rules: tariff.digest(),
                explanation,
            })
        };
        let written = Written { gateway: insurer, author: adjudicator, patient, now };
        let signed = written.sign(explained, &explanation, Contract::Claims, call).await?;
        // Who signs elsewhere may take their time. What a wallet sent by itself is not held back any more: what it
        // names has to be kept.
        if !signed.is_sent() {
            reviewed.require_unchanged(insurer).await?;
        }
        let new = response.first_version(answered, adjudicator, patient, now);
        let along = insurer.along(&new);
        let keeper = &insurer.gatekeeper;
        let (response, proposed) = keeper.put_and_propose_along(new, None, along).await?;
        let what = "proposes the response to the provider";
        let mut steps = vec![Step::new(&insurer.name, what, "record.propose", &proposed)];
        let (explanation, sealed, decided) = match signed.keep_and_send().await {
            Ok(sent) => sent,
            Err(error) => {
                record::take_back_after(insurer, &response, &error).await;
                return Err(error);
            }
        };
        steps.push(sealed);
        let what = format!(
            "{}: {} of {} approved, {}",
            if is_final { "decides the appeal" } else { "decides by the rules" },
            made.approved,
            made.claimed,
            made.flags()
        );
        steps.push(Step::new(&adjudicator.name, what, operation, &decided));
        Ok(Decision { made, explanation, response, steps })
    }
}
