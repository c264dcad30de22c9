//! Gas by function: as it was measured when the contracts were built, and as it is on this chain.

use std::{collections::BTreeMap, sync::LazyLock};

use alloy_consensus::Transaction as _;
use axum::response::Response;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    asked::Asked,
    chain,
    node::NodeError,
    said::{self, Call},
    show::{thousands, ways},
};
use crate::{
    design::parts::{card, empty, field, more, table},
    fault::Fault,
    visitor::Visitor,
};

/// An operation that was measured.
#[derive(Debug, Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) contract: String,
    pub(crate) function: String,
    pub(crate) gas: u64,
    intrinsic: u64,
    calldata_gas: u64,
    execution: u64,
}

static MEASURED: LazyLock<Vec<Measured>> = LazyLock::new(|| {
    let text = include_str!("../../../../../contracts/gas.json");
    serde_json::from_str(text).expect("the committed measurements are JSON of this form")
});

/// How many blocks are looked at, and at most.
const BLOCKS: u64 = 100;
const BLOCKS_MAX: u64 = 400;

/// How many transactions are looked at: no further block is, once there are so many.
const TRANSACTIONS_MAX: usize = 5_000;

/// A transaction's gas in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// What any transaction costs.
    pub(crate) intrinsic: u64,
    /// What its data costs.
    pub(crate) calldata: u64,
    /// The rest, after refunds.
    pub(crate) execution: u64,
}

/// Splits the gas that a transaction used.
///
/// # Source
///
/// [EIP-2028](https://eips.ethereum.org/EIPS/eip-2028) for data, [EIP-3860](https://eips.ethereum.org/EIPS/eip-3860)
/// for the words of what deploys.
pub(crate) fn split(is_create: bool, input: &[u8], used: u64) -> Split {
    let price = |byte: &u8| if *byte == 0 { 4 } else { 16 };
    let words = if is_create { 2 * (input.len() as u64).div_ceil(32) } else { 0 };
    let intrinsic = if is_create { 53_000 } else { 21_000 };
    let calldata = input.iter().map(price).sum::<u64>() + words;
    Split { intrinsic, calldata, execution: used.saturating_sub(intrinsic + calldata) }
}

/// The operations that were measured of a function; those of the only call of an account, if it is one.
pub(crate) fn measured_for(call: &Call) -> Vec<&'static Measured> {
    let (contract, function) = function_of(call);
    let of_function =
        |of: &&Measured| Some(of.contract.as_str()) == contract && of.function == function;
    MEASURED.iter().filter(of_function).collect()
}

/// What was measured of a function of a contract, from the least to the most gas.
pub(crate) fn range(contract: &str, function: &str) -> Option<(u64, u64)> {
    let of = MEASURED.iter().filter(|of| of.contract == contract && of.function == function);
    let gas: Vec<u64> = of.map(|of| of.gas).collect();
    Some((*gas.iter().min()?, *gas.iter().max()?))
}

/// Which function a transaction is for: through an account, the one that the account calls.
fn function_of(call: &Call) -> (Option<&'static str>, &str) {
    match call.inner.as_slice() {
        [only] if only.contract.is_some() => (only.contract, &only.function),
        _ => (call.contract, &call.function),
    }
}

