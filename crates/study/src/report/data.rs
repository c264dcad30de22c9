//! Of the report: how it was done, what was read, and what prices count.

use std::collections::BTreeSet;

use super::{
    Writer, count, many,
    words::{self, date},
};
use crate::{
    prices::DayPrice,
    row::Day,
    tally::{Mode, Sums},
};

/// How many lines of a long table are shown; the file has all.
const SHOWN: usize = 12;

impl Writer<'_> {
    pub(super) fn method(&mut self) {
        self.heading("Method");
        self.say(
            "Nothing here is computed by a formula. Each transaction was signed with its sender's own key, executed by the \
             Ethereum Virtual Machine under the rules of the Osaka fork against the contracts that Salus deploys, and sealed \
             in a block with its receipt. Gas is what the receipts say. It is shown in three parts: **intrinsic** gas, which \
             any transaction costs (21,000); **call data** (4 for a zero byte, 16 for any other); and **execution**, the rest \
             after refunds.",
        );
        self.say("The rows of a waiting list become transactions in three ways:");
        self.bullets(vec![
            "**Row mode** is the paper's: one transaction for each row of the list, which publishes that row's digest and \
             count (`WaitingLists.publishCensus` of one row), sent by the row's hospital."
                .into(),
            "**Patient mode** is what a system in use would do: one referral for each patient that a row counts \
             (`WaitingLists.list`), sent by a referring physician."
                .into(),
            "**Batch mode** publishes one census for each hospital and month: the root of a Merkle tree over all its rows, \
             each of which can be proved against it later."
                .into(),
        ]);
        self.say(
            "Each archive date is executed on a chain of its own (in patient mode, each 20,000 referrals of it), after \
             contracts, hospitals and professionals were set up by real transactions. That setup is in none of the figures \
             but where it is named. What a transaction uses does not depend on how many were before it, so that these chains \
             together tell what one chain would; a test holds the two against each other.",
        );
        let mut asked = Vec::new();
        if let Some(rows) = self.setup.rows {
            asked.push(self.replayed(rows));
        }
        if let Some(only) = self.setup.patients_only_of {
            asked.push(format!(
                "Patient mode was run for the rows of {} only, because all rows count many more patients. Where modes are \
                 held against each other, they are on the dates that all of them did.",
                date(only)
            ));
        }
        if self.setup.overlap_allowed {
            asked.push(
                "Files were allowed to overlap: what two of them have is counted twice.".into(),
            );
        }
        self.bullets(asked);
    }

    fn replayed(&self, rows: u64) -> String {
        let rounds = u64::from(self.results.dataset.rounds);
        let there: u64 = self.results.dataset.sources.iter().map(|source| source.rows_used).sum();
        if rounds > 1 {
            format!(
                "{} were asked for, and the list has {}: its dates were gone through {} times, the last time until there \
                 were enough. Totals therefore count rows, patients and costs more than once.",
                many(rows, "row"),
                count(there),
                count(rounds)
            )
        } else if rows < there {
            format!(
                "The first {} of {} were asked for, dates in order.",
                many(rows, "row"),
                count(there)
            )
        } else {
            format!("{} were asked for: each row that there is.", many(rows, "row"))
        }
    }

    /// What was worked on, in the mode that did most.
    pub(super) fn whole(&self) -> Sums {
        let totals = self.results.modes.values().map(|done| done.total.sums);
        totals.max_by_key(|sums| sums.rows).unwrap_or_default()
    }

    /// The archive dates that any mode did.
    pub(super) fn dates(&self) -> BTreeSet<Day> {
        self.results.modes.values().flat_map(|done| done.dates.keys().copied()).collect()
    }

    pub(super) fn data(&mut self) {
        self.heading("Data");
        let dataset = &self.results.dataset;
        let used: u64 = dataset.sources.iter().map(|source| source.rows_used).sum();
        let patients: u64 = dataset.sources.iter().map(|source| source.patients).sum();
        if dataset.synthetic {
            self.say(format!(
                "**The list is made up** from the seed {}, in the shape of the lists that the Irish National Treatment Purchase \
                 Fund publishes: {} that count {}. What transactions use is as real as with a published list; how many there \
                 are of each kind says nothing about any hospital.",
                self.setup.seed,
                many(used, "row"),
                many(patients, "patient")
            ));
        } else {
            self.say(format!(
                "The waiting lists that the Irish National Treatment Purchase Fund publishes count, once a month, how many \
                 people wait for a specialty, by hospital (in some files), age and time waited. {} of {} are used; they count \
                 {}. A person who waits for months is counted in each of them, and a person on two lists twice, so that these \
                 are counts and not people.",
                many(used, "row"),
                many(dataset.sources.len() as u64, "file"),
                many(patients, "patient")
            ));
        }
        let rows = dataset.sources.iter().map(|source| {
            vec![
                source.file.clone(),
                count(source.rows_read),
                count(source.rows_used),
                count(source.rows_set_aside),
                count(source.rows_rejected),
                count(source.patients),
                source.first.map(|day| day.to_string()).unwrap_or_default(),
                source.last.map(|day| day.to_string()).unwrap_or_default(),
            ]
        });
        let rows = rows.collect();
        self.table(
            "Files, and what became of their rows. Digests are in `tables/sources.csv`.",
            &["file", "rows", "used", "set aside", "rejected", "patients", "from", "to"],
            &[1, 2, 3, 4, 5],
            rows,
        );
        let remarks = dataset.sources.iter().flat_map(|source| {
            source.remarks.iter().map(|remark| format!("`{}`: {remark}", source.file))
        });
        self.bullets(remarks.collect());
        let rejected: u64 = dataset.sources.iter().map(|source| source.rows_rejected).sum();
        self.say(match rejected {
            0 => "Every row could be read.".into(),
            _ => format!(
                "{} could not be read; `rejected.csv` has each with file, line and reason. They are in no figure.",
                many(rejected, "row")
            ),
        });
        self.head();
    }

    fn head(&mut self) {
        let head = &self.results.dataset.head;
        if !head.rows.is_empty() {
            let columns: Vec<&str> = head.columns.iter().map(String::as_str).collect();
            self.table(
                format!(
                    "The first rows of `{}`, in its own columns (the paper's Fig. 5).",
                    head.file
                ),
                &columns,
                &[],
                head.rows.clone(),
            );
        }
        let attributes = self.results.dataset.attributes.iter().map(|attribute| {
            vec![
                attribute.name.clone(),
                attribute.kind.clone(),
                count(attribute.distinct),
                count(attribute.missing),
                attribute.sample.clone(),
            ]
        });
        self.table(
            "The attributes of the rows that are used.",
            &["attribute", "type", "distinct values", "missing", "sample"],
            &[2, 3],
            attributes.collect(),
        );
        self.figures("dataset");
    }

    pub(super) fn prices(&mut self) {
        self.heading("Prices");
        let prices = &self.results.prices;
        let fixed = &prices.fixed;
        let euros = fixed
            .eur_per_ether
            .map(|price| format!(" and EUR {}", price.cents()))
            .unwrap_or_default();
        self.say(format!(
            "The **fixed price** is {} gwei for each gas and USD {}{euros} for an ether: {}.",
            crate::prices::gwei_text(fixed.wei_per_gas),
            fixed.usd_per_ether.text(),
            fixed.origin
        ));
        let Some(daily) = &prices.daily else {
            self.say("There are no daily prices: all money is at the fixed price.");
            return;
        };
        self.say(format!(
            "**Prices of the day** are those of each archive date, from {}. Amounts are exact to the wei and rounded only \
             where they are printed. A day without a price takes the nearest earlier one.",
            daily.origin
        ));
        let dates = self.dates();
        let known: Vec<DayPrice> = dates.iter().filter_map(|&day| daily.at(day)).collect();
        let without: Vec<String> =
            dates.iter().filter(|&&day| daily.at(day).is_none()).map(|&day| date(day)).collect();
        if !without.is_empty() {
            self.say(format!(
                "There is no price on or before {}: the work of {} has none at the day's prices, and no total over it either.",
                words::listed(&without),
                if without.len() == 1 { "that date" } else { "those dates" }
            ));
        }
        let earlier: Vec<String> =
            known.iter().filter(|price| price.is_earlier()).map(which_earlier).collect();
        if earlier.is_empty() {
            self.say("Every archive date that has a price has its own.");
        } else {
            self.say("These archive dates take a price of an earlier day:");
            self.bullets(earlier);
        }
        let row = |price: &DayPrice| {
            vec![
                price.day.to_string(),
                crate::prices::gwei_text(price.gas.price),
                price.ether.price.text(),
                price.euro.map_or_else(|| "–".into(), |rate| rate.price.text()),
            ]
        };
        let caption = shortened_caption("Prices on the archive dates", known.len(), SHOWN, "month");
        let rows = known.iter().take(SHOWN).map(row).collect();
        self.table(
            caption,
            &["archive date", "gwei for each gas", "USD for an ether", "USD for a euro"],
            &[1, 2, 3],
            rows,
        );
    }
}

fn which_earlier(price: &DayPrice) -> String {
    let mut taken = Vec::new();
    if price.gas.day != price.day {
        taken.push(format!("gas of {}", date(price.gas.day)));
    }
    if price.ether.day != price.day {
        taken.push(format!("ether of {}", date(price.ether.day)));
    }
    if let Some(rate) = price.euro.filter(|rate| rate.day != price.day) {
        taken.push(format!("the euro of {}", date(rate.day)));
    }
    format!("{}: {}", date(price.day), words::listed(&taken))
}

/// A table's caption, which says where the rest is.
pub(super) fn shortened_caption(caption: &str, there: usize, shown: usize, file: &str) -> String {
    if there > shown {
        format!("{caption}: the first {shown} of {there}. All are in `tables/{file}.csv`.")
    } else {
        format!("{caption} (`tables/{file}.csv`).")
    }
}

impl Writer<'_> {
    /// The modes that were run, in their order.
    pub(super) fn modes(&self) -> Vec<Mode> {
        self.results.modes.keys().copied().collect()
    }
}
