//! What can be typed about clinical trials.

use std::path::PathBuf;

use alloy_primitives::{B256, U256};
use clap::{Args, Subcommand};

/// What can be done about clinical trials.
#[derive(Debug, Subcommand)]
pub(crate) enum TrialCommand {
    /// Print a protocol to begin with, as `register` takes it.
    Example,
    /// The researcher registers a trial: endpoints, criteria and arms are fixed from then on.
    Register {
        /// The protocol, as JSON.
        protocol: PathBuf,
        /// Where the document goes whose digests are on chain, with their salts: a new file.
        #[arg(long)]
        out: PathBuf,
        /// Who registers.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// The auditor approves a protocol that they read, and the regulator commits to its seed.
    Approve {
        /// The document.
        document: PathBuf,
        /// Who approves.
        #[arg(long = "as", default_value = "auditor")]
        by: String,
    },
    /// The researcher invites a site.
    Invite {
        /// To which trial.
        id: B256,
        /// Whom.
        #[arg(default_value = "hospital")]
        site: String,
        /// Who invites.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// An institution takes part as a site.
    Join {
        /// In which trial.
        id: B256,
        /// Who.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// The researcher asks for another version of the protocol. Endpoints and arms stay.
    Amend {
        /// The document of a version that was in force.
        document: PathBuf,
        /// The protocol as it should be, as JSON.
        protocol: PathBuf,
        /// Where the new document goes: a new file.
        #[arg(long)]
        out: PathBuf,
        /// Who asks.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// The auditor puts that version in force. Subjects have to consent again.
    ApproveAmendment {
        /// The new document.
        document: PathBuf,
        /// Who approves.
        #[arg(long = "as", default_value = "auditor")]
        by: String,
    },
    /// The patient reads the protocol, consents, and commits to the nonce that follows from their key; also again,
    /// to another version.
    Consent {
        /// Who consents.
        patient: String,
        /// The document that they read.
        document: PathBuf,
        /// At which site.
        #[arg(long, default_value = "hospital")]
        site: String,
    },
    /// The physician seals the form of a consent.
    FileConsent {
        /// Who consented.
        patient: String,
        /// To which document.
        document: PathBuf,
        /// Who told them.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// The physician holds the patient against the criteria.
    Screen {
        /// Whom.
        patient: String,
        /// The document.
        document: PathBuf,
        /// An answer, CRITERION=yes or CRITERION=no; once for each criterion.
        #[arg(long = "answer")]
        answers: Vec<String>,
        /// Who screens.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// The enrolled patient opens the nonce.
    Open {
        /// Who.
        patient: String,
        /// In which trial.
        id: B256,
        /// What the patient committed to, when they drew it elsewhere.
        nonce: Option<B256>,
    },
    /// The hospital's pharmacist gets both seeds, sealed, and commits to the subject's arm.
    Allocate {
        /// Whose.
        patient: String,
        /// In which trial.
        id: B256,
        /// Who.
        #[arg(long = "as", default_value = "dispenser")]
        by: String,
    },
    /// The nurse enters what was found at a visit.
    Visit {
        /// Of whom.
        patient: String,
        /// In which trial.
        id: B256,
        /// What was found, ITEM=TEXT; ITEM=NUMBER:UNIT is a measurement.
        #[arg(long = "item", required = true)]
        items: Vec<String>,
        /// Who enters it.
        #[arg(long = "as", default_value = "nurse")]
        by: String,
    },
    /// The physician has to know a subject's arm, says why, and is told by the pharmacist.
    Unblind {
        /// Whose.
        patient: String,
        /// In which trial.
        id: B256,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Who.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// The nurse reports an adverse event.
    Event(TrialEvent),
    /// The researcher has seen a serious adverse event.
    Acknowledge {
        /// In which trial.
        id: B256,
        /// Its number, from 0.
        number: U256,
        /// Who.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// The researcher locks the data.
    Lock {
        /// Of which trial.
        id: B256,
        /// Who.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// The researcher or the auditor reveals the seed of their institution.
    Reveal {
        /// Of which trial.
        id: B256,
        /// Who: the researcher of the sponsor, or the auditor of the regulator.
        #[arg(long = "as")]
        by: String,
    },
    /// The researcher publishes results; the same again, when the file was lost.
    Publish {
        /// The document of the protocol.
        document: PathBuf,
        /// What came out, in the order of the endpoints; once for each.
        #[arg(long = "outcome", required = true)]
        outcomes: Vec<String>,
        /// Where the results go: a new file.
        #[arg(long)]
        out: PathBuf,
        /// Who.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// The patient withdraws, for good.
    Withdraw {
        /// Who.
        patient: String,
        /// From which trial.
        id: B256,
        /// What was entered may not be used either.
        #[arg(long)]
        with_data: bool,
    },
    /// The researcher or the auditor stops the trial for good.
    Stop {
        /// Which.
        id: B256,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Who.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// Where a trial stands.
    Show {
        /// Which.
        id: B256,
    },
    /// Hold a protocol, and results, against what was fixed on chain. Exits with 1 when something differs.
    Check {
        /// The document of the protocol.
        document: PathBuf,
        /// The results.
        #[arg(long)]
        results: Option<PathBuf>,
    },
}

/// Something that happened to a subject.
#[derive(Debug, Args)]
pub(crate) struct TrialEvent {
    /// To whom.
    pub(crate) patient: String,
    /// In which trial.
    pub(crate) id: B256,
    /// What, in words.
    pub(crate) what: String,
    /// It is serious: to be reported within 24 hours, and acknowledged.
    #[arg(long)]
    pub(crate) serious: bool,
    /// Before how many minutes the site became aware.
    #[arg(long, default_value_t = 0)]
    pub(crate) minutes_ago: u64,
    /// Who reports.
    #[arg(long = "as", default_value = "nurse")]
    pub(crate) by: String,
}
