//! Steps of an operation.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{
    WorkflowError,
    surgery::{
        self, FilledIn, Implant, Phase, Plan, Referral, Report, Seat, Signed, Signing, Team,
    },
};

use super::{
    About,
    cast::{Cast, sealed, taken},
};

/// A step with what goes into it.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    #[serde(rename = "surgery.refer")]
    Refer { patient: Address, hospital: Address, operation: String, reason: String },
    #[serde(rename = "surgery.assess")]
    Assess { id: B256, operation: String, site: String, disclosed: String },
    #[serde(rename = "surgery.return")]
    Return { id: B256, operation: String, site: String, disclosed: String },
    #[serde(rename = "surgery.consent")]
    Consent { id: B256, plan: B256 },
    #[serde(rename = "surgery.file-consent")]
    FileConsent { id: B256, plan: B256 },
    #[serde(rename = "surgery.withdraw")]
    Withdraw { id: B256 },
    /// `plan` is the digest of the plan that the doctor saw.
    #[serde(rename = "surgery.certify")]
    Certify { id: B256, plan: B256, reason: String },
    #[serde(rename = "surgery.schedule")]
    Schedule {
        id: B256,
        surgeon: Address,
        anaesthetist: Address,
        nurse: Address,
        at: u64,
        theatre: String,
    },
    #[serde(rename = "surgery.relieve")]
    Relieve { id: B256, seat: Place, member: Address },
    #[serde(rename = "surgery.fill-in")]
    FillIn {
        id: B256,
        phase: Part,
        answers: BTreeMap<String, String>,
        urgent: Option<String>,
        #[serde(default)]
        anew: bool,
    },
    #[serde(rename = "surgery.report")]
    Report {
        id: B256,
        performed: String,
        answers: BTreeMap<String, String>,
        #[serde(default)]
        anew: bool,
    },
    #[serde(rename = "surgery.sign")]
    Sign {
        id: B256,
        phase: Part,
        digest: B256,
        #[serde(default)]
        anew: bool,
    },
    #[serde(rename = "surgery.incise")]
    Incise { id: B256 },
    #[serde(rename = "surgery.implant")]
    Implant {
        id: B256,
        maker: String,
        model: String,
        serial: String,
        lot: String,
        lot_digest: Option<B256>,
    },
    #[serde(rename = "surgery.void-implant")]
    VoidImplant { id: B256, implant: B256 },
    #[serde(rename = "surgery.explant")]
    Explant { id: B256, implant: B256 },
    #[serde(rename = "surgery.complication")]
    Complication { id: B256, text: String },
    #[serde(rename = "surgery.hand-over")]
    HandOver { id: B256, text: String },
    #[serde(rename = "surgery.discharge")]
    Discharge { id: B256, text: String },
    #[serde(rename = "surgery.follow-up")]
    FollowUp { id: B256, text: String },
    /// The patient gives no reason.
    #[serde(rename = "surgery.cancel")]
    Cancel { id: B256, text: Option<String> },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    Surgeon,
    Anaesthetist,
    Nurse,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    SignIn,
    TimeOut,
    SignOut,
}

