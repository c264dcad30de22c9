//! One transaction: before its block, with each check's outcome, or after it, with what it did.

use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::{Transaction, TransactionReceipt};
use axum::{extract::Path, response::Response};
use bindings::{ContractError, Deployment};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    chain,
    checks::{Check, Facts, Outcome, Simulation, checks, verdict},
    gas,
    node::{Node, NodeError},
    people::{self, People},
    said,
    show::{block_link, bytes, call, ether, event, outcome, thousands, ways, when, who},
};
use crate::{
    design::parts::{Tone, badge, card, code, empty, facts, more, notice, table},
    fault::Fault,
    visitor::Visitor,
};

/// How many events of one transaction are shown.
const EVENTS_MAX: usize = 200;

/// `GET /explorer/transactions/{hash}`.
pub(crate) async fn one(visitor: Visitor, Path(hash): Path<String>) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let hash: B256 = hash.parse().map_err(|_| Fault::NotFound)?;
    let Some(transaction) = node.transaction(hash).await? else {
        let content = html! {
            (ways("/explorer/transactions"))
            (empty(
                "No such transaction here",
                "It may have waited and been dropped, because it could not run any more; or it was never sent to this gateway, or is on another chain.",
                Some(("/explorer/pending", "What waits now")),
            ))
        };
        return Ok(visitor.page_with(axum::http::StatusCode::NOT_FOUND, "Transaction", content));
    };
    match node.receipt(hash).await? {
        Some(receipt) => after(&visitor, node, deployment, &transaction, &receipt).await,
        None => before(&visitor, node, deployment, &transaction).await,
    }
}

/// What stands in every transaction, sealed or not.
fn common(people: &People, envelope: &TxEnvelope, sender: Address) -> Vec<(String, Markup)> {
    vec![
        ("Sender".to_owned(), who(people, sender)),
        ("Order (nonce)".to_owned(), html! { (envelope.nonce()) }),
        ("Gas limit".to_owned(), html! { (thousands(envelope.gas_limit())) }),
        (
            "Price".to_owned(),
            html! {
                "at most " (thousands(envelope.max_fee_per_gas())) " wei for each gas, of which "
                (thousands(envelope.max_priority_fee_per_gas().unwrap_or_default())) " for whoever makes the block"
            },
        ),
        ("Ether sent along".to_owned(), html! { (ether(envelope.value())) }),
        ("Hash".to_owned(), code(&envelope.tx_hash().to_string())),
    ]
}

fn raw(envelope: &TxEnvelope) -> Markup {
    let input = envelope.input();
    html! {
        @if input.is_empty() { p { "It carries no data." } }
        @else { (bytes(&input.to_string(), input.len())) }
    }
}

/// A transaction as it stands before its block.
async fn before(
    visitor: &Visitor,
    node: Node<'_>,
    deployment: &Deployment,
    transaction: &Transaction,
) -> Result<Response, Fault> {
    let (envelope, sender) = (transaction.inner.inner(), transaction.inner.signer());
    let said = said::call(deployment, envelope.to(), envelope.input());
    let mut named = vec![sender];
    people::of_call(&said, &mut named);
    let people = People::of(visitor, named).await;
    let facts_now = facts_of(visitor, node, deployment, transaction).await?;
    let checks = checks(envelope, &facts_now);
    let (worst, sentence) = verdict(&checks);
    let content = html! {
        (ways("/explorer/transactions"))
        (notice(tone(worst), "Before validation: not in any block yet", html! { p { (sentence) } }))
        (card("What it would do", call(&people, &said)))
        (card("Checks, as they would end now", checks_table(&checks)))
        (card("The transaction", html! {
            (facts(&common(&people, envelope, sender)))
            (more("What is signed, as it stands", raw(envelope)))
        }))
    };
    Ok(visitor.page("Transaction before validation", content))
}

