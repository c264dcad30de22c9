//! One address: who it is, what it has, and where it is named; and the way to whatever is looked for.

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Log;
use axum::{extract::Path, response::Response};
use bindings::Deployment;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    asked::Asked,
    chain,
    events::Range,
    interfaces,
    node::Node,
    people::{self, People},
    said,
    show::{arguments, block_link, ether, thousands, transaction_link, ways},
};
use crate::{
    design::parts::{card, code, empty, facts, pages, table},
    fault::Fault,
    times,
    visitor::{Visitor, go},
};

/// Entries on a page.
const ENTRIES: usize = 50;

/// `GET /explorer/find?q=`: to the block, transaction, address or contract that is looked for.
pub(crate) async fn find(visitor: Visitor, asked: Asked) -> Result<Response, Fault> {
    let (node, _) = chain(&visitor)?;
    let text = asked.text("q");
    if let Ok(number) = text.replace([',', ' '], "").parse::<u64>() {
        return Ok(go(&format!("/explorer/blocks/{number}")));
    }
    if let Ok(hash) = text.parse::<B256>() {
        return Ok(go(&match node.block_by_hash(hash).await? {
            Some(block) => format!("/explorer/blocks/{}", block.header.number),
            None => format!("/explorer/transactions/{hash}"),
        }));
    }
    if let Ok(address) = text.parse::<Address>() {
        return Ok(go(&format!("/explorer/addresses/{address}")));
    }
    let named =
        interfaces::all().iter().find(|interface| interface.name.eq_ignore_ascii_case(text));
    if let Some(interface) = named {
        return Ok(go(&format!("/explorer/contracts/{}", interface.name)));
    }
    let content = html! {
        (ways("/explorer/find"))
        (empty(
            "Nothing of this name",
            "Enter a block’s number, a transaction’s or block’s hash (0x and 64 hexadecimal digits), an address (0x and 40), or a contract’s name.",
            Some(("/explorer", "Newest blocks")),
        ))
    };
    Ok(visitor.page("Find", content))
}

/// `GET /explorer/addresses/{address}`.
pub(crate) async fn one(
    visitor: Visitor,
    Path(address): Path<String>,
    asked: Asked,
) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let address: Address = address.parse().map_err(|_| Fault::NotFound)?;
    if let Some(contract) = deployment.contract_at(&address) {
        return Ok(go(&format!("/explorer/contracts/{}", contract.name())));
    }
    let head = node.head().await?;
    let (range, _) = Range::of(None, asked.number("to", "to block")?, head);
    let logs = naming(node, deployment, address, range).await?;
    let shown = &logs[..logs.len().min(ENTRIES)];
    let mut addresses = vec![address];
    let events: Vec<said::Event> = shown
        .iter()
        .map(|log| {
            let event = said::event(deployment, &log.inner);
            people::of_event(&event, &mut addresses);
            event
        })
        .collect();
    let people = People::of(&visitor, addresses).await;
    let rows: Vec<Vec<Markup>> = shown
        .iter()
        .zip(&events)
        .map(|(log, event)| {
            vec![
                html! { (block_link(log.block_number.unwrap_or_default())) @if let Some(time) = log.block_timestamp { br; (times::stamp(time)) } },
                html! { @if let Some(contract) = event.contract { (contract) ": " } strong { (event.name) } @if let Some(sentence) = &event.sentence { br; (sentence) } },
                arguments(&people, &event.arguments),
                html! { @if let Some(hash) = log.transaction_hash { (transaction_link(hash)) } },
            ]
        })
        .collect();
    let size = node.code_bytes(address).await?;
    let about = [
        (
            "Who".to_owned(),
            html! { (people.name(address)) @if let Some(what) = people.what(address) { ", " (what) } @else { ", nobody whom the registry knows now" } },
        ),
        ("Address".to_owned(), code(&address.to_string())),
        ("Transactions sent".to_owned(), html! { (thousands(node.next_nonce(address).await?)) }),
        ("Ether".to_owned(), html! { (ether(node.balance(address).await?)) }),
        (
            "Code".to_owned(),
            html! { @if size == 0 { "none: a key’s address" } @else { (thousands(size as u64)) " bytes: an account or a contract" } },
        ),
    ];
    let older =
        range.from.checked_sub(1).map(|to| format!("/explorer/addresses/{address}?to={to}"));
    let newer = (range.to < head).then(|| format!("/explorer/addresses/{address}"));
    let content = html! {
        (ways("/explorer/addresses"))
        (card("", facts(&about)))
        @if rows.is_empty() {
            (empty("Not named in these blocks", &format!("No contract of the network announced anything of this address in blocks {} to {}.", range.from, range.to), None))
        } @else {
            (table(
                &format!("Where it is named in blocks {} to {}, the newest first{}", thousands(range.from), thousands(range.to),
                    if logs.len() > shown.len() { format!(" ({} of {})", shown.len(), logs.len()) } else { String::new() }),
                &["Block", "Event", "Of what", "Transaction"],
                &rows,
            ))
        }
        (pages(newer.as_deref().map(|href| (href, "Newest")), older.as_deref().map(|href| (href, "Older"))))
    };
    Ok(visitor.page(&people.name(address), content))
}

/// What the network's contracts announced of an address, and what it announced itself, the newest first.
pub(crate) async fn naming(
    node: Node<'_>,
    deployment: &Deployment,
    address: Address,
    range: Range,
) -> Result<Vec<Log>, Fault> {
    let topic = address.into_word();
    // It may be any of the three values of an event that can be searched for.
    let mut filters: Vec<Value> =
        [json!([null, topic]), json!([null, null, topic]), json!([null, null, null, topic])]
            .into_iter()
            .map(|topics| {
                let mut filter = range.filter();
                filter["address"] = json!(deployment.addresses());
                filter["topics"] = topics;
                filter
            })
            .collect();
    let mut own = range.filter();
    own["address"] = json!(address);
    filters.push(own);
    let mut found: Vec<Log> = Vec::new();
    for filter in filters {
        found.extend(node.logs(filter).await?);
    }
    found.sort_by_key(|log| std::cmp::Reverse((log.block_number, log.log_index)));
    found.dedup_by_key(|log| (log.block_number, log.log_index));
    Ok(found)
}
