//! Tables of what contracts, operations and workflows cost.

use super::{FIXED_COLUMNS, GAS_COLUMNS, Table, columns, cost_cells, gas_cells, mode_name};
use crate::results::{Operation, Results, Workflow};

pub(super) fn tables(results: &Results) -> Vec<Table> {
    vec![
        operations(results),
        workflows(results),
        workflow_steps(results),
        deployment(results),
        deployment_share(results),
    ]
}

fn operations(results: &Results) -> Table {
    let row = |operation: &Operation| {
        let mut cells = vec![
            operation.name.clone(),
            operation.contract.clone(),
            operation.function.clone(),
            operation.calldata_bytes.to_string(),
        ];
        cells.extend(gas_cells(operation.gas));
        cells.extend(cost_cells(Some(operation.fixed)));
        cells
    };
    let mut all = vec![
        ("operation", "what is done"),
        ("contract", "which contract is called"),
        ("function", "which function"),
        ("calldata_bytes", "the length of the call data"),
    ];
    all.extend(GAS_COLUMNS);
    all.extend(FIXED_COLUMNS);
    Table {
        name: "operations",
        about: "One line for each operation of the contracts, as `contracts/gas.json` has it: one receipt each, or a record's share of one.",
        columns: columns(&all),
        rows: results.operations.iter().map(row).collect(),
    }
}

fn workflows(results: &Results) -> Table {
    let row = |workflow: &Workflow| {
        let mut cells =
            vec![workflow.name.clone(), workflow.summary.clone(), workflow.steps.len().to_string()];
        cells.extend(gas_cells(workflow.gas));
        cells.extend(cost_cells(Some(workflow.fixed)));
        cells
    };
    let mut all = vec![
        ("workflow", "which"),
        ("summary", "what happens in it"),
        ("transactions", "how many transactions it has"),
    ];
    all.extend(GAS_COLUMNS);
    all.extend(FIXED_COLUMNS);
    Table {
        name: "workflows",
        about: "One line for each workflow from end to end, as `contracts/workflows.json` has it.",
        columns: columns(&all),
        rows: results.workflows.iter().map(row).collect(),
    }
}

fn workflow_steps(results: &Results) -> Table {
    let mut rows = Vec::new();
    for workflow in &results.workflows {
        for (index, step) in workflow.steps.iter().enumerate() {
            let mut cells = vec![
                workflow.name.clone(),
                (index + 1).to_string(),
                step.name.clone(),
                step.actor.clone(),
            ];
            cells.extend(gas_cells(step.gas));
            cells.extend(cost_cells(Some(results.prices.fixed.cost(step.gas.total()))));
            rows.push(cells);
        }
    }
    let mut all = vec![
        ("workflow", "which"),
        ("step", "which of its transactions, from 1"),
        ("name", "what is done"),
        ("actor", "who does it"),
    ];
    all.extend(GAS_COLUMNS);
    all.extend(FIXED_COLUMNS);
    Table {
        name: "workflow-steps",
        about: "One line for each transaction of each workflow.",
        columns: columns(&all),
        rows,
    }
}

fn deployment(results: &Results) -> Table {
    let all_gas = deployment_gas(results);
    let row = |operation: &Operation| {
        let mut cells = vec![operation.contract.clone(), operation.calldata_bytes.to_string()];
        cells.extend(gas_cells(operation.gas));
        cells.extend(cost_cells(Some(operation.fixed)));
        cells.push(share(operation.gas.total(), all_gas));
        cells
    };
    let mut all = vec![
        ("contract", "which"),
        ("calldata_bytes", "the length of its creation code with its arguments"),
    ];
    all.extend(GAS_COLUMNS);
    all.extend(FIXED_COLUMNS);
    all.push(("share", "its share of the gas of all contracts' deployment, from 0 to 1"));
    Table {
        name: "deployment",
        about: "One line for each contract: what it costs to deploy it, once.",
        columns: columns(&all),
        rows: results.deployment.iter().map(row).collect(),
    }
}

fn deployment_share(results: &Results) -> Table {
    let deployed = deployment_gas(results);
    let row = |(&mode, done): (&crate::tally::Mode, &crate::results::ModeResults)| {
        let work = done.total.sums.gas.total();
        vec![
            mode_name(mode).to_owned(),
            deployed.to_string(),
            work.to_string(),
            share(deployed, deployed + work),
        ]
    };
    Table {
        name: "deployment-share",
        about: "What deploying all contracts once is of all gas, in each mode.",
        columns: columns(&[
            ("mode", "row, patient or batch"),
            ("deployment_gas_used", "gas to deploy every contract"),
            ("work_gas_used", "gas of the mode's transactions"),
            ("share", "deployment's share of both together, from 0 to 1"),
        ]),
        rows: results.modes.iter().map(row).collect(),
    }
}

/// What it takes to deploy every contract once.
pub(crate) fn deployment_gas(results: &Results) -> u64 {
    results.deployment.iter().map(|operation| operation.gas.total()).sum()
}

/// Millionths of a whole, exactly.
fn share(part: u64, whole: u64) -> String {
    let millionths =
        (u128::from(part) * 1_000_000 + u128::from(whole) / 2).checked_div(u128::from(whole));
    let millionths = millionths.unwrap_or(0);
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}
