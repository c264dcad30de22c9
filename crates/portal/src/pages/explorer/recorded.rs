//! "How it is recorded": what the shared book of the network holds about a patient, in the patient's words.
//!
//! A patient sees the entries that name the patient's own account, and no other: an entry of somebody else's is as
//! if it were not there.

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Log;
use axum::{extract::Path, response::Response};
use bindings::Deployment;
use maud::{Markup, html};

use super::{
    addresses::naming,
    asked::Asked,
    chain,
    events::Range,
    people::{self, People},
    plain::{self, Plain},
    said,
};
use crate::{
    design::parts::{Tone, card, code, empty, facts, more, notice, pages, table},
    fault::Fault,
    times,
    visitor::Visitor,
};

/// Entries on a page.
const ENTRIES: usize = 40;

/// `GET /patient/recorded`: the entries about oneself, the newest first.
pub(crate) async fn list(visitor: Visitor, asked: Asked) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let (words, account) = (plain::of(visitor.look.language), visitor.patient()?);
    let head = node.head().await?;
    let (range, _) = Range::of(None, asked.number("to", words.older)?, head);
    let logs = naming(node, deployment, account, range).await?;
    let skip = asked.number("skip", words.older)?.unwrap_or(0);
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(logs.len());
    let shown = &logs[skip..logs.len().min(skip + ENTRIES)];
    let (rows, _) = rows(&visitor, words, deployment, shown).await;
    let older = if skip + shown.len() < logs.len() {
        Some(format!("/patient/recorded?to={}&skip={}", range.to, skip + ENTRIES))
    } else {
        range.from.checked_sub(1).map(|to| format!("/patient/recorded?to={to}"))
    };
    let newest = (range.to < head || skip > 0).then_some("/patient/recorded");
    let content = html! {
        p class="lead" { (words.lead) }
        (more(words.why_title, html! { @for text in words.why { p { (text) } } }))
        @if rows.is_empty() {
            (empty(words.nothing_title, words.nothing, Some(("/patient/sharing", words.sharing))))
        } @else {
            (table(words.title, &[words.when, words.what, words.who, words.details], &rows))
        }
        (pages(newest.map(|href| (href, words.newest)), older.as_deref().map(|href| (href, words.older))))
    };
    Ok(visitor.page(words.title, content))
}

/// Rows of entries, and whom they name.
async fn rows(
    visitor: &Visitor,
    words: &Plain,
    deployment: &Deployment,
    logs: &[Log],
) -> (Vec<Vec<Markup>>, People) {
    let events: Vec<said::Event> =
        logs.iter().map(|log| said::event(deployment, &log.inner)).collect();
    let mut addresses = Vec::new();
    events.iter().for_each(|event| people::of_event(event, &mut addresses));
    let people = People::of(visitor, addresses).await;
    let rows = logs
        .iter()
        .zip(&events)
        .map(|(log, event)| {
            let link = log.transaction_hash.map(|hash| format!("/patient/recorded/{hash}"));
            vec![
                html! { @if let Some(time) = log.block_timestamp { (times::stamp(time)) } },
                html! { (words.sentence(&event.name)) },
                html! { (members(&people, event)) },
                html! { @if let Some(link) = link { a href=(link) { (words.look) } } },
            ]
        })
        .collect();
    (rows, people)
}

/// The members of the network that an event names.
fn members(people: &People, event: &said::Event) -> String {
    let mut addresses = Vec::new();
    people::of_arguments(&event.arguments, &mut addresses);
    let mut names: Vec<String> = Vec::new();
    for address in addresses.into_iter().filter(|address| people.is_member(*address)) {
        let name = people.name(address);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// `GET /patient/recorded/{hash}`: one entry about oneself, and how it can be held against what others have.
pub(crate) async fn one(visitor: Visitor, Path(hash): Path<String>) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let (words, account) = (plain::of(visitor.look.language), visitor.patient()?);
    let hash: B256 = hash.parse().map_err(|_| Fault::NotFound)?;
    let receipt = node.receipt(hash).await?.ok_or(Fault::NotFound)?;
    let own: Vec<Log> =
        receipt.logs().iter().filter(|log| names(deployment, log, account)).cloned().collect();
    let number = receipt.block_number.ok_or(Fault::NotFound)?;
    if own.is_empty() {
        return Err(Fault::NotFound);
    }
    let block = node.block(number, false).await?.ok_or(Fault::Unavailable)?;
    let since = node.head().await?.saturating_sub(number);
    let (_, people) = rows(&visitor, words, deployment, &own).await;
    let what = html! {
        ul {
            @for log in &own {
                @let event = said::event(deployment, &log.inner);
                @let with = members(&people, &event);
                li { (words.sentence(&event.name)) @if !with.is_empty() { " (" (with) ")" } }
            }
        }
    };
    let about = [
        (words.when.to_owned(), times::stamp(block.header.timestamp)),
        (words.place.to_owned(), html! { (number) }),
        (words.since.to_owned(), html! { (since) }),
        (words.mark.to_owned(), code(&hash.to_string())),
        (words.page_mark.to_owned(), code(&block.header.hash.to_string())),
    ];
    let content = html! {
        (notice(Tone::Good, words.held_title, html! { p { (words.held) } }))
        (card(words.what, what))
        (card(words.compare, html! { p { (words.compare_text) } (facts(&about)) }))
        p { a href="/patient/recorded" { (words.back) } }
    };
    Ok(visitor.page(words.entry, content))
}

/// Whether an entry is about an account: its own, or one of the network's contracts that names it.
fn names(deployment: &Deployment, log: &Log, account: Address) -> bool {
    let is_named = log.topics().iter().skip(1).any(|topic| *topic == account.into_word());
    log.address() == account || is_named && deployment.contract_at(&log.address()).is_some()
}
