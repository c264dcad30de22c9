//! What can be typed about waiting lists.

use std::path::PathBuf;

use alloy_primitives::B256;
use clap::{Args, Subcommand};
use workflows::census::{Hospital, Month};

/// What can be done with waiting lists.
#[derive(Debug, Subcommand)]
pub(crate) enum WaitlistCommand {
    /// A doctor refers a patient, who is on the hospital's list from then on.
    Refer {
        /// Whom.
        patient: String,
        /// For which specialty, in words.
        specialty: String,
        /// Why, in words.
        #[arg(long)]
        reason: String,
        /// Who refers.
        #[arg(long = "as", default_value = "physician")]
        referrer: String,
        /// To which hospital.
        #[arg(long, default_value = "hospital")]
        to: String,
        /// The number of a referral that was made before; a new one without it.
        #[arg(long)]
        referral: Option<B256>,
    },
    /// A doctor of the hospital gives a priority.
    Prioritise {
        /// Which listing.
        id: B256,
        /// From 1, the most urgent, to 4.
        priority: u8,
        /// Who.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// A doctor or nurse of the hospital gives an appointment.
    Schedule {
        /// To whom.
        patient: String,
        /// Which listing.
        id: B256,
        /// In how many minutes.
        #[arg(long = "in", default_value_t = 14 * 24 * 60)]
        minutes: u64,
        /// Who.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// A doctor or nurse of the hospital says that the patient came.
    Attend {
        /// Which listing.
        id: B256,
        /// Who.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// A doctor or nurse of the hospital says that the patient did not come; the patient waits on.
    Miss {
        /// Which listing.
        id: B256,
        /// Who.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// The patient, who referred, or a doctor of the hospital ends the waiting.
    Remove {
        /// Whose.
        patient: String,
        /// Which listing.
        id: B256,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Who; the patient when left out.
        #[arg(long = "as")]
        by: Option<String>,
    },
    /// Where it stands.
    Show {
        /// Which listing.
        id: B256,
    },
    /// Count published files by hospital and month. Exits with 1 when a row is not understood, there is nothing to
    /// count, or what is on chain differs.
    Census {
        #[command(flatten)]
        rows: CensusRows,
        /// Publish them; what was published so already is left.
        #[arg(long, conflicts_with = "check")]
        anchor: bool,
        /// Hold them against what was published.
        #[arg(long)]
        check: bool,
        /// Who publishes, or did.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// Write the proof that a row is in a census that was published.
    Prove {
        #[command(flatten)]
        rows: CensusRows,
        /// Which row of the census, from 1.
        #[arg(long)]
        row: u32,
        /// Who published it.
        #[arg(long, default_value = "hospital")]
        at: String,
        /// Which version; the newest when left out.
        #[arg(long)]
        version: Option<u64>,
        /// Where to.
        #[arg(long)]
        out: PathBuf,
    },
    /// Check such a proof against the chain. Exits with 1 when the row is not in the census.
    Verify {
        /// The proof.
        proof: PathBuf,
    },
}

/// Rows of published files.
#[derive(Debug, Args)]
pub(crate) struct CensusRows {
    /// The files, as CSV.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Whose rows these are, where a file does not say: the hospital's number.
    #[arg(long)]
    pub(crate) of: Option<Hospital>,
    /// Only this hospital, by its number.
    #[arg(long)]
    pub(crate) hospital: Option<Hospital>,
    /// Only this month, such as 2020-01.
    #[arg(long)]
    pub(crate) month: Option<Month>,
}
