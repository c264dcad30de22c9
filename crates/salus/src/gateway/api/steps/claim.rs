//! Steps of claims.
//!
//! What a person or a patient signs is signed where their key is. What only an institution can sign (offering a
//! coverage, claiming, paying back) is not here: it takes the institution's own key, which no token stands for.

use alloy_primitives::B256;
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{
    WorkflowError,
    claim::{self, Cents, Decision, Item, Reviewed, Tariff},
};

use super::{
    About,
    cast::{Cast, sealed, taken},
};

/// A step with what goes into it. Amounts are cents.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    #[serde(rename = "claim.accept-coverage")]
    AcceptCoverage { id: B256 },
    #[serde(rename = "claim.end-coverage")]
    EndCoverage { id: B256 },
    #[serde(rename = "claim.decide-authorisation")]
    DecideAuthorisation { id: B256, cents: u64, until: u64 },
    #[serde(rename = "claim.adjudicate")]
    Adjudicate { id: B256 },
    #[serde(rename = "claim.decide-appeal")]
    DecideAppeal { id: B256, cents: Option<u64>, reason: Option<String> },
    #[serde(rename = "claim.contest")]
    Contest { id: B256, reason: String },
    #[serde(rename = "claim.appeal")]
    Appeal { id: B256, reason: String },
    #[serde(rename = "claim.pay")]
    Pay { id: B256 },
    #[serde(rename = "claim.pay-copayment")]
    PayCopayment { id: B256 },
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::AcceptCoverage { id } | Self::EndCoverage { id } => About::Coverage(*id),
            Self::DecideAuthorisation { id, .. } => About::Authorisation(*id),
            Self::Adjudicate { id }
            | Self::DecideAppeal { id, .. }
            | Self::Contest { id, .. }
            | Self::Appeal { id, .. }
            | Self::Pay { id }
            | Self::PayCopayment { id } => About::Claim(*id),
        }
    }

    /// What is read for it, by FHIR type.
    pub(super) const fn reads(&self) -> &'static [&'static str] {
        match self {
            Self::Adjudicate { .. } | Self::DecideAppeal { .. } => {
                &["Claim", "Coverage", "MedicationRequest", "Procedure", "ServiceRequest"]
            }
            _ => &[],
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        let tariff = Tariff::demonstration();
        match self {
            Self::AcceptCoverage { id } => {
                let (who, policy) = (cast.patient()?, cast.anchor(id).await?);
                Ok(taken([claim::accept_coverage(here, &who, &policy, now).await?]))
            }
            Self::EndCoverage { id } => {
                let who = cast.patient()?;
                Ok(taken([claim::end_coverage_by_patient(here, &who, id, now).await?]))
            }
            Self::DecideAuthorisation { id, cents, until } => {
                let (who, patient) = (cast.person()?, cast.about());
                let granted = (Cents(cents.into()), Timestamp(until));
                let decided =
                    claim::decide_authorisation(here, &who, &patient, id, granted, now).await?;
                Ok(sealed(decided))
            }
            Self::Adjudicate { id } => {
                let (who, patient) = (cast.person()?, cast.about());
                let reviewed = Reviewed::read_copies(here, who.member, id, now).await?;
                let decided =
                    claim::adjudicate(here, &who, &patient, &reviewed, tariff, now).await?;
                Ok(told(reviewed.items(), decided))
            }
            Self::DecideAppeal { id, cents, reason } => {
                let (who, patient) = (cast.person()?, cast.about());
                let more = match (cents, reason.as_deref()) {
                    (None, None) => None,
                    (Some(cents), Some(reason)) => Some((Cents(cents.into()), reason)),
                    _ => {
                        let why = "more than the rules give takes `cents` and a `reason`";
                        return Err(WorkflowError::Invalid(why.into()));
                    }
                };
                let reviewed = Reviewed::read_copies(here, who.member, id, now).await?;
                let rules = (tariff, more);
                let decided =
                    claim::decide_appeal(here, &who, &patient, &reviewed, rules, now).await?;
                Ok(told(reviewed.items(), decided))
            }
            Self::Contest { id, reason } => {
                let who = cast.patient()?;
                let (salt, step) = claim::contest(here, &who, id, &reason, now).await?;
                let mut value = taken([step]);
                value["salt"] = json!(salt);
                Ok(value)
            }
            Self::Appeal { id, reason } => {
                let who = cast.patient()?;
                let (salt, step) = claim::appeal_by_patient(here, &who, id, &reason, now).await?;
                let mut value = taken([step]);
                value["salt"] = json!(salt);
                Ok(value)
            }
            Self::Pay { id } => Ok(taken([claim::pay(here, &cast.person()?, id).await?])),
            Self::PayCopayment { id } => {
                Ok(taken([claim::pay_copayment(here, &cast.patient()?, id, now).await?]))
            }
        }
    }
}

/// What a decision comes to. What was found of each item is said once, as `findings`.
fn told(items: &[Item], decided: Decision) -> Value {
    let made = &decided.made;
    let findings: Vec<Value> = items
        .iter()
        .zip(&made.items)
        .map(|(item, one)| {
            let why: Vec<String> = one.findings.iter().map(ToString::to_string).collect();
            json!({
                "code": item.code,
                "claimed": one.claimed.to_string(),
                "approved": one.approved.to_string(),
                "why": why,
            })
        })
        .collect();
    let (approved, share) = (made.approved.to_string(), made.share.to_string());
    let response = json!(decided.response.record.0);
    let mut value = sealed((decided.explanation, decided.steps));
    value["response"] = response;
    value["approved"] = json!(approved);
    value["share"] = json!(share);
    value["findings"] = json!(findings);
    value
}