/// `GET /explorer/gas`: by function, of the newest `?blocks=`.
pub(crate) async fn list(visitor: Visitor, asked: Asked) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let asked_for = asked.number("blocks", "blocks")?.unwrap_or(BLOCKS).clamp(1, BLOCKS_MAX);
    let head = node.head().await?;
    let first = head.saturating_sub(asked_for - 1);
    let mut used: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut refused = 0_u64;
    let mut count = 0;
    let mut looked_at = 0_u64;
    let mut found = stream::iter((first..=head).rev())
        .map(|number| async move {
            let block = node.block(number, true).await?;
            let is_empty = block.as_ref().is_none_or(|block| block.transactions.is_empty());
            let receipts = if is_empty { Vec::new() } else { node.receipts(number).await? };
            Ok::<_, NodeError>((block, receipts))
        })
        .buffered(4);
    while let Some((block, receipts)) = found.try_next().await? {
        looked_at += 1;
        let Some(block) = block else { continue };
        let all = block.transactions.as_transactions().unwrap_or_default();
        for (transaction, receipt) in all.iter().zip(&receipts) {
            count += 1;
            if !receipt.status() {
                // What a refusal takes says nothing of the function.
                refused += 1;
                continue;
            }
            let envelope = transaction.inner.inner();
            let call = said::call(deployment, envelope.to(), envelope.input());
            used.entry(label(&call)).or_default().push(receipt.gas_used);
        }
        if count >= TRANSACTIONS_MAX {
            break;
        }
    }
    let mut rows: Vec<(u64, Vec<Markup>)> = used
        .into_iter()
        .map(|(function, mut gas)| {
            gas.sort_unstable();
            let (least, most) = (gas[0], gas[gas.len() - 1]);
            let total: u64 = gas.iter().sum();
            let middle = gas[gas.len() / 2];
            let plain = function.split(" (").next().unwrap_or_default();
            let measured =
                plain.split_once('.').and_then(|(contract, function)| range(contract, function));
            let row = vec![
                html! { (function) },
                html! { (gas.len()) },
                html! { (thousands(least)) },
                html! { (thousands(middle)) },
                html! { (thousands(most)) },
                html! { (thousands(total)) },
                html! {
                    @match measured {
                        Some((least, most)) if least == most => { (thousands(least)) }
                        Some((least, most)) => { (thousands(least)) " to " (thousands(most)) }
                        None => { "–" }
                    }
                },
            ];
            (total, row)
        })
        .collect();
    rows.sort_by_key(|(total, _)| std::cmp::Reverse(*total));
    let rows: Vec<Vec<Markup>> = rows.into_iter().map(|(_, row)| row).collect();
    let content = html! {
        (ways("/explorer/gas"))
        p { "Gas is what work on the chain is counted in. On this network it costs nobody money; on a public chain it would." }
        form method="get" action="/explorer/gas" class="fields inline" {
            (field("blocks", "Newest blocks to look at", "number", &asked_for.to_string(), &format!("at most {BLOCKS_MAX}")))
            p class="actions" { button type="submit" { "Look" } }
        }
        @if rows.is_empty() {
            (empty("No transactions in these blocks", "Look at more blocks, or come back when somebody has done something.", Some(("/explorer", "Newest blocks"))))
        } @else {
            (table(
                &format!("Gas by function, of {} transactions in the newest {} blocks{}", thousands(count as u64), looked_at,
                    if refused > 0 { format!("; {refused} were refused and are left out") } else { String::new() }),
                &["Function", "Times", "Least", "Middle", "Most", "In all", "When the contracts were built"],
                &rows,
            ))
        }
        (card("As measured when the contracts were built", html! {
            p { "Every operation was executed by the contracts' own tests, and its receipt read. The cost study uses the same numbers." }
            @for (contract, operations) in by_contract() {
                (more(&format!("{contract}: {} operations", operations.len()), table(
                    &format!("Gas of {contract}"),
                    &["Operation", "Function", "Gas", "As a transaction", "For data", "For what it does"],
                    &operations.iter().map(|of| vec![
                        html! { (of.name) },
                        html! { (of.function) },
                        html! { (thousands(of.gas)) },
                        html! { (thousands(of.intrinsic)) },
                        html! { (thousands(of.calldata_gas)) },
                        html! { (thousands(of.execution)) },
                    ]).collect::<Vec<_>>(),
                )))
            }
        }))
    };
    Ok(visitor.page("Gas by function", content))
}

fn by_contract() -> BTreeMap<&'static str, Vec<&'static Measured>> {
    let mut found: BTreeMap<&str, Vec<&Measured>> = BTreeMap::new();
    for of in MEASURED.iter() {
        found.entry(&of.contract).or_default().push(of);
    }
    found
}

/// What a transaction is counted as.
fn label(call: &Call) -> String {
    match (function_of(call), call.inner.len()) {
        ((Some(contract), function), 1) => format!("{contract}.{function} (through an account)"),
        ((Some(contract), function), 0) if call.is_known => format!("{contract}.{function}"),
        ((Some(contract), function), inner) if inner > 1 => {
            format!("{contract}.{function} ({inner} calls)")
        }
        _ if call.to.is_none() => "a new contract".into(),
        _ => "other calls".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gas_is_split_as_the_measurements_split_it() {
        for of in MEASURED.iter().filter(|of| of.intrinsic > 0) {
            assert_eq!(of.gas, of.intrinsic + of.calldata_gas + of.execution, "{}", of.name);
        }
        assert_eq!(
            split(false, &[0, 1], 30_000),
            Split { intrinsic: 21_000, calldata: 20, execution: 8_980 }
        );
        assert_eq!(
            split(true, &[1; 33], 60_000),
            Split { intrinsic: 53_000, calldata: 532, execution: 6_468 }
        );
    }

    #[test]
    fn what_was_measured_is_found_by_function() {
        let (least, most) = range("Consents", "grant").unwrap();
        assert!((21_000..=most).contains(&least));
        assert_eq!(range("Consents", "nothing"), None);
    }
}
