//! Blocks: the newest first, and one with its transactions.

use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use alloy_rpc_types_eth::Block;
use axum::{extract::Path, response::Response};
use maud::{Markup, html};

use super::{
    asked::Asked,
    chain, nothing_yet,
    people::{self, People},
    said,
    show::{ago, block_link, call_line, thousands, transaction_link, ways, when, who},
};
use crate::{
    design::parts::{Tone, badge, card, code, facts, grid, more, notice, pages, table, tile},
    fault::Fault,
    times,
    visitor::Visitor,
};

/// Blocks on a page.
const BLOCKS: u64 = 25;

/// Transactions of a block on a page.
const TRANSACTIONS: usize = 50;

/// `GET /explorer`: the newest blocks, or those before `?before=`.
pub(crate) async fn list(visitor: Visitor, asked: Asked) -> Result<Response, Fault> {
    let (node, _) = chain(&visitor)?;
    let head = node.head().await?;
    let before =
        asked.number("before", "before block")?.filter(|before| (1..=head).contains(before));
    let last = before.map_or(head, |before| before - 1);
    let blocks = node.blocks(last, BLOCKS).await?;
    let now_ms = visitor.portal.home().now_ms();
    let waiting = node.waiting(None, 0).await.map_or(0, |waiting| waiting.in_all);
    let authors: Vec<Address> = blocks.iter().map(|block| block.header.beneficiary).collect();
    let authors = People::of(&visitor, authors).await;
    let rows: Vec<Vec<Markup>> = blocks.iter().map(|block| row(&authors, block, now_ms)).collect();
    let oldest = blocks.last().map_or(0, |block| block.header.number);
    let newer = last.saturating_add(BLOCKS).saturating_add(1);
    let newer = (last < head).then(|| {
        if newer > head { "/explorer".into() } else { format!("/explorer?before={newer}") }
    });
    let older = (oldest > 0).then(|| format!("/explorer?before={oldest}"));
    let newest = blocks.first().filter(|_| last == head);
    let content = html! {
        (ways("/explorer"))
        @if let Some(newest) = newest {
            (grid(html! {
                (tile(&format!("/explorer/blocks/{head}"), &thousands(head), "the newest block", Tone::Plain))
                (tile(&format!("/explorer/blocks/{head}"), &ago(newest.header.timestamp, now_ms), "when it was made", Tone::Plain))
                (tile("/explorer/pending", &thousands(waiting), "transactions before validation", if waiting == 0 { Tone::Plain } else { Tone::Warning }))
            }))
            @if head == 0 {
                (notice(Tone::Plain, "Only the beginning is here", html! {
                    p { "No transaction was made yet. As soon as somebody grants, issues or anchors something, its block stands here." }
                }))
            }
        }
        @if rows.is_empty() {
            (nothing_yet("No blocks here", "There is no block before that one."))
        } @else {
            (table("Blocks, the newest first", &["Block", "Made", "Transactions", "Gas used", "Of its limit", "By"], &rows))
        }
        (pages(newer.as_deref().map(|href| (href, "Newer blocks")), older.as_deref().map(|href| (href, "Older blocks"))))
    };
    Ok(visitor.page("Explorer", content))
}

fn row(people: &People, block: &Block, now_ms: u64) -> Vec<Markup> {
    let header = &block.header;
    let by = header.beneficiary;
    vec![
        block_link(header.number),
        when(header.timestamp, now_ms),
        html! { (block.transactions.len()) },
        html! { (thousands(header.gas_used)) },
        html! { (share(header.gas_used, header.gas_limit)) },
        html! { @if by == Address::ZERO { "–" } @else { (who(people, by)) } },
    ]
}

