//! What a posted `Consent` asks for: whether it is for the chain at all, and whether the chain can hold all
//! of it. What it cannot hold is refused with 422, never passed over.

use std::time::Duration;

use domain::{Address, Kind, KindSet, Period, Purpose, PurposeSet, RecordId, Terms, Timestamp};
use serde_json::Value;

use super::{ACTION_SYSTEM, PURPOSE_SYSTEM};
use crate::{
    derived::{KIND_SYSTEM, MEMBER_SYSTEM, member_of},
    instant,
    outcome::FhirError,
    resources::Resources,
};

/// How deep provisions may stand in each other to be looked at.
const DEPTH_MAX: usize = 8;

/// The longest period of one grant.
///
/// # Source
///
/// `Consents.MAX_PERIOD`.
const PERIOD_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// What may stand in a provision that goes on chain.
const PROVISION_MEMBERS: &[&str] =
    &["id", "type", "period", "actor", "action", "purpose", "class", "data"];

/// What a posted `Consent` asks for.
pub(super) struct Wanted {
    pub(super) reader: Address,
    pub(super) record: Option<RecordId>,
    kinds: KindSet,
    purposes: PurposeSet,
    opens_at: Option<Timestamp>,
    closes_at: Option<Timestamp>,
}

impl Wanted {
    pub(super) fn terms(&self, now: Timestamp) -> Result<Terms, FhirError> {
        let opens_at = self.opens_at.unwrap_or(now);
        let closes_at = self.closes_at.ok_or_else(|| {
            beyond("Consent.provision.period.end", "a grant on chain has an end; say when")
        })?;
        let period = Period::new(opens_at, closes_at).ok().filter(|_| closes_at > now);
        let period = period.ok_or_else(|| {
            beyond("Consent.provision.period", "the period is empty or over already")
        })?;
        if closes_at.since(opens_at) > PERIOD_MAX {
            let text = "a grant on chain is for ten years at most";
            return Err(beyond("Consent.provision.period", text));
        }
        Ok(Terms { period, kinds: self.kinds, purposes: self.purposes })
    }
}

/// Whether a `Consent` is about access by a member of the network.
pub(super) async fn is_for_chain(resources: &Resources, value: &Value) -> Result<bool, FhirError> {
    let scopes = codes(&value["scope"], "http://terminology.hl7.org/CodeSystem/consentscope");
    if !scopes.contains(&"patient-privacy") {
        return Ok(false);
    }
    let mut provisions = vec![(&value["provision"], 0)];
    while let Some((provision, depth)) = provisions.pop() {
        for actor in provision["actor"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if member_named(resources, actor).await?.is_some() {
                return Ok(true);
            }
        }
        if depth < DEPTH_MAX
            && let Some(inner) = provision["provision"].as_array()
        {
            provisions.extend(inner.iter().map(|inner| (inner, depth + 1)));
        }
    }
    Ok(false)
}

/// Reads what a posted `Consent` asks for, and refuses what the chain cannot hold.
pub(super) async fn wanted(
    resources: &Resources,
    patient: Address,
    value: &Value,
) -> Result<Wanted, FhirError> {
    if let Some(member) = value.as_object().and_then(|members| {
        members.keys().find(|name| {
            let name = name.as_str();
            name.starts_with("source") || matches!(name, "verification" | "modifierExtension")
        })
    }) {
        let text = "only the grant goes on chain; keep the form itself as a DocumentReference";
        return Err(beyond(&format!("Consent.{member}"), text));
    }
    let provision = &value["provision"];
    let members = provision.as_object();
    if let Some(member) = members
        .and_then(|members| members.keys().find(|name| !PROVISION_MEMBERS.contains(&name.as_str())))
    {
        let text = "the chain holds one permission without exceptions: reader, kinds, purposes, \
                    period, and one record or all";
        return Err(beyond(&format!("Consent.provision.{member}"), text));
    }
    if provision["type"].as_str().is_some_and(|kind| kind != "permit") {
        let text = "the chain refuses by default and holds permissions only; take back the grant \
                    instead of denying";
        return Err(beyond("Consent.provision.type", text));
    }
    let list = |name: &str| provision[name].as_array().cloned().unwrap_or_default();
    let actors = list("actor");
    let [actor] = actors.as_slice() else {
        return Err(beyond(
            "Consent.provision.actor",
            "a grant names one reader; post one for each",
        ));
    };
    let reader = member_named(resources, actor).await?.ok_or_else(|| {
        beyond("Consent.provision.actor", "the reader is no member of the network")
    })?;
    for action in list("action") {
        if codes(&action, ACTION_SYSTEM) != ["access"] {
            let text = "a grant on chain lets somebody read; the only action is `access`";
            return Err(beyond("Consent.provision.action", text));
        }
    }
    let record = one_record(resources, patient, &list("data")).await?;
    let mut kinds = record.map_or(KindSet::EMPTY, |(_, kind)| KindSet::of(&[kind]));
    for class in list("class") {
        let kind = class["code"].as_str().filter(|_| class["system"] == KIND_SYSTEM);
        let kind: Option<Kind> = kind.and_then(|code| code.parse().ok());
        let kind = kind.ok_or_else(|| {
            let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            let text = format!(
                "patients consent to kinds of record, of the system {KIND_SYSTEM}: {}",
                names.join(", ")
            );
            beyond("Consent.provision.class", text)
        })?;
        if record.is_some_and(|(_, of_record)| of_record != kind) {
            return Err(beyond("Consent.provision.class", "the record is of another kind"));
        }
        kinds = kinds.union(KindSet::of(&[kind]));
    }
    if kinds.is_empty() {
        return Err(beyond("Consent.provision.class", "say which kinds of record it is for"));
    }
    let mut purposes = PurposeSet::EMPTY;
    for purpose in list("purpose") {
        let code = purpose["code"].as_str().filter(|_| purpose["system"] == PURPOSE_SYSTEM);
        // A code that means less than one of ours would be widened to it.
        let known = Purpose::ALL.iter().find(|one| Some(one.hl7_code()) == code);
        let known = known.ok_or_else(|| {
            let codes: Vec<_> = Purpose::ALL.iter().map(|one| one.hl7_code()).collect();
            let text = format!("the purposes are of {PURPOSE_SYSTEM}: {}", codes.join(", "));
            beyond("Consent.provision.purpose", text)
        })?;
        purposes = purposes.union(PurposeSet::of(&[*known]));
    }
    if purposes.is_empty() {
        return Err(beyond("Consent.provision.purpose", "say for which purposes it is"));
    }
    let moment = |name: &str, is_end: bool| match provision["period"][name].as_str() {
        None => Ok(None),
        Some(text) => moment(text, is_end).map(Some).ok_or_else(|| {
            let text = "a date such as 2026-01-31, or an instant with its offset";
            beyond(&format!("Consent.provision.period.{name}"), text)
        }),
    };
    Ok(Wanted {
        reader,
        record: record.map(|(record, _)| record),
        kinds,
        purposes,
        opens_at: moment("start", false)?,
        closes_at: moment("end", true)?,
    })
}

