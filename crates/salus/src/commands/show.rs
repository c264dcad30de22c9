//! What `show` of a prescription, a laboratory order and a device tells: all that a person may want to know of one.

use std::fmt::Write as _;

use alloy_primitives::{Address, B256};
use bindings::convert::timestamp;
use domain::{RecordDigest, Timestamp};
use workflows::{Gateway, device, laboratory, prescription};

use super::{Commands, Output};
use crate::{machines::Machines, table::thousands};

impl Commands<'_> {
    pub(super) async fn show_prescription(&self, id: B256) -> Output {
        let hospital = self.gateway("hospital")?;
        hospital.gatekeeper.refresh(self.now()).await?;
        let (state, held) = prescription::prescription_of(hospital, id).await?;
        let issued = {
            let projection = hospital.gatekeeper.projection().await;
            projection.workflows.prescription(&id).cloned()
        };
        let issued = issued.ok_or("there is no such prescription")?;
        let name = |address| self.consortium.name_of(address);
        let mut text = format!("prescription {id}: {}\n", state.name());
        let mut line = |label: &str, what: String| {
            let _ = writeln!(text, "  {label:<12} {what}");
        };
        line("for", name(held.patient));
        line(
            "by",
            format!(
                "{} of the {}, {}",
                name(held.prescriber),
                name(issued.institution),
                issued.moment.time
            ),
        );
        line("fills", fills_text(held.quantity, held.fills, held.filled, held.dispensed));
        line("valid until", issued.valid_until.to_string());
        let next = timestamp(held.nextFillAt);
        if held.filled > 0 && held.filled < held.fills {
            line("next fill", format!("from {next} on"));
        }
        if held.asWritten {
            line("product", "as written: the prescriber forbids another".into());
        }
        let claimed_until = timestamp(held.claimedUntil);
        if !held.pharmacy.is_zero() && self.now() < claimed_until {
            line("claimed", format!("by the {} until {claimed_until}", name(held.pharmacy)));
        } else {
            line("claimed", "by nobody".into());
        }
        for (pharmacy, (prescriber, patient)) in &issued.permits {
            let yes = |permitted: &bool| if *permitted { "yes" } else { "no" };
            let permits = (yes(prescriber), yes(patient));
            let pharmacy = name(*pharmacy);
            line(
                "permitted",
                format!("{pharmacy}: by prescriber {}, by patient {}", permits.0, permits.1),
            );
        }
        line("sealed as", self.sealed_text(hospital, issued.digest).await);
        for fill in 1..=held.fills {
            let Some(receipt) = prescription::receipt(hospital, id, fill).await? else { break };
            let has = if receipt.confirmed {
                "the patient has it"
            } else {
                "not confirmed by the patient"
            };
            let what = format!(
                "completed by the {} at {}, {has}",
                name(receipt.pharmacy),
                receipt.completed_at
            );
            line(&format!("fill {fill}"), what);
            line(
                "",
                format!(
                    "sealed as {}",
                    self.sealed_text(hospital, RecordDigest(receipt.record)).await
                ),
            );
        }
        Ok((text, 0))
    }

    pub(super) async fn show_order(&self, id: B256) -> Output {
        let lab = self.gateway("laboratory")?;
        lab.gatekeeper.refresh(self.now()).await?;
        let (state, held) = laboratory::order_of(lab, id).await?;
        let ordered = {
            let projection = lab.gatekeeper.projection().await;
            projection.workflows.lab_order(&id).cloned()
        };
        let ordered = ordered.ok_or("there is no such order")?;
        let name = |address| self.consortium.name_of(address);
        let mut text = format!("laboratory order {id}: {}\n", state.name());
        let mut line = |label: &str, what: String| {
            let _ = writeln!(text, "  {label:<12} {what}");
        };
        line("for", name(held.patient));
        let by = (name(held.orderer), name(held.institution));
        line("by", format!("{} of the {}, {}", by.0, by.1, ordered.moment.time));
        line("to", name(held.laboratory));
        line("sealed as", self.sealed_text(lab, ordered.digest).await);
        for (index, hand) in laboratory::custody(lab, id).await?.iter().enumerate() {
            let record = self.sealed_text(lab, RecordDigest(hand.record)).await;
            line(&format!("hand {}", index + 1), format!("{}, sealed as {record}", name(hand.by)));
        }
        let results = laboratory::results(lab, id).await?;
        for (index, result) in results.iter().enumerate() {
            let kind = match (result.is_preliminary, result.is_corrected) {
                (true, _) => "preliminary",
                (_, true) => "corrected",
                _ => "final",
            };
            let critical = if result.critical { ", critical" } else { "" };
            line(
                &format!("result {}", index + 1),
                format!("{kind}{critical}, by {}", name(result.by)),
            );
            line("", format!("sealed as {}", self.sealed_text(lab, result.digest).await));
        }
        let Some(last) = results.last() else {
            line("result", "none yet".into());
            return Ok((text, 0));
        };
        let overdue = laboratory::is_overdue(lab, id).await?;
        line("acknowledged", acknowledged_text(held.acknowledged, last.acknowledge_by, overdue));
        if held.escalations > 0 {
            let next = timestamp(held.escalateBy);
            line("escalated", format!("times: {}; again from {next} on", held.escalations));
        }
        Ok((text, 0))
    }

    pub(super) async fn show_device(&self, member: Address) -> Output {
        let hospital = self.gateway("hospital")?;
        let held = device::standing(hospital, member).await?;
        let in_force = device::is_in_force(hospital, member).await?;
        let machines = Machines::open(self.consortium).await?;
        let name = |address| self.consortium.name_of(address);
        let mut text = format!(
            "device {}: {}\n",
            machines.name_of(member).unwrap_or("that is not kept here"),
            if in_force { "in force" } else { "out of force, for good" },
        );
        let mut line = |label: &str, what: String| {
            let _ = writeln!(text, "  {label:<12} {what}");
        };
        line("address", member.to_string());
        line("made by", name(held.maker));
        line("run by", format!("{}, since {}", name(held.operator), held.enrolled_at));
        let firmware = machines.firmware_of(member).map(|version| format!("{version}, "));
        let firmware = firmware.unwrap_or_default();
        line("firmware", format!("{firmware}digest {}, updates: {}", held.firmware, held.updates));
        line("signs with", device::signer_of(hospital, member).await?.to_string());
        if held.is_bound(self.now()) {
            let (patient, since, until) = (name(held.patient), held.bound_at, held.bound_until);
            let binding = held.binding;
            line("measures", format!("{patient} from {since} until {until}, binding {binding}"));
            line("longest gap", format!("{} s without readings", thousands(held.gap.into())));
        } else if held.patient.is_zero() {
            line("measures", "nobody, and never did".into());
        } else {
            let (patient, until) = (name(held.patient), held.bound_until);
            line("measures", format!("nobody; {patient} until {until}, binding {}", held.binding));
        }
        if let Some(offer) = device::offered(hospital, member).await?
            && offer.binding > held.binding
        {
            let (patient, until) = (name(offer.patient), offer.terms.until);
            line("offered", format!("to {patient} until {until}, as binding {}", offer.binding));
        }
        match held.batches {
            0 => line("batches", "none yet".into()),
            count => {
                line("batches", format!("{}, the last until {}", thousands(count), held.last_to))
            }
        }
        let alerts = device::alerts(hospital, member).await?;
        let waiting = alerts.iter().filter(|alert| alert.acknowledged_by.is_none()).count();
        line("alerts", format!("{}, not acknowledged: {waiting}", alerts.len()));
        if device::is_silent(hospital, member).await? {
            line("SILENT", format!("no readings for longer than {} s", thousands(held.gap.into())));
        }
        if !held.quarantine.is_empty() {
            line("quarantine", format!("by {}", held.quarantine.by().join(", ")));
        }
        Ok((text, 0))
    }

    /// The record with a digest, its version, state and digest, as far as it stands on chain by itself.
    async fn sealed_text(&self, gateway: &Gateway, digest: RecordDigest) -> String {
        let projection = gateway.gatekeeper.projection().await;
        let found = projection.records.anchors().find(|entry| entry.anchor.digest == digest);
        match found {
            None => format!("digest {digest}, of no record that is anchored by itself"),
            Some(entry) => {
                let (anchor, state) = (&entry.anchor, entry.state);
                let (kind, version) = (anchor.kind, anchor.version);
                format!(
                    "{kind} record {}, version {version}, {state}, digest {digest}",
                    anchor.record
                )
            }
        }
    }
}

