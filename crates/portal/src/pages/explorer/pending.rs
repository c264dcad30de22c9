//! Transactions before validation: what waits for a block, and how each would fare now.

use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use axum::response::Response;
use futures_util::future::join_all;
use maud::{Markup, html};

use super::{
    asked::Asked,
    chain,
    checks::{checks, verdict},
    node::NodeError,
    people::{self, People},
    said,
    show::{call_line, outcome, thousands, transaction_link, ways, who},
    transactions::facts_of,
};
use crate::{
    design::parts::{Tone, badge, empty, notice, table},
    fault::Fault,
    visitor::Visitor,
};

/// How many are fetched: beyond that they are asked for by sender.
const FETCHED_MAX: u64 = 500;

/// How many are shown, each of which is run on the next block's state.
const SHOWN_MAX: usize = 50;

/// JSON-RPC's code for a method that is not there.
const METHOD_NOT_FOUND: i64 = -32_601;

/// What is said where the chain keeps to itself what waits.
fn not_told(visitor: &Visitor) -> Response {
    let content = html! {
        (ways("/explorer/pending"))
        (empty(
            "This chain does not tell what waits",
            "The endpoint that the gateway is configured for has no txpool methods, as most public ones have not. A node of one’s own tells it.",
            Some(("/explorer", "Newest blocks")),
        ))
    };
    visitor.page("Before validation", content)
}

/// `GET /explorer/pending`: what waits, of everybody or of `?sender=`.
pub(crate) async fn list(visitor: Visitor, asked: Asked) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let sender: Option<Address> = match asked.text("sender") {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            Fault::Unusable(
                "a sender is an address: 0x and 40 hexadecimal digits; go back and enter one"
                    .into(),
            )
        })?),
    };
    let waiting = match node.waiting(sender, FETCHED_MAX).await {
        Ok(waiting) => waiting,
        Err(NodeError::Refused { code: METHOD_NOT_FOUND, .. }) => return Ok(not_told(&visitor)),
        Err(error) => return Err(error.into()),
    };
    let shown = &waiting.transactions[..waiting.transactions.len().min(SHOWN_MAX)];
    let mut named = Vec::new();
    let calls: Vec<said::Call> = shown
        .iter()
        .map(|(transaction, _)| {
            let envelope = transaction.inner.inner();
            let call = said::call(deployment, envelope.to(), envelope.input());
            people::of_call(&call, &mut named);
            named.push(transaction.inner.signer());
            call
        })
        .collect();
    let people = People::of(&visitor, named).await;
    let mut looked_at = Vec::with_capacity(shown.len());
    for (transaction, _) in shown {
        looked_at.push(facts_of(&visitor, node, deployment, transaction));
    }
    let facts = join_all(looked_at).await;
    let rows: Vec<Vec<Markup>> = shown
        .iter()
        .zip(&calls)
        .zip(facts)
        .map(|(((transaction, is_ready), call), facts)| {
            let envelope = transaction.inner.inner();
            let said = facts.map(|facts| verdict(&checks(envelope, &facts)));
            vec![
                transaction_link(*envelope.tx_hash()),
                who(&people, transaction.inner.signer()),
                html! { (envelope.nonce()) @if !is_ready { " " (badge(Tone::Warning, "waits for an earlier one")) } },
                call_line(&people, call),
                html! { (thousands(envelope.gas_limit())) },
                html! {
                    @match said {
                        Ok((worst, sentence)) => { (outcome(worst)) " " small { (sentence) } }
                        Err(_) => { "not known now" }
                    }
                },
            ]
        })
        .collect();
    let content = html! {
        (ways("/explorer/pending"))
        p { "Transactions as they stand before any block holds them: what they would do, and what the checks say now. Load the page again to see them move on." }
        @if waiting.in_all > FETCHED_MAX && sender.is_none() {
            (notice(Tone::Warning, &format!("{} transactions wait", thousands(waiting.in_all)), html! {
                p { "They are too many for a page. Enter a sender's address to see theirs." }
            }))
        }
        @if sender.is_some() || waiting.in_all > SHOWN_MAX as u64 {
            form method="get" action="/explorer/pending" class="fields inline" {
                div class="field" {
                    label for="f-sender" { "Only of this sender" }
                    input id="f-sender" name="sender" value=(sender.map(|sender| sender.to_string()).unwrap_or_default()) spellcheck="false";
                }
                p class="actions" { button type="submit" { "Show" } }
            }
        }
        @if !rows.is_empty() {
            (table("Transactions before validation", &["Transaction", "Sender", "Order", "Call", "Gas limit", "As things stand"], &rows))
            @if waiting.transactions.len() > rows.len() { p { "The first " (rows.len()) " of " (waiting.transactions.len()) " are shown." } }
        } @else if waiting.in_all <= FETCHED_MAX || sender.is_some() {
            (empty(
                "No transaction waits",
                "Where blocks are made at once, transactions wait for a blink only. Begin the gateway or the demonstration with “--seal-every 30” and they wait long enough to be looked at.",
                Some(("/explorer", "Newest blocks")),
            ))
        }
    };
    Ok(visitor.page("Before validation", content))
}