/// What an outcome is to whoever reads it.
pub(crate) const fn tone(of: Outcome) -> Tone {
    match of {
        Outcome::Passes => Tone::Good,
        Outcome::Waits => Tone::Warning,
        Outcome::Unknown => Tone::Plain,
        Outcome::Fails => Tone::Bad,
    }
}

fn checks_table(checks: &[Check]) -> Markup {
    let rows: Vec<Vec<Markup>> = checks
        .iter()
        .map(|check| vec![html! { (check.name) }, outcome(check.outcome), html! { (check.reason) }])
        .collect();
    table(
        "Each check, in the order in which every node makes them",
        &["Check", "Outcome", "Why"],
        &rows,
    )
}

/// What the chain says of a transaction that waits.
pub(crate) async fn facts_of(
    visitor: &Visitor,
    node: Node<'_>,
    deployment: &Deployment,
    transaction: &Transaction,
) -> Result<Facts, Fault> {
    let (envelope, sender) = (transaction.inner.inner(), transaction.inner.signer());
    let next_nonce = node.next_nonce(sender).await?;
    let balance = node.balance(sender).await?;
    let base_fee = node.next_base_fee().await?;
    let head = node.head().await?;
    let block_gas = node.block(head, false).await?.map_or(0, |block| block.header.gas_limit);
    let simulation = simulate(node, deployment, envelope, sender).await;
    Ok(Facts {
        chain_id: visitor.portal.home().chain_id(),
        sender,
        hash: *envelope.tx_hash(),
        next_nonce,
        balance,
        base_fee,
        block_gas,
        simulation,
    })
}

/// Runs a transaction on the next block's state, changing nothing.
async fn simulate(
    node: Node<'_>,
    deployment: &Deployment,
    envelope: &TxEnvelope,
    sender: Address,
) -> Simulation {
    let request = request(envelope, sender);
    match node.call(request.clone(), "pending").await {
        Ok(_) => Simulation::Succeeds { gas: node.estimate(without_gas(request)).await.ok() },
        Err(NodeError::Unusable) => Simulation::Unknown,
        Err(NodeError::Refused { data: Some(data), .. }) => {
            Simulation::Refused(why(deployment, envelope.to(), envelope.input(), &data))
        }
        Err(NodeError::Refused { message, .. }) => {
            Simulation::Fails(message.chars().take(200).collect())
        }
    }
}

/// Why a contract refuses, in words.
pub(crate) fn why(
    deployment: &Deployment,
    to: Option<Address>,
    input: &[u8],
    data: &[u8],
) -> String {
    let called = to.map(|to| bindings::called(deployment, &to, input)).unwrap_or_default();
    ContractError::decode_from(&called, data).to_string()
}

fn request(envelope: &TxEnvelope, sender: Address) -> Value {
    let mut request = json!({
        "from": sender,
        "value": envelope.value(),
        "input": envelope.input(),
        "gas": U256::from(envelope.gas_limit()),
    });
    if let Some(to) = envelope.to() {
        request["to"] = json!(to);
    }
    request
}

fn without_gas(mut request: Value) -> Value {
    if let Some(request) = request.as_object_mut() {
        request.remove("gas");
    }
    request
}

