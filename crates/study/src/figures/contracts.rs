//! What the contracts' operations, their deployment and whole workflows take, and transactions that wait.

use crate::{
    results::{Operation, Results},
    tally::Gas,
};

use super::{
    DrawError, Figure,
    bars::{BarChart, Marks, Panel},
    canvas::{Colour, palette},
    scale::{amount, count},
    sheet::Words,
    table::TableFigure,
};

/// What gas pays for, as figures colour it.
const PARTS: [(Colour, &str); 3] = [
    (palette::SKY, "intrinsic: 21,000, and 32,000 more to deploy"),
    (palette::ORANGE, "call data"),
    (palette::BLUE, "execution, after refunds"),
];

const SOURCE: &str =
    "Gas: receipts of real transactions on the embedded chain, contracts/gas.json.";

/// Transactions as they stand before their block: the paper's Fig. 4.
pub(super) fn pending(results: &Results) -> Result<Option<Figure>, DrawError> {
    let pending = &results.pending;
    if pending.is_empty() {
        return Ok(None);
    }
    let words = Words {
        title: "Transactions before they are validated".into(),
        subtitle:
            "Signed, and waiting for their block. Gas and fee are the most that the sender offers"
                .into(),
        source: "Transactions of this study, as their bytes say.".into(),
    };
    let row = |one: &crate::results::Pending| {
        let hash = one.hash.to_string();
        vec![
            format!("{}…{}", &hash[..10], &hash[hash.len() - 6..]),
            one.sender.clone(),
            one.nonce.to_string(),
            format!("{}.{}", one.contract, one.call),
            count(one.gas_limit),
            amount(one.max_fee_per_gas as f64 / 1e9),
            one.calldata_bytes.to_string(),
            one.verdict.clone(),
        ]
    };
    let columns = [
        "hash",
        "sender",
        "nonce",
        "call",
        "gas limit",
        "max gwei per gas",
        "bytes of call data",
        "if run now",
    ];
    let table = TableFigure {
        words: words.clone(),
        columns: columns.map(String::from).to_vec(),
        rows: pending.iter().map(row).collect(),
    };
    let alt = format!(
        "A table of {} signed transactions that wait: hash, sender, nonce, call, gas limit, fee, size, and what would happen.",
        pending.len()
    );
    Figure::of("transactions-pending".into(), &words, alt, table.draw()).map(Some)
}

fn parts(gas: Gas) -> Vec<f64> {
    vec![gas.intrinsic as f64, gas.calldata as f64, gas.execution as f64]
}

fn panel_of_parts(gas: impl Iterator<Item = (Gas, String)>) -> Panel {
    let (values, notes) = gas.map(|(gas, note)| (parts(gas), note)).unzip();
    Panel {
        axis: "gas".into(),
        marks: Marks::Bars,
        colours: PARTS.map(|(colour, _)| colour).to_vec(),
        values,
        notes,
    }
}

fn legend() -> Vec<(Colour, String)> {
    PARTS.map(|(colour, name)| (colour, name.into())).to_vec()
}

fn by_gas<T>(mut all: Vec<T>, gas: impl Fn(&T) -> (u64, &str)) -> Vec<T> {
    all.sort_by(|one, other| {
        let ((gas_of_one, name), (gas_of_other, other_name)) = (gas(one), gas(other));
        gas_of_other.cmp(&gas_of_one).then(name.cmp(other_name))
    });
    all
}

