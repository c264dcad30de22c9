//! What can be typed about surgery.

use alloy_primitives::B256;
use clap::{Args, Subcommand};

/// What can be done about surgery.
#[derive(Debug, Subcommand)]
pub(crate) enum SurgeryCommand {
    /// The physician refers a patient to the hospital.
    Refer {
        /// Whom.
        patient: String,
        /// The operation, in words.
        operation: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// The surgeon writes the plan that the patient is asked to consent to.
    Assess(SurgeryPlan),
    /// The patient opens the plan and consents to it.
    Consent {
        /// Who consents.
        patient: String,
        /// Which surgery.
        id: B256,
        /// The plan's record.
        plan: B256,
    },
    /// A surgeon or physician certifies that the patient can neither consent nor wait.
    Certify {
        /// Whose operation.
        patient: String,
        /// Which surgery.
        id: B256,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Who certifies.
        #[arg(long = "as")]
        person: String,
    },
    /// The patient withdraws the consent.
    Withdraw {
        /// Who.
        patient: String,
        /// Which surgery.
        id: B256,
    },
    /// The nurse names time and theatre; surgeon, physician and nurse are the team.
    Schedule {
        /// Which surgery.
        id: B256,
        /// In how many hours.
        #[arg(long, default_value_t = 24)]
        hours: u64,
        /// Where.
        #[arg(long, default_value = "theatre 1")]
        theatre: String,
    },
    /// Print what a phase of the checklist asks, and what each item takes as its answer.
    Checklist {
        /// Which phase.
        #[arg(value_parser = ["sign-in", "time-out", "sign-out"])]
        phase: String,
    },
    /// Sign the sign-in or the time-out: fill it in, or with --digest sign what another filled in.
    Sign {
        /// Whose operation.
        patient: String,
        /// Which surgery.
        id: B256,
        /// Which phase.
        #[arg(value_parser = ["sign-in", "time-out"])]
        phase: String,
        /// Who signs.
        #[arg(long = "as")]
        person: String,
        /// What another filled in.
        #[arg(long, conflicts_with = "answers")]
        digest: Option<B256>,
        /// An answer, ITEM=TEXT; once for each item.
        #[arg(long = "answer")]
        answers: Vec<String>,
        /// Why the operation cannot wait for its time.
        #[arg(long, conflicts_with = "digest")]
        urgent: Option<String>,
        /// Begin the phase anew when another document of it is being signed; signatures over that one are void then.
        #[arg(long)]
        anew: bool,
    },
    /// The surgeon begins.
    Incise {
        /// Which surgery.
        id: B256,
    },
    /// The nurse records an implant.
    Implant {
        /// In whom.
        patient: String,
        /// During which surgery.
        id: B256,
        /// Who made it.
        #[arg(long)]
        maker: String,
        /// What it is.
        #[arg(long)]
        model: String,
        /// Its serial number.
        #[arg(long)]
        serial: String,
        /// Its lot.
        #[arg(long)]
        lot: String,
    },
    /// The nurse takes back an implant that was recorded by mistake, before the sign-out.
    Void {
        /// During which surgery.
        id: B256,
        /// The implant's digest.
        implant: B256,
    },
    /// The surgeon records that an implant was taken out.
    Explant {
        /// During which surgery.
        id: B256,
        /// The implant's digest.
        implant: B256,
    },
    /// Sign the sign-out: write the report, or with --digest sign what another wrote.
    SignOut {
        /// Whose operation.
        patient: String,
        /// Which surgery.
        id: B256,
        /// Who signs.
        #[arg(long = "as")]
        person: String,
        /// What another wrote.
        #[arg(long, conflicts_with_all = ["answers", "performed"])]
        digest: Option<B256>,
        /// What was done, in words.
        #[arg(long, required_unless_present = "digest")]
        performed: Option<String>,
        /// An answer, ITEM=TEXT; once for each item.
        #[arg(long = "answer")]
        answers: Vec<String>,
        /// Begin the sign-out anew when another report is being signed; signatures over that one are void then.
        #[arg(long)]
        anew: bool,
    },
    /// The physician, as anaesthetist, hands the patient over to recovery.
    HandOver(SurgeryNote),
    /// The surgeon discharges the patient.
    Discharge(SurgeryNote),
    /// The physician sees the patient again.
    FollowUp(SurgeryNote),
    /// The nurse reports a complication.
    Complication(SurgeryNote),
    /// The surgeon takes the patient back to the theatre, with another plan.
    Return(SurgeryPlan),
    /// The surgeon calls it off before the incision.
    Cancel(SurgeryNote),
    /// Where it stands: team and time of this round, who signed which phase, the implants.
    Show {
        /// Which surgery.
        id: B256,
    },
    /// From an implant to surgery and patient.
    Trace {
        /// Who made it.
        maker: String,
        /// Its serial number.
        serial: String,
    },
    /// From a lot to everybody who has an implant of it.
    Recall {
        /// Who made it.
        maker: String,
        /// The lot.
        lot: String,
    },
}

/// What is planned.
#[derive(Debug, Args)]
pub(crate) struct SurgeryPlan {
    /// Whose operation.
    pub(crate) patient: String,
    /// Which surgery.
    pub(crate) id: B256,
    /// The operation, in words.
    #[arg(long)]
    pub(crate) operation: String,
    /// Where on the body, with the side.
    #[arg(long)]
    pub(crate) site: String,
    /// Risks and alternatives that the patient was told of.
    #[arg(long)]
    pub(crate) disclosed: String,
}

/// What is to be said at a step.
#[derive(Debug, Args)]
pub(crate) struct SurgeryNote {
    /// Whose operation.
    pub(crate) patient: String,
    /// Which surgery.
    pub(crate) id: B256,
    /// In words.
    pub(crate) text: String,
}
