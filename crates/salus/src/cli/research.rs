//! What can be typed about research.

use std::path::PathBuf;

use alloy_primitives::B256;
use clap::Subcommand;
use domain::Kind;
use workflows::research::Criterion;

/// What can be done with data for research.
#[derive(Debug, Subcommand)]
pub(crate) enum ResearchCommand {
    /// Offer data under terms of use.
    Offer {
        /// What it is called.
        title: String,
        /// What it is, in words.
        #[arg(long)]
        about: String,
        /// A condition of use; several are given one by one.
        #[arg(long = "term", required = true)]
        terms: Vec<String>,
        /// What an extract costs, in the token's smallest unit.
        #[arg(long)]
        price: u128,
        /// Of it the patients' part, in hundredths of a percent.
        #[arg(long, default_value_t = 5_000)]
        patient_share: u16,
        /// Who offers.
        #[arg(long, default_value = "hospital")]
        at: String,
        /// Where the description of the data is written.
        #[arg(long)]
        dataset: PathBuf,
        /// Where the terms are written.
        #[arg(long)]
        out: PathBuf,
    },
    /// Close an offer; what was ordered goes on.
    CloseOffer {
        /// Which.
        id: B256,
        /// Whose.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// A researcher proposes a study.
    Propose {
        /// What it is called.
        title: String,
        /// What for, in words.
        #[arg(long)]
        purpose: String,
        /// Which kinds of record.
        #[arg(long, value_delimiter = ',', required = true)]
        kinds: Vec<Kind>,
        /// For how many days.
        #[arg(long, default_value_t = 365)]
        days: u64,
        /// Who.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
        /// Where the protocol is written.
        #[arg(long)]
        out: PathBuf,
    },
    /// A privacy officer or auditor of another institution approves a study.
    Approve {
        /// Which study.
        study: B256,
        /// The protocol, as they saw it.
        protocol: PathBuf,
        /// Why, in words; they stay with who says them.
        #[arg(long)]
        opinion: String,
        /// Who.
        #[arg(long = "as", default_value = "keeper")]
        by: String,
    },
    /// A researcher of its institution, or a regulator's auditor, ends a study for good.
    End {
        /// Which study.
        study: B256,
        /// Why, in words; they stay with who says them.
        #[arg(long)]
        reason: String,
        /// Who.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// The demonstration's volunteers, made up and known to the hospital only; they come when they are not there yet. A
    /// study of fewer than five people is told nothing.
    Volunteers,
    /// A patient lets a study use what a source has about them.
    Consent {
        /// Who.
        patient: String,
        /// Which study.
        study: B256,
        /// The protocol, as they saw it.
        protocol: PathBuf,
        /// Which source.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// A patient withdraws from a study.
    Withdraw {
        /// Who.
        patient: String,
        /// Which study.
        study: B256,
        /// Which source.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// A researcher asks a source how many fit; it answers with nothing of few people.
    Count {
        /// Which study.
        study: B256,
        /// Its protocol.
        protocol: PathBuf,
        /// Who is meant: SYSTEM|CODE, with ! before it those without. All of these at once.
        #[arg(long = "code", conflicts_with = "again")]
        codes: Vec<Criterion>,
        /// A question as it was written before: when that was not answered, only the very same is.
        #[arg(long)]
        again: Option<PathBuf>,
        /// Who asks.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
        /// Which source.
        #[arg(long, default_value = "hospital")]
        at: String,
        /// Where the question is written before it is asked.
        #[arg(long, required_unless_present = "again", conflicts_with = "again")]
        out: Option<PathBuf>,
    },
    /// An institution orders an extract for its study, under the terms that it saw.
    Order {
        /// Which study.
        study: B256,
        /// Which offer.
        offer: B256,
        /// The terms, as they were written.
        terms: PathBuf,
        /// Of whom: SYSTEM|CODE, with ! before it those without. All who consented when left out.
        #[arg(long = "code")]
        codes: Vec<Criterion>,
        /// Who orders.
        #[arg(long, default_value = "institute")]
        at: String,
        /// Where what is ordered is written, for the source.
        #[arg(long)]
        out: PathBuf,
    },
    /// The source makes the extract and delivers it, or finishes what broke off once the chain had it.
    Deliver {
        /// Which order.
        id: B256,
        /// The study's protocol.
        protocol: PathBuf,
        /// What was ordered.
        question: PathBuf,
        /// The source.
        #[arg(long, default_value = "hospital")]
        at: String,
        /// Where the sealed extract is written.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write a sealed extract again, which its source keeps.
    Fetch {
        /// Which order.
        id: B256,
        /// The source.
        #[arg(long, default_value = "hospital")]
        at: String,
        /// Where to.
        #[arg(long)]
        out: PathBuf,
    },
    /// Tell the patients in a delivered extract who were not told yet.
    Tell {
        /// Which order.
        id: B256,
        /// The source.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// The buyer opens an extract, held against the chain.
    Open {
        /// Which order.
        id: B256,
        /// The sealed extract.
        extract: PathBuf,
        /// The buyer.
        #[arg(long, default_value = "institute")]
        at: String,
        /// Where the FHIR Bundle is written.
        #[arg(long)]
        out: PathBuf,
    },
    /// Hold an extract against the chain. Exits with 1 when it is not the one that was delivered.
    Verify {
        /// Which order.
        id: B256,
        /// The sealed extract.
        extract: PathBuf,
    },
    /// Share the price: the buyer, or anybody once the time to dispute is over.
    Settle {
        /// Which order.
        id: B256,
        /// Who.
        #[arg(long, default_value = "institute")]
        at: String,
    },
    /// The buyer does not accept a delivery.
    Dispute {
        /// Which order.
        id: B256,
        /// Why, in words; they stay with who says them.
        #[arg(long)]
        reason: String,
        /// The buyer.
        #[arg(long, default_value = "institute")]
        at: String,
    },
    /// A regulator's auditor decides a dispute: for the source, or with --refund for the buyer.
    Resolve {
        /// Which order.
        id: B256,
        /// For the buyer.
        #[arg(long)]
        refund: bool,
        /// Who.
        #[arg(long = "as", default_value = "auditor")]
        by: String,
    },
    /// Take back the price of what was not delivered in time.
    Reclaim {
        /// Which order.
        id: B256,
        /// Who asks for it; it is the buyer's.
        #[arg(long, default_value = "institute")]
        at: String,
    },
    /// Give the buyer back what no patient claimed within a year.
    ReturnShares {
        /// Which order.
        id: B256,
        /// Who asks for it.
        #[arg(long, default_value = "institute")]
        at: String,
    },
    /// Show that a patient was in an extract without consent.
    Challenge {
        /// Which order.
        id: B256,
        /// Which patient.
        patient: String,
        /// The source of the extract, which knows where in it the patient is.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// A patient takes their share of the price. Everybody in the network then sees that they were in this extract;
    /// the buyer knows what it was an extract of, and so what they have.
    Claim {
        /// Who.
        patient: String,
        /// Which order.
        id: B256,
        /// The source of the extract.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// A researcher of the buyer records a use.
    Use {
        /// Which order.
        id: B256,
        /// What for, in words; they stay with who says them.
        #[arg(long)]
        purpose: String,
        /// How many withdrawals of consent they know of.
        #[arg(long)]
        withdrawals: u32,
        /// Who.
        #[arg(long = "as", default_value = "researcher")]
        by: String,
    },
    /// An institution pays money in, or with --out takes it out.
    Money {
        /// How much, in the token's smallest unit.
        amount: u128,
        /// Out.
        #[arg(long)]
        out: bool,
        /// Whose.
        #[arg(long, default_value = "institute")]
        at: String,
    },
    /// Where a study, an offer or an order stands.
    Show {
        /// Its id.
        id: B256,
    },
}