/// How much was handed out, and what is left.
fn fills_text(quantity: u32, fills: u8, filled: u8, dispensed: u32) -> String {
    let left = fills.saturating_sub(filled);
    let mut text = format!("{fills} of {quantity} units each; completed: {filled}, left: {left}");
    if dispensed > 0 && left > 0 {
        let _ = write!(text, "; {dispensed} units of the next were handed out");
    }
    text
}

/// Whether somebody has seen a result, and by when they have to.
fn acknowledged_text(acknowledged: bool, due: Option<Timestamp>, overdue: bool) -> String {
    match (acknowledged, due) {
        (true, _) => "yes".into(),
        (false, None) => "not yet".into(),
        (false, Some(due)) if overdue => format!("not yet: OVERDUE since {due}"),
        (false, Some(due)) => format!("not yet, due by {due}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_prescription_is_counted() {
        assert_eq!(fills_text(30, 3, 1, 0), "3 of 30 units each; completed: 1, left: 2");
        assert!(fills_text(30, 3, 1, 10).ends_with("; 10 units of the next were handed out"));
        assert_eq!(fills_text(30, 1, 1, 30), "1 of 30 units each; completed: 1, left: 0");
    }

    #[test]
    fn the_clock_of_an_acknowledgement_is_told_while_it_runs() {
        let due = Timestamp(1_795_374_960);
        assert_eq!(acknowledged_text(true, Some(due), true), "yes");
        assert_eq!(acknowledged_text(false, None, false), "not yet");
        assert_eq!(
            acknowledged_text(false, Some(due), false),
            "not yet, due by 2026-11-22T19:16:00Z"
        );
        assert!(acknowledged_text(false, Some(due), true).contains("OVERDUE"));
    }
}
