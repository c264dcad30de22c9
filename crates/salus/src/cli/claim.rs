//! What can be typed about claims and the money that they are paid from.

use std::str::FromStr;

use alloy_primitives::B256;
use clap::{Args, Subcommand};
use workflows::claim::{Cents, Item, Source};

/// What can be done with claims.
#[derive(Debug, Subcommand)]
pub(crate) enum ClaimCommand {
    /// What the insurer pays for, and how much.
    Tariff,
    /// The insurer offers a patient a coverage, from now on.
    Offer {
        /// Whom.
        patient: String,
        /// Which plan of the tariff.
        #[arg(long, default_value = "plus")]
        plan: String,
        /// The patient's part, in percent.
        #[arg(long, default_value = "10")]
        copayment: Cents,
        /// The most that the insurer pays in all, in euros.
        #[arg(long, default_value = "10000")]
        limit: Cents,
        /// For how many days.
        #[arg(long, default_value_t = 365)]
        days: u64,
        /// Who writes the policy.
        #[arg(long = "as", default_value = "adjudicator")]
        by: String,
    },
    /// The patient reads the policy and accepts the coverage.
    Accept {
        /// Who.
        patient: String,
        /// Which coverage.
        id: B256,
    },
    /// Patient or insurer ends a coverage.
    End {
        /// Which coverage.
        id: B256,
        /// The insurer ends it, not the patient.
        #[arg(long)]
        by_insurer: bool,
    },
    /// A provider asks the insurer beforehand.
    Ask {
        /// Under which coverage.
        coverage: B256,
        /// For what kind of service: prescription, lab-order or surgery.
        #[arg(long = "for", default_value = "prescription")]
        source: Source,
        #[command(flatten)]
        items: Items,
        /// Who writes it.
        #[arg(long = "as", default_value = "pharmacist")]
        by: String,
    },
    /// An adjudicator answers that.
    Grant {
        /// Which request.
        id: B256,
        /// How much, in euros; 0 refuses.
        amount: Cents,
        /// For how many days.
        #[arg(long, default_value_t = 30)]
        days: u64,
        /// Who.
        #[arg(long = "as", default_value = "adjudicator")]
        by: String,
    },
    /// A provider claims for a completed service.
    Submit {
        /// Under which coverage.
        coverage: B256,
        /// The prescription, order or operation.
        service: B256,
        /// Which it is: prescription, lab-order or surgery.
        #[arg(long = "from", default_value = "prescription")]
        source: Source,
        /// Which fill or round, from 1.
        #[arg(long, default_value_t = 1)]
        part: u64,
        #[command(flatten)]
        items: Items,
        /// What was granted for it beforehand.
        #[arg(long)]
        authorisation: Option<B256>,
        /// Who writes it.
        #[arg(long = "as", default_value = "pharmacist")]
        by: String,
    },
    /// The provider takes a claim back before it is decided.
    Withdraw {
        /// Which claim.
        id: B256,
        /// Who claimed.
        #[arg(long, default_value = "pharmacy")]
        at: String,
    },
    /// The patient says that what is claimed did not happen.
    Contest {
        /// Which claim.
        id: B256,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// An adjudicator reads a claim and sees what the rules come to; nothing is decided.
    Review {
        /// Which claim.
        id: B256,
        /// Who.
        #[arg(long = "as", default_value = "adjudicator")]
        by: String,
    },
    /// An adjudicator decides a claim by the rules.
    Decide {
        /// Which claim.
        id: B256,
        /// Who.
        #[arg(long = "as", default_value = "adjudicator")]
        by: String,
    },
    /// The patient appeals a decision, or somebody of the provider.
    Appeal {
        /// Which claim.
        id: B256,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Who; the patient when left out.
        #[arg(long = "as")]
        by: Option<String>,
    },
    /// Another adjudicator decides the appeal.
    DecideAppeal {
        /// Which claim.
        id: B256,
        /// At least so much is approved, in euros.
        #[arg(long, requires = "reason")]
        grant: Option<Cents>,
        /// Why.
        #[arg(long, requires = "grant")]
        reason: Option<String>,
        /// Who.
        #[arg(long = "as", default_value = "arbiter")]
        by: String,
    },
    /// Somebody has the provider paid what is set aside.
    Pay {
        /// Which claim.
        id: B256,
        /// Who.
        #[arg(long = "as", default_value = "pharmacist")]
        by: String,
    },
    /// The patient pays the co-payment.
    Copay {
        /// Which claim.
        id: B256,
    },
    /// The provider pays back.
    Refund {
        /// Which claim.
        id: B256,
        /// To the insurer, in euros.
        #[arg(long, default_value = "0")]
        insurer: Cents,
        /// To the patient, in euros.
        #[arg(long, default_value = "0")]
        patient: Cents,
        /// Who claimed.
        #[arg(long, default_value = "pharmacy")]
        at: String,
    },
    /// An institution gives somebody money of the demonstration.
    Give {
        /// To whom: an institution or a patient.
        to: String,
        /// How much, in euros.
        amount: Cents,
        /// Who.
        #[arg(long, default_value = "hospital")]
        from: String,
    },
    /// Somebody pays money into their purse, from which claims are paid.
    PayIn {
        /// Who: an institution or a patient.
        who: String,
        /// How much, in euros.
        amount: Cents,
    },
    /// Somebody takes money out of their purse.
    TakeOut {
        /// Who: an institution or a patient.
        who: String,
        /// How much, in euros.
        amount: Cents,
    },
    /// What somebody has, in their purse and outside.
    Balance {
        /// Who: an institution or a patient; everybody when left out.
        who: Option<String>,
    },
    /// Where a claim, a coverage or a request beforehand stands.
    Show {
        /// Which.
        id: B256,
    },
}

/// What is claimed.
#[derive(Debug, Args)]
pub(crate) struct Items {
    /// An item, as CODE=QUANTITYxPRICE with the price of a unit in euros, such as RX-LISINOPRIL-10=30x0.12.
    #[arg(long = "item", required = true)]
    items: Vec<ItemText>,
}

impl Items {
    pub(crate) fn list(self) -> Vec<Item> {
        self.items.into_iter().map(|item| item.0).collect()
    }
}

/// An item as it is typed.
#[derive(Clone, Debug)]
struct ItemText(Item);

impl FromStr for ItemText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "an item is CODE=QUANTITYxPRICE, such as RX-LISINOPRIL-10=30x0.12";
        let (code, rest) = text.split_once('=').ok_or(wrong)?;
        let (quantity, price) = rest.split_once('x').ok_or(wrong)?;
        let quantity = quantity.parse().map_err(|_| wrong)?;
        let unit_price = price.parse().map_err(|_| wrong)?;
        Ok(Self(Item { code: code.into(), quantity, unit_price }))
    }
}