/// A transaction with what it did.
async fn after(
    visitor: &Visitor,
    node: Node<'_>,
    deployment: &Deployment,
    transaction: &Transaction,
    receipt: &TransactionReceipt,
) -> Result<Response, Fault> {
    let (envelope, sender) = (transaction.inner.inner(), transaction.inner.signer());
    let said = said::call(deployment, envelope.to(), envelope.input());
    let logs = receipt.logs();
    let events: Vec<said::Event> =
        logs.iter().take(EVENTS_MAX).map(|log| said::event(deployment, &log.inner)).collect();
    let mut named = vec![sender];
    people::of_call(&said, &mut named);
    events.iter().for_each(|event| people::of_event(event, &mut named));
    let people = People::of(visitor, named).await;
    let number = receipt.block_number.ok_or(Fault::Unavailable)?;
    let block = node.block(number, false).await?.ok_or(Fault::Unavailable)?;
    let confirmations = node.head().await?.saturating_sub(number);
    let refusal = if receipt.status() {
        None
    } else {
        Some(refusal(node, deployment, envelope, sender, number).await)
    };

    let mut about = vec![
        (
            "Outcome".to_owned(),
            html! {
                @if receipt.status() { (badge(Tone::Good, "done")) } @else { (badge(Tone::Bad, "refused, nothing was changed")) }
            },
        ),
        (
            "Block".to_owned(),
            html! {
                (block_link(number)) ", place " (receipt.transaction_index.unwrap_or_default()) ", " (thousands(confirmations)) " blocks since"
            },
        ),
        ("Made".to_owned(), when(block.header.timestamp, visitor.portal.home().now_ms())),
    ];
    about.extend(common(&people, envelope, sender));
    if let Some(created) = receipt.contract_address {
        about.push(("New contract".to_owned(), who(&people, created)));
    }
    let content = html! {
        (ways("/explorer/transactions"))
        @if let Some(refusal) = &refusal {
            (notice(Tone::Bad, "The contract refused", html! { p { (refusal) } }))
        }
        (card("What it did", call(&people, &said)))
        (card("What was announced", html! {
            @if events.is_empty() { p { "No contract announced anything." } }
            @else { ol class="calls" { @for said in &events { li { (event(&people, said)) } } } }
            @if logs.len() > events.len() { p { "And " (logs.len() - events.len()) " more events." } }
        }))
        (card("Gas", gas_used(&said, envelope, receipt)))
        (card("The transaction", html! {
            (facts(&about))
            (more("What was signed, as it stands", raw(envelope)))
        }))
    };
    Ok(visitor.page("Transaction", content))
}

/// Why a sealed transaction was refused: it is run again on the state before its block.
async fn refusal(
    node: Node<'_>,
    deployment: &Deployment,
    envelope: &TxEnvelope,
    sender: Address,
    number: u64,
) -> String {
    let before = format!("{:#x}", number.saturating_sub(1));
    match node.call(request(envelope, sender), &before).await {
        Err(NodeError::Refused { data: Some(data), .. }) => {
            why(deployment, envelope.to(), envelope.input(), &data)
        }
        Err(NodeError::Refused { message, .. }) if message.contains("no longer") => {
            "The state before its block is no longer kept, so that it cannot be run again to tell why.".into()
        }
        Err(NodeError::Refused { message, .. }) => message.chars().take(200).collect(),
        Ok(_) => "Something before it in the same block was in its way: on the state before the block it would have run.".into(),
        Err(NodeError::Unusable) => "The chain could not run it again to tell why; load this page again.".into(),
    }
}

fn gas_used(said: &said::Call, envelope: &TxEnvelope, receipt: &TransactionReceipt) -> Markup {
    let used = receipt.gas_used;
    let split = gas::split(envelope.is_create(), envelope.input(), used);
    let price = receipt.effective_gas_price;
    let rows = [
        (
            "Used".to_owned(),
            html! { (thousands(used)) " of at most " (thousands(envelope.gas_limit())) },
        ),
        ("For being a transaction".to_owned(), html! { (thousands(split.intrinsic)) }),
        ("For its data".to_owned(), html! { (thousands(split.calldata)) }),
        (
            "For what it did".to_owned(),
            html! { (thousands(split.execution)) " (refunds taken off)" },
        ),
        ("Price".to_owned(), html! { (thousands(price)) " wei for each" }),
        ("Cost".to_owned(), html! { (ether(U256::from(used).saturating_mul(U256::from(price)))) }),
    ];
    let measured = gas::measured_for(said);
    html! {
        (facts(&rows))
        @if !measured.is_empty() {
            (table(
                "What this function took when the contracts were measured",
                &["Operation", "Gas"],
                &measured.iter().map(|of| vec![html! { (of.name) }, html! { (thousands(of.gas)) }]).collect::<Vec<_>>(),
            ))
        }
    }
}
