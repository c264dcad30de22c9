//! What a patient is about to sign, in plain language.
//!
//! It is read out of the bytes that are signed, not out of what a page asked for. What is not understood here is
//! shown as it stands.

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall as _;
use bindings::{Consents, Records, Relationships, convert::scope};
use domain::{KindSet, PurposeSet};
use maud::{Markup, html};
use serde_json::Value;

use crate::{times, visitor::Visitor};

/// What a call of a patient's account does: `does` names its contract, `data` is what is signed.
pub(crate) fn of_call(visitor: &Visitor, contract: &str, data: &Value) -> Option<Markup> {
    let (words, data) = (visitor.words(), data.as_str()?.parse::<Bytes>().ok()?);
    let of_record = |title: &str, record: &str| html! { (title) " " small { (record) } };
    match contract {
        "Consents" => {
            if let Ok(grant) = Consents::grantCall::abi_decode_validate(&data) {
                let kinds = KindSet::from_bits(grant.terms.kinds);
                let purposes = PurposeSet::from_bits(grant.terms.purposes);
                let kinds: Vec<_> = kinds.iter().map(|kind| (words.kind)(kind)).collect();
                let purposes: Vec<_> =
                    purposes.iter().map(|purpose| (words.purpose)(purpose)).collect();
                let what = match scope(grant.record) {
                    Some(_) => format!("{} ({})", words.one_record, kinds.join(", ")),
                    None => kinds.join(", "),
                };
                let until = times::text(grant.terms.closesAt.to::<u64>());
                let said = (words.grants)(
                    &visitor.name(grant.reader),
                    &what,
                    &purposes.join(", "),
                    &until,
                );
                return Some(html! { (said) });
            }
            let revoke = Consents::revokeCall::abi_decode_validate(&data).ok()?;
            Some(html! { ((words.revokes)(&visitor.name(revoke.reader))) })
        }
        "Records" => {
            if let Ok(call) = Records::acceptCall::abi_decode_validate(&data) {
                return Some(of_record(words.accept, &call.anchor.record.to_string()));
            }
            let call = Records::rejectCall::abi_decode_validate(&data).ok()?;
            Some(of_record(words.reject, &call.anchor.record.to_string()))
        }
        "Relationships" => {
            let call = Relationships::acceptCall::abi_decode_validate(&data).ok()?;
            Some(
                html! { ((words.topic)("relationship-accepted")) ": " (visitor.name(call.steward)) },
            )
        }
        _ => None,
    }
}