/// A part in percent, with one decimal.
fn share(part: u64, whole: u64) -> String {
    let per_mille = u128::from(part) * 1_000 / u128::from(whole.max(1));
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

/// `GET /explorer/blocks/{number}`: one block, with its transactions from `?from=` on.
pub(crate) async fn one(
    visitor: Visitor,
    Path(number): Path<String>,
    asked: Asked,
) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let number: u64 = number.parse().map_err(|_| Fault::NotFound)?;
    let block = node.block(number, true).await?.ok_or(Fault::NotFound)?;
    let head = node.head().await?;
    let receipts = node.receipts(number).await?;
    let all = block.transactions.as_transactions().unwrap_or_default();
    let first = asked.number("from", "from transaction")?.unwrap_or(0);
    let first = usize::try_from(first).unwrap_or(usize::MAX).min(all.len());
    let shown = &all[first..all.len().min(first + TRANSACTIONS)];

    let mut named = vec![block.header.beneficiary];
    let calls: Vec<said::Call> = shown
        .iter()
        .map(|transaction| {
            let envelope = transaction.inner.inner();
            let call = said::call(deployment, envelope.to(), envelope.input());
            people::of_call(&call, &mut named);
            named.push(transaction.inner.signer());
            call
        })
        .collect();
    let people = People::of(&visitor, named).await;
    let rows: Vec<Vec<Markup>> = shown
        .iter()
        .zip(&calls)
        .enumerate()
        .map(|(index, (transaction, call))| {
            let receipt = receipts.get(first + index);
            vec![
                html! { (first + index) },
                transaction_link(*transaction.inner.inner().tx_hash()),
                who(&people, transaction.inner.signer()),
                call_line(&people, call),
                html! { @if let Some(receipt) = receipt { (thousands(receipt.gas_used)) } },
                html! {
                    @match receipt.map(|receipt| receipt.status()) {
                        Some(true) => { (badge(Tone::Good, "done")) }
                        Some(false) => { (badge(Tone::Bad, "refused")) }
                        None => {}
                    }
                },
            ]
        })
        .collect();
    let header = &block.header;
    let about = [
        ("Made".to_owned(), when(header.timestamp, visitor.portal.home().now_ms())),
        ("Transactions".to_owned(), html! { (all.len()) }),
        (
            "Gas used".to_owned(),
            html! { (thousands(header.gas_used)) " of " (thousands(header.gas_limit)) " (" (share(header.gas_used, header.gas_limit)) ")" },
        ),
        (
            "Least price of gas".to_owned(),
            html! { (thousands(header.base_fee_per_gas.unwrap_or_default())) " wei" },
        ),
        (
            "Made by".to_owned(),
            html! { @if header.beneficiary == Address::ZERO { "nobody in particular" } @else { (who(&people, header.beneficiary)) } },
        ),
        ("Hash".to_owned(), code(&header.hash.to_string())),
    ];
    let roots = [
        ("Block before".to_owned(), code(&header.parent_hash.to_string())),
        ("State".to_owned(), code(&header.state_root.to_string())),
        ("Transactions".to_owned(), code(&header.transactions_root.to_string())),
        ("Receipts".to_owned(), code(&header.receipts_root.to_string())),
        (
            "Size".to_owned(),
            html! { (header.size.map_or_else(|| "not told".into(), |size| format!("{size} bytes"))) },
        ),
        ("Extra data".to_owned(), code(&header.extra_data.to_string())),
    ];
    let (before, after) =
        (number.checked_sub(1), (number < head).then_some(number.saturating_add(1)));
    let link = |number: Option<u64>| number.map(|number| format!("/explorer/blocks/{number}"));
    let (before, after) = (link(before), link(after));
    let previous = (first > 0)
        .then(|| format!("/explorer/blocks/{number}?from={}", first.saturating_sub(TRANSACTIONS)));
    let next = (first + shown.len() < all.len())
        .then(|| format!("/explorer/blocks/{number}?from={}", first + TRANSACTIONS));
    let content = html! {
        (ways("/explorer/blocks"))
        (pages(before.as_deref().map(|href| (href, "Block before")), after.as_deref().map(|href| (href, "Block after"))))
        (card("", html! { (facts(&about)) (more("What the block commits to", facts(&roots))) }))
        @if all.is_empty() {
            (nothing_yet("No transactions", if number == 0 { "This is the beginning: accounts, and no transactions." } else { "This block holds none." }))
        } @else {
            (table(
                &format!("Transactions {} to {} of {}", first, first + shown.len().saturating_sub(1), all.len()),
                &["Place", "Transaction", "Sender", "Call", "Gas used", "Outcome"],
                &rows,
            ))
        }
        (pages(previous.as_deref().map(|href| (href, "Earlier in this block")), next.as_deref().map(|href| (href, "Later in this block"))))
    };
    let title = format!("Block {}, {}", thousands(number), times::day(header.timestamp));
    Ok(visitor.page(&title, content))
}
