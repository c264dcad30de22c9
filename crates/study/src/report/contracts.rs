//! Of the report: what operations, workflows and deployment cost.

use std::collections::BTreeMap;

use super::{
    Writer, count, many, mode_name,
    words::{self, money, percent, usd},
};
use crate::{results::Operation, tables::deployment_gas};

impl Writer<'_> {
    pub(super) fn contracts(&mut self) {
        self.operations();
        self.workflows();
        self.deployment();
    }

    fn operations(&mut self) {
        self.subheading("Gas of each operation");
        let mut by_contract: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        let whole = self.results.operations.iter().filter(|operation| is_transaction(operation));
        for operation in whole {
            by_contract.entry(&operation.contract).or_default().push(operation);
        }
        let row = |(contract, operations): (&&str, &Vec<&Operation>)| -> Option<Vec<String>> {
            let low = operations.iter().min_by_key(|operation| operation.gas.total())?;
            let high = operations.iter().max_by_key(|operation| operation.gas.total())?;
            let described =
                |one: &Operation| [one.name.clone(), count(one.gas.total()), money(one.fixed.usd)];
            let mut cells = vec![(*contract).to_owned(), count(operations.len() as u64)];
            cells.extend(described(low));
            cells.extend(described(high));
            Some(cells)
        };
        let rows: Vec<_> = by_contract.iter().filter_map(row).collect();
        self.say(format!(
            "{} of {} were each measured by one receipt on a chain of their own (`contracts/gas.json`).",
            many(by_contract.values().map(Vec::len).sum::<usize>() as u64, "operation"),
            many(by_contract.len() as u64, "contract")
        ));
        self.table(
            "The cheapest and the dearest operation of each contract, money at the fixed price. All are in \
             `tables/operations.csv`.",
            &["contract", "operations", "cheapest", "gas", "USD", "dearest", "gas", "USD"],
            &[1, 3, 4, 6, 7],
            rows,
        );
        self.figures("gas-per-operation");
    }

    fn workflows(&mut self) {
        if self.results.workflows.is_empty() {
            return;
        }
        self.subheading("Gas of each workflow from end to end");
        let row = |workflow: &crate::results::Workflow| {
            vec![
                workflow.name.clone(),
                workflow.summary.clone(),
                count(workflow.steps.len() as u64),
                count(workflow.gas.total()),
                percent(workflow.gas.intrinsic, workflow.gas.total()),
                money(workflow.fixed.usd),
            ]
        };
        let rows = self.results.workflows.iter().map(row).collect();
        self.table(
            "Workflows from end to end, money at the fixed price. Each transaction is in `tables/workflow-steps.csv`.",
            &["workflow", "what happens", "transactions", "gas used", "intrinsic", "USD"],
            &[2, 3, 4, 5],
            rows,
        );
        self.figures("workflows");
    }

    fn deployment(&mut self) {
        self.subheading("Deployment");
        let all = deployment_gas(self.results);
        let cost = self.results.prices.fixed.cost(all);
        self.say(format!(
            "To deploy all {} takes {} gas, once: {} at the fixed price.",
            many(self.results.deployment.len() as u64, "contract"),
            count(all),
            usd(cost.usd)
        ));
        let shares = self.results.modes.iter().map(|(&mode, done)| {
            let work = done.total.sums.gas.total();
            format!(
                "Of deployment and the work in {} together, deployment is {}.",
                words::mode(mode),
                percent(all, all + work)
            )
        });
        self.bullets(shares.collect());
        let row = |operation: &Operation| {
            vec![
                operation.contract.clone(),
                count(operation.calldata_bytes),
                count(operation.gas.total()),
                percent(operation.gas.total(), all),
                money(operation.fixed.usd),
            ]
        };
        let rows = self.results.deployment.iter().map(row).collect();
        self.table(
            "What it costs to deploy each contract, money at the fixed price (`tables/deployment.csv`).",
            &["contract", "creation code, bytes", "gas used", "share", "USD"],
            &[1, 2, 3, 4],
            rows,
        );
        let setup = self.results.modes.iter().map(|(&mode, done)| {
            format!(
                "{}: {}, {} gas",
                mode_name(mode),
                many(done.setup.transactions, "transaction"),
                count(done.setup.gas.total())
            )
        });
        let setup: Vec<_> = setup.collect();
        if !setup.is_empty() {
            self.say(format!(
                "To set up the study's own chains, which each have contracts, hospitals and professionals anew, took: {}. \
                 A network does that once.",
                setup.join("; ")
            ));
        }
        self.figures("deployment");
    }
}

/// Whether it is a whole transaction, and not a record's share of one.
const fn is_transaction(operation: &Operation) -> bool {
    operation.gas.intrinsic >= 21_000
}
