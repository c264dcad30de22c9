//! Steps of prescriptions.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{
    WorkflowError,
    prescription::{self, Dose, Known, Order, Product},
};

use super::{
    About,
    cast::{Cast, sealed, taken},
};

/// A step with what goes into it.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    /// Findings come back in the place of a prescription, unless `despite` gives a reason to go on.
    #[serde(rename = "rx.issue")]
    Issue {
        patient: Address,
        #[serde(flatten)]
        order: Medicine,
    },
    #[serde(rename = "rx.countersign")]
    Countersign { id: B256 },
    /// By the prescriber, or by the patient.
    #[serde(rename = "rx.permit")]
    Permit { id: B256, pharmacy: Address },
    /// The same.
    #[serde(rename = "rx.withdraw-permit")]
    WithdrawPermit { id: B256, pharmacy: Address },
    #[serde(rename = "rx.claim")]
    Claim { id: B256 },
    #[serde(rename = "rx.release")]
    Release { id: B256 },
    #[serde(rename = "rx.substitute")]
    Substitute { id: B256, product: String, reason: String },
    #[serde(rename = "rx.dispense")]
    Dispense { id: B256, quantity: u32, batch: String, expires: u64 },
    #[serde(rename = "rx.confirm")]
    Confirm { id: B256, fill: u8 },
    #[serde(rename = "rx.cancel")]
    Cancel { id: B256 },
}

/// What is prescribed.
#[derive(Deserialize)]
pub(super) struct Medicine {
    #[serde(default)]
    system: String,
    #[serde(default)]
    code: String,
    medicine: String,
    dosage: String,
    /// How much of the ingredient each time, such as `"2.5"`.
    milligrams: Option<String>,
    #[serde(default = "once")]
    times_a_day: u32,
    quantity: u32,
    #[serde(default = "one")]
    fills: u8,
    days: u32,
    #[serde(default)]
    controlled: bool,
    #[serde(default)]
    as_written: bool,
    despite: Option<String>,
}

const fn once() -> u32 {
    1
}

const fn one() -> u8 {
    1
}

impl Medicine {
    fn order(self) -> Result<(Order, Option<String>), WorkflowError> {
        let dose = self.milligrams.map(|text| Dose::of_milligrams(&text, self.times_a_day));
        if dose == Some(None) {
            let why = "`milligrams` is a text with a number, such as \"2.5\"";
            return Err(WorkflowError::Invalid(why.into()));
        }
        let order = Order {
            medication: (self.system, self.code, self.medicine),
            dosage: self.dosage,
            dose: dose.flatten(),
            quantity: self.quantity,
            fills: self.fills,
            valid_for: Duration::from_secs(u64::from(self.days) * 86_400),
            controlled: self.controlled,
            as_written: self.as_written,
        };
        Ok((order, self.despite))
    }
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Issue { patient, .. } => About::Begins(*patient),
            Self::Countersign { id }
            | Self::Permit { id, .. }
            | Self::WithdrawPermit { id, .. }
            | Self::Claim { id }
            | Self::Release { id }
            | Self::Substitute { id, .. }
            | Self::Dispense { id, .. }
            | Self::Confirm { id, .. }
            | Self::Cancel { id } => About::Prescription(*id),
        }
    }

    /// What is read for it, by FHIR type.
    pub(super) const fn reads(&self) -> &'static [&'static str] {
        match self {
            Self::Issue { .. } => {
                &["AllergyIntolerance", "MedicationRequest", "MedicationStatement"]
            }
            _ => &[],
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        match self {
            Self::Issue { patient, order } => {
                let (who, (order, despite)) = (cast.person()?, order.order()?);
                order.require_sound()?;
                let known = Known::read(here, who.member, patient, now).await?;
                let checked = match prescription::check(&order, &known, despite.as_deref()) {
                    Ok(checked) => checked,
                    Err(findings) => {
                        let findings = findings.iter().map(ToString::to_string);
                        return Ok(json!({ "findings": findings.collect::<Vec<_>>() }));
                    }
                };
                let patient = cast.about();
                let (anchor, steps) =
                    prescription::issue(here, &who, &patient, &checked, now).await?;
                let id = anchor.record.0;
                let mut value = sealed((anchor, steps));
                if order.as_written {
                    // It stands, whatever comes of this.
                    match prescription::forbid_substitution(here, &who, id).await {
                        Ok(step) => value["forbidden"] = json!(step),
                        Err(error) => value["not_forbidden"] = json!(error.to_string()),
                    }
                }
                Ok(value)
            }
            Self::Countersign { id } => {
                Ok(taken([prescription::countersign(here, &cast.person()?, id).await?]))
            }
            Self::Permit { id, pharmacy } if cast.is_patient() => {
                let (who, anchor) = (cast.patient()?, cast.anchor(id).await?);
                let permitted = prescription::permit_by_patient(here, &who, &anchor, pharmacy, now);
                Ok(taken([permitted.await?]))
            }
            Self::Permit { id, pharmacy } => {
                let who = cast.person()?;
                Ok(taken([prescription::permit_by_prescriber(here, &who, id, pharmacy).await?]))
            }
            Self::WithdrawPermit { id, pharmacy } if cast.is_patient() => {
                let who = cast.patient()?;
                let withdrawn =
                    prescription::withdraw_permit_by_patient(here, &who, id, pharmacy, now);
                Ok(taken([withdrawn.await?]))
            }
            Self::WithdrawPermit { id, pharmacy } => {
                let who = cast.person()?;
                Ok(taken([prescription::withdraw_permit(here, &who, id, pharmacy).await?]))
            }
            Self::Claim { id } => {
                Ok(taken([prescription::claim(here, &cast.person()?, id).await?]))
            }
            Self::Release { id } => {
                Ok(taken([prescription::release(here, &cast.person()?, id).await?]))
            }
            Self::Substitute { id, product, reason } => {
                let (who, patient) = (cast.person()?, cast.about());
                let substituted =
                    prescription::substitute(here, &who, &patient, id, &product, &reason, now);
                Ok(sealed(substituted.await?))
            }
            Self::Dispense { id, quantity, batch, expires } => {
                let (who, patient) = (cast.person()?, cast.about());
                let product = Product { quantity, batch, expires: Timestamp(expires) };
                let dispensed = prescription::dispense(here, &who, &patient, id, &product, now);
                Ok(sealed(dispensed.await?))
            }
            Self::Confirm { id, fill } => {
                let who = cast.patient()?;
                Ok(taken([prescription::confirm_collection(here, &who, id, fill, now).await?]))
            }
            Self::Cancel { id } if cast.is_patient() => {
                let who = cast.patient()?;
                Ok(taken([prescription::cancel_by_patient(here, &who, id, now).await?]))
            }
            Self::Cancel { id } => {
                Ok(taken([prescription::cancel(here, &cast.person()?, id).await?]))
            }
        }
    }
}