impl Part {
    const fn phase(self) -> Phase {
        match self {
            Self::SignIn => Phase::SignIn,
            Self::TimeOut => Phase::TimeOut,
            Self::SignOut => Phase::SignOut,
        }
    }
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Refer { patient, .. } => About::Begins(*patient),
            Self::Assess { id, .. }
            | Self::Return { id, .. }
            | Self::Consent { id, .. }
            | Self::FileConsent { id, .. }
            | Self::Withdraw { id }
            | Self::Certify { id, .. }
            | Self::Schedule { id, .. }
            | Self::Relieve { id, .. }
            | Self::FillIn { id, .. }
            | Self::Report { id, .. }
            | Self::Sign { id, .. }
            | Self::Incise { id }
            | Self::Implant { id, .. }
            | Self::VoidImplant { id, .. }
            | Self::Explant { id, .. }
            | Self::Complication { id, .. }
            | Self::HandOver { id, .. }
            | Self::Discharge { id, .. }
            | Self::FollowUp { id, .. }
            | Self::Cancel { id, .. } => About::Surgery(*id),
        }
    }

    /// What is read for it, by FHIR type.
    pub(super) const fn reads(&self) -> &'static [&'static str] {
        match self {
            Self::Sign { phase: Part::SignOut, .. } => &["Procedure"],
            Self::Sign { .. } | Self::Incise { .. } => &["Task"],
            _ => &[],
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        match self {
            Self::Refer { hospital, operation, reason, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let referral = Referral { operation, reason };
                let referred = surgery::refer(here, &who, &patient, hospital, &referral, now);
                Ok(sealed(referred.await?))
            }
            Self::Assess { id, operation, site, disclosed } => {
                let (who, patient) = (cast.person()?, cast.about());
                let plan = Plan { operation, site, disclosed };
                Ok(sealed(surgery::assess(here, &who, &patient, id, &plan, now).await?))
            }
            Self::Return { id, operation, site, disclosed } => {
                let (who, patient) = (cast.person()?, cast.about());
                let plan = Plan { operation, site, disclosed };
                let returned = surgery::return_to_theatre(here, &who, &patient, id, &plan, now);
                Ok(sealed(returned.await?))
            }
            Self::Consent { id, plan } => {
                let (who, plan) = (cast.patient()?, cast.anchor(plan).await?);
                Ok(taken([surgery::sign_consent(here, &who, id, &plan, now).await?]))
            }
            Self::FileConsent { id, plan } => {
                let (who, patient) = (cast.person()?, cast.about());
                let plan = cast.anchor(plan).await?;
                let (form, step) =
                    surgery::file_consent(here, &who, &patient, id, &plan, now).await?;
                Ok(sealed((form, vec![step])))
            }
            Self::Withdraw { id } => {
                Ok(taken([surgery::withdraw_consent(here, &cast.patient()?, id, now).await?]))
            }
            Self::Certify { id, plan, reason } => {
                let (who, patient) = (cast.person()?, cast.about());
                let certified = surgery::certify(here, &who, &patient, (id, plan), &reason, now);
                Ok(sealed(certified.await?))
            }
            Self::Schedule { id, surgeon, anaesthetist, nurse, at, theatre } => {
                let (who, team) = (cast.person()?, Team { surgeon, anaesthetist, nurse });
                let scheduled =
                    surgery::schedule(here, &who, id, &team, Timestamp(at), &theatre).await?;
                Ok(taken([scheduled]))
            }
            Self::Relieve { id, seat, member } => {
                let seat = match seat {
                    Place::Surgeon => Seat::Surgeon,
                    Place::Anaesthetist => Seat::Anaesthetist,
                    Place::Nurse => Seat::Nurse,
                };
                let who = cast.person()?;
                Ok(taken([surgery::relieve(here, &who, id, seat, member).await?]))
            }
            Self::FillIn { id, phase, answers, urgent, anew } => {
                let (who, patient) = (cast.person()?, cast.about());
                let (phase, answers) = (phase.phase(), pairs(&answers));
                let urgent = urgent.as_deref();
                let filled_in = FilledIn { phase, answers: &answers, urgent, anew };
                Ok(signed(surgery::fill_in(here, &who, &patient, id, &filled_in, now).await?))
            }
            Self::Report { id, performed, answers, anew } => {
                let (who, patient) = (cast.person()?, cast.about());
                let answers = pairs(&answers);
                let report = Report { performed: &performed, answers: &answers, anew };
                Ok(signed(surgery::report(here, &who, &patient, id, &report, now).await?))
            }
            Self::Sign { id, phase, digest, anew } => {
                let (who, patient) = (cast.person()?, cast.about());
                let signing = Signing { phase: phase.phase(), digest, anew };
                Ok(signed(surgery::sign(here, &who, &patient, id, &signing, now).await?))
            }
            Self::Incise { id } => {
                Ok(taken([surgery::incise(here, &cast.person()?, id, now).await?]))
            }
            Self::Implant { id, maker, model, serial, lot, lot_digest } => {
                let (who, patient) = (cast.person()?, cast.about());
                let device = Implant { maker, model, serial, lot, lot_digest };
                let (implant, steps) =
                    surgery::implant(here, &who, &patient, id, &device, now).await?;
                let mut value = taken(steps);
                value["implant"] = json!(implant);
                Ok(value)
            }
            Self::VoidImplant { id, implant } => {
                let who = cast.person()?;
                Ok(taken([surgery::void_implant(here, &who, id, implant).await?]))
            }
            Self::Explant { id, implant } => {
                Ok(taken([surgery::explant(here, &cast.person()?, id, implant).await?]))
            }
            Self::Complication { id, text } => {
                let (who, patient) = (cast.person()?, cast.about());
                let reported = surgery::report_complication(here, &who, &patient, id, &text, now);
                Ok(sealed(reported.await?))
            }
            Self::HandOver { id, text } => {
                let (who, patient) = (cast.person()?, cast.about());
                Ok(sealed(surgery::hand_over(here, &who, &patient, id, &text, now).await?))
            }
            Self::Discharge { id, text } => {
                let (who, patient) = (cast.person()?, cast.about());
                Ok(sealed(surgery::discharge(here, &who, &patient, id, &text, now).await?))
            }
            Self::FollowUp { id, text } => {
                let (who, patient) = (cast.person()?, cast.about());
                Ok(sealed(surgery::follow_up(here, &who, &patient, id, &text, now).await?))
            }
            Self::Cancel { id, .. } if cast.is_patient() => {
                Ok(taken([surgery::cancel_by_patient(here, &cast.patient()?, id, now).await?]))
            }
            Self::Cancel { id, text } => {
                let (who, patient) = (cast.person()?, cast.about());
                let why = "a reason is needed, as `text`";
                let text = text.ok_or_else(|| WorkflowError::Invalid(why.into()))?;
                Ok(sealed(surgery::cancel(here, &who, &patient, id, &text, now).await?))
            }
        }
    }
}

fn pairs(answers: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    answers.iter().map(|(item, answer)| (item.as_str(), answer.as_str())).collect()
}

fn signed(Signed { digest, complete, steps }: Signed) -> Value {
    let mut value = taken(steps);
    value["digest"] = json!(digest);
    value["complete"] = json!(complete);
    value
}