/// Every operation, the dearest first.
pub(super) fn operations(results: &Results) -> Result<Option<Figure>, DrawError> {
    let all: Vec<&Operation> = results.operations.iter().collect();
    let all = by_gas(all, |one| (one.gas.total(), one.name.as_str()));
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(None) };
    let words = Words {
        title: format!("Gas per operation: {} operations of the contracts", all.len()),
        subtitle: "One transaction each, dearest first, and what the gas pays for. A bar with a gap is longer than its axis"
            .into(),
        source: SOURCE.into(),
    };
    let chart = BarChart {
        words: words.clone(),
        labels: all.iter().map(|one| one.name.clone()).collect(),
        panels: vec![panel_of_parts(all.iter().map(|one| (one.gas, count(one.gas.total()))))],
        legend: legend(),
        columns: if all.len() > 60 { 2 } else { 1 },
        width: if all.len() > 60 { 1_240.0 } else { 900.0 },
    };
    let alt = format!(
        "{} bars by gas, from {} ({}) down to {} ({}), each of intrinsic gas, call data and execution.",
        all.len(),
        first.name,
        count(first.gas.total()),
        last.name,
        count(last.gas.total())
    );
    Figure::of("gas-per-operation".into(), &words, alt, chart.draw()).map(Some)
}

/// What each contract's deployment takes of the whole.
pub(super) fn deployment(results: &Results) -> Result<Option<Figure>, DrawError> {
    let all: Vec<&Operation> = results.deployment.iter().collect();
    let all = by_gas(all, |one| (one.gas.total(), one.name.as_str()));
    let total: u64 = all.iter().map(|one| one.gas.total()).sum();
    let Some(first) = all.first() else { return Ok(None) };
    let share = |one: &Operation| one.gas.total() as f64 * 100.0 / total as f64;
    let usd: f64 = all.iter().map(|one| one.fixed.usd.as_amount()).sum();
    let words = Words {
        title: "Deployment: each contract's share".into(),
        subtitle: format!(
            "{} gas for {} contracts, once; USD {} at the fixed price",
            count(total),
            all.len(),
            amount(usd)
        ),
        source: format!("{SOURCE} Price: {}.", results.prices.fixed.origin.trim_end_matches('.')),
    };
    let note =
        |one: &&Operation| (one.gas, format!("{} ({:.1} %)", count(one.gas.total()), share(one)));
    let chart = BarChart {
        words: words.clone(),
        labels: all.iter().map(|one| one.contract.clone()).collect(),
        panels: vec![panel_of_parts(all.iter().map(note))],
        legend: legend(),
        columns: 1,
        width: 900.0,
    };
    let alt = format!(
        "{} bars, one for each contract, by the gas of its deployment; {} takes most, {:.1} % of {} gas.",
        all.len(),
        first.contract,
        share(first),
        count(total)
    );
    Figure::of("deployment".into(), &words, alt, chart.draw()).map(Some)
}

/// Each workflow from its first to its last transaction.
pub(super) fn workflows(results: &Results) -> Result<Option<Figure>, DrawError> {
    let all =
        by_gas(results.workflows.iter().collect(), |one| (one.gas.total(), one.name.as_str()));
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(None) };
    let words = Words {
        title: "Workflows from end to end".into(),
        subtitle: "All transactions of the usual path of each, by what their gas pays for; US dollars at the fixed price"
            .into(),
        source: format!(
            "Gas: receipts of whole workflows on the embedded chain, contracts/workflows.json. Price: {}.",
            results.prices.fixed.origin.trim_end_matches('.')
        ),
    };
    let note = |one: &&crate::results::Workflow| {
        let usd = amount(one.fixed.usd.as_amount());
        let steps = one.steps.len();
        let word = if steps == 1 { "transaction" } else { "transactions" };
        (one.gas, format!("{} gas, {steps} {word}, USD {usd}", count(one.gas.total())))
    };
    let chart = BarChart {
        words: words.clone(),
        labels: all.iter().map(|one| one.name.clone()).collect(),
        panels: vec![panel_of_parts(all.iter().map(note))],
        legend: legend(),
        columns: 1,
        width: 940.0,
    };
    let alt = format!(
        "{} bars, one for each workflow, by gas: from {} ({} in {} transactions) down to {} ({}).",
        all.len(),
        first.name,
        count(first.gas.total()),
        first.steps.len(),
        last.name,
        count(last.gas.total())
    );
    Figure::of("workflows".into(), &words, alt, chart.draw()).map(Some)
}
