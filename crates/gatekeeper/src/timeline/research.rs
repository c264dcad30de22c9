//! The steps of offers, studies and orders of extracts.

use alloy_primitives::B256;
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent as _;
use bindings::{
    Contract, DataExchange, DataExchange::DataExchangeEvents as Event, convert::timestamp,
};

use super::{
    Actor::{Member, Patient, Unknown},
    Described,
};
use crate::{Gatekeeper, GatekeeperError};

impl Gatekeeper {
    /// The orders of a study or an offer: later events name the order alone.
    pub(super) async fn orders_of(&self, id: B256) -> Result<Vec<B256>, GatekeeperError> {
        let base = Filter::new()
            .address(self.deployment().address(Contract::DataExchange))
            .event_signature(DataExchange::ExtractOrdered::SIGNATURE_HASH)
            .from_block(0);
        let mut orders = Vec::new();
        for filter in [base.clone().topic2(id), base.topic3(id)] {
            let logs = self.ledger().logs(&filter).await?;
            let decoded = |log| DataExchange::ExtractOrdered::decode_log(log).ok();
            orders.extend(
                logs.iter().filter_map(|log| decoded(&log.inner)).map(|event| event.data.id),
            );
        }
        Ok(orders)
    }
}

pub(super) fn describe(event: Event) -> Option<Described> {
    Some(match event {
        Event::DataOffered(event) => {
            ("data offered for research".into(), Member(event.source), Some(event.id))
        }
        Event::OfferClosed(event) => ("offer closed".into(), Member(event.source), Some(event.id)),
        Event::StudyProposed(event) => {
            let what = format!("study proposed, until {}", timestamp(event.until));
            (what, Member(event.by), Some(event.id))
        }
        Event::StudyApproved(event) => {
            let complete = if event.complete { ", which may begin" } else { "" };
            let what = format!("study approved for {}{complete}", event.institution);
            (what, Member(event.by), Some(event.id))
        }
        Event::StudyEnded(event) => ("study ended".into(), Member(event.by), Some(event.id)),
        Event::StudyConsented(event) => {
            ("consent to a study".into(), Patient(event.patient), Some(event.study))
        }
        Event::StudyConsentWithdrawn(event) => {
            let what = format!("consent to a study withdrawn; withdrawals: {}", event.withdrawals);
            (what, Patient(event.patient), Some(event.study))
        }
        Event::CohortCounted(event) => {
            let what = match event.count {
                0 => "cohort counted: fewer than 5".into(),
                count => format!("cohort counted: at least {count}"),
            };
            (what, Member(event.source), Some(event.study))
        }
        Event::ExtractOrdered(event) => {
            let what = format!("extract ordered for {}", event.price);
            (what, Member(event.buyer), Some(event.id))
        }
        Event::ExtractDelivered(event) => {
            let what = format!("extract of {} patients delivered", event.count);
            (what, Member(event.source), Some(event.id))
        }
        Event::OrderDisputed(event) => {
            ("delivery disputed".into(), Member(event.by), Some(event.id))
        }
        Event::OrderSettled(event) => {
            let what = format!(
                "order settled: {} to {}, {} to each of {} patients, {} back",
                event.toSource, event.source, event.forEach, event.count, event.toBuyer
            );
            // The buyer, anybody when it is time, or an auditor.
            (what, Unknown, Some(event.id))
        }
        Event::OrderRefunded(event) => {
            let what = format!("{} back to {}", event.price, event.buyer);
            (what, Unknown, Some(event.id))
        }
        Event::PatientPaid(event) => {
            let what = format!("share of {} taken", event.amount);
            (what, Patient(event.patient), Some(event.id))
        }
        Event::ConsentBreached(event) => {
            let what = format!("{} shown to be in the extract without consent", event.patient);
            (what, Member(event.by), Some(event.id))
        }
        Event::SharesReturned(event) => {
            let what = format!("shares of {} patients back to {}", event.unpaid, event.buyer);
            (what, Unknown, Some(event.id))
        }
        Event::CountBreached(event) => {
            let what = format!("a patient more than the {} that were said", event.count);
            (what, Patient(event.patient), Some(event.id))
        }
        Event::ExtractUsed(event) => {
            let what = format!("use {} of the extract recorded", event.number);
            (what, Member(event.by), Some(event.id))
        }
        // Of whose money goes in and out, the money says enough.
        Event::Deposited(_) | Event::Withdrawn(_) => return None,
    })
}