/// The member of the registry whom an actor names.
async fn member_named(resources: &Resources, actor: &Value) -> Result<Option<Address>, FhirError> {
    let reference = &actor["reference"];
    let identifier = &reference["identifier"];
    let by_identifier = match identifier["system"] == MEMBER_SYSTEM {
        true => identifier["value"].as_str().and_then(|value| value.parse().ok()),
        false => None,
    };
    let member = match (by_identifier, reference["reference"].as_str()) {
        (Some(member), _) => Some(member),
        (None, Some(text)) => match text.split_once('/') {
            Some((resource_type @ ("Practitioner" | "Organization"), id)) => {
                member_of(resources, resource_type, id).await?
            }
            _ => None,
        },
        (None, None) => None,
    };
    let Some(member) = member else { return Ok(None) };
    let projection = resources.gatekeeper().projection().await;
    let registry = &projection.registry;
    let is_known =
        registry.institution(&member).is_some() || registry.professional(&member).is_some();
    Ok(is_known.then_some(member))
}

/// The one record that a grant is for.
async fn one_record(
    resources: &Resources,
    patient: Address,
    data: &[Value],
) -> Result<Option<(RecordId, Kind)>, FhirError> {
    let one = match data {
        [] => return Ok(None),
        [one] if one["meaning"] == "instance" => one,
        _ => {
            let text = "a grant is for all records of its kinds, or for one `instance`";
            return Err(beyond("Consent.provision.data", text));
        }
    };
    let name = one["reference"]["reference"].as_str().and_then(|name| name.split_once('/'));
    let row = match name {
        Some((resource_type, id)) => resources.row(resource_type, id).await?,
        None => None,
    };
    let filed = row.and_then(|row| row.record).filter(|filed| filed.patient == patient);
    let filed = filed.ok_or_else(|| {
        beyond("Consent.provision.data", "it names no record of this patient here")
    })?;
    Ok(Some((filed.record, filed.kind)))
}

/// A moment, in whole seconds: of a day its beginning, or as an end the beginning of the next.
fn moment(text: &str, is_end: bool) -> Option<Timestamp> {
    const DAY_S: i64 = 86_400;
    let milliseconds = match text.len() {
        10 => {
            let day = instant::parse(&format!("{text}T00:00:00Z"))?;
            if is_end { day.checked_add(DAY_S * 1_000)? } else { day }
        }
        _ => instant::parse(text)?,
    };
    u64::try_from(milliseconds.div_euclid(1_000)).ok().map(Timestamp)
}

fn codes<'v>(concept: &'v Value, system: &str) -> Vec<&'v str> {
    let codings = concept["coding"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_system = codings.iter().filter(|coding| coding["system"] == system);
    of_system.filter_map(|coding| coding["code"].as_str()).collect()
}

/// What the chain cannot hold.
fn beyond(expression: &str, text: impl Into<String>) -> FhirError {
    let mut error = FhirError::unprocessable("business-rule", text);
    for issue in &mut error.issues {
        issue.expression = vec![expression.to_owned()];
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_include_their_day() {
        assert_eq!(moment("1970-01-02", false), Some(Timestamp(86_400)));
        assert_eq!(moment("1970-01-02", true), Some(Timestamp(2 * 86_400)));
        assert_eq!(moment("1970-01-02T00:00:01+00:00", true), Some(Timestamp(86_401)));
        assert_eq!(moment("1970-13-02", true), None);
        assert_eq!(moment("1969-01-01", false), None);
    }
}
