//! Who addresses are, as far as a member may be told: members by name, patients' accounts never by name.
//!
//! The chain holds addresses because they are pseudonyms. A page that put patients' names beside them would tie what
//! is recorded to people, for everybody who may look at the chain; so only members are named, and oneself.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use domain::Reader;

use super::said::{Argument, Call, Event, Value};
use crate::visitor::{Visitor, short};

/// How many addresses of one page are looked up.
const LOOKED_UP_MAX: usize = 300;

/// What a page's addresses are called.
#[derive(Default)]
pub(crate) struct People(BTreeMap<Address, Known>);

struct Known {
    name: String,
    /// What it is, in a word or two.
    what: &'static str,
}

impl People {
    /// Looks addresses up. What cannot be found out keeps its address.
    pub(crate) async fn of(
        visitor: &Visitor,
        addresses: impl IntoIterator<Item = Address>,
    ) -> Self {
        let mut known = BTreeMap::new();
        let home = visitor.portal.home();
        let own = visitor.address().ok();
        let contracts = home.deployment();
        for address in addresses {
            if known.len() >= LOOKED_UP_MAX || known.contains_key(&address) || address.is_zero() {
                continue;
            }
            if let Some(contract) = contracts.and_then(|deployed| deployed.contract_at(&address)) {
                known.insert(address, Known { name: contract.name().into(), what: "contract" });
                continue;
            }
            let mut member = home.who(address).await.ok().flatten();
            let mut what = None;
            if member.is_none()
                && let Ok(Some(of_key)) = home.member_of_key(address).await
            {
                member = home.who(of_key).await.ok().flatten();
                what = Some("key of a member");
            }
            let Some(member) = member else { continue };
            let named = |address: Address| home.name(address).unwrap_or_else(|| short(address));
            let (name, kind) = match &member {
                Reader::Patient { account } if Some(*account) == own => {
                    ("you".to_owned(), "your account")
                }
                Reader::Patient { account } => (short(*account), "a patient's account"),
                Reader::Professional { .. } => (named(member.address()), "professional"),
                Reader::Institution { .. } => (named(member.address()), "institution"),
            };
            known.insert(address, Known { name, what: what.unwrap_or(kind) });
        }
        Self(known)
    }

    /// What to call an address.
    pub(crate) fn name(&self, address: Address) -> String {
        self.0.get(&address).map_or_else(|| short(address), |known| known.name.clone())
    }

    /// What it is, when that is known.
    pub(crate) fn what(&self, address: Address) -> Option<&'static str> {
        self.0.get(&address).map(|known| known.what)
    }

    /// Whether it is a member of the network, of whom patients' pages tell the name.
    pub(crate) fn is_member(&self, address: Address) -> bool {
        matches!(self.what(address), Some("professional" | "institution"))
    }
}

/// The addresses that a call names.
pub(crate) fn of_call(call: &Call, found: &mut Vec<Address>) {
    found.extend(call.to);
    of_arguments(&call.arguments, found);
    for inner in &call.inner {
        of_call(inner, found);
    }
}

/// The addresses that an event names.
pub(crate) fn of_event(event: &Event, found: &mut Vec<Address>) {
    found.push(event.from);
    of_arguments(&event.arguments, found);
}

/// The addresses among values.
pub(crate) fn of_arguments(arguments: &[Argument], found: &mut Vec<Address>) {
    for argument in arguments {
        of_value(&argument.value, found);
    }
}

fn of_value(value: &Value, found: &mut Vec<Address>) {
    match value {
        Value::Address(address) => found.push(*address),
        Value::List(values) => values.iter().for_each(|value| of_value(value, found)),
        Value::Fields(fields) => of_arguments(fields, found),
        Value::Text(_) | Value::Meant { .. } | Value::Time(_) | Value::Bytes(..) => {}
    }
}
