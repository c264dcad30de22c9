//! Of the report: what it comes to, where the paper's claims hold and where not, and what speaks against all of it.

use alloy_primitives::U256;

use super::{
    Writer, count, many,
    words::{self, each, percent, r_squared, usd},
};
use crate::{
    fit::Against,
    prices::{Cost, Fiat},
    results::Line,
    row::Day,
    tables::deployment_gas,
    tally::Mode,
};

/// The rows that the paper gives its list.
const ROWS_OF_THE_PAPER: u64 = 852_730;

/// The rows that the published monthly counts make likely: two digits changed places.
const LIKELY_ROWS: u64 = 582_730;

/// The cheapest and the dearest day.
pub(super) type Extremes = [(Day, Cost); 2];

impl Writer<'_> {
    pub(super) fn summary(&mut self) {
        let whole = self.whole();
        let dates = self.dates();
        let span = match (dates.first(), dates.last()) {
            (Some(first), Some(last)) if first == last => format!(" of {}", words::date(*first)),
            (Some(first), Some(last)) => {
                format!(
                    " of {} archive dates, {} to {}",
                    dates.len(),
                    words::date(*first),
                    words::date(*last)
                )
            }
            _ => String::new(),
        };
        let list = if self.results.dataset.synthetic {
            "a made-up waiting list"
        } else {
            "published waiting lists"
        };
        self.say(format!(
            "{} of {list}{span}, which count {}, were executed as signed transactions on a real Ethereum Virtual Machine. In \
             short:",
            many(whole.rows, "row"),
            many(whole.patients, "patient")
        ));
        let mut points: Vec<String> = self
            .results
            .modes
            .iter()
            .map(|(&mode, done)| self.in_short(mode, &done.total))
            .collect();
        points.extend(self.linear_in_short());
        points.extend(self.spread_in_short());
        let deployed = deployment_gas(self.results);
        points.push(format!(
            "Deploying all contracts, once, takes {} gas, {} at the fixed price.",
            count(deployed),
            usd(self.results.prices.fixed.cost(deployed).usd)
        ));
        self.bullets(points);
    }

    fn in_short(&self, mode: Mode, total: &Line) -> String {
        let on_day = total
            .on_day
            .map(|cost| format!("{} at the prices of each archive date, ", usd(cost.usd)))
            .unwrap_or_default();
        let for_each = each(total.fixed.usd, total.sums.patients)
            .map(|amount| format!(" ({} for each patient counted)", usd(amount)))
            .unwrap_or_default();
        let only = self.setup.patients_only_of.filter(|_| mode == Mode::Patient);
        let of = only.map(|date| format!(", of {} only", words::date(date))).unwrap_or_default();
        format!(
            "**{}**{of}: {}, {} gas; {on_day}{} at the fixed price{for_each}.",
            capital(words::mode(mode)),
            many(total.sums.transactions, "transaction"),
            count(total.sums.gas.total()),
            usd(total.fixed.usd)
        )
    }

    fn linear_in_short(&self) -> Option<String> {
        let row = self
            .explained(Mode::Row, Against::Patients)
            .zip(self.explained(Mode::Row, Against::Rows));
        let patient = self.explained(Mode::Patient, Against::Patients);
        match (row, patient) {
            (Some((patients, rows)), Some(patient)) => Some(format!(
                "Is cost linear in the number of patients? Over specialties, R² is {} where each patient has a transaction, \
                 and {} where each row has one; against rows, that is {}.",
                r_squared(patient),
                r_squared(patients),
                r_squared(rows)
            )),
            (Some((patients, rows)), None) => Some(format!(
                "Is cost linear in the number of patients? With one transaction for each row, over specialties, R² is {} \
                 against patients and {} against rows.",
                r_squared(patients),
                r_squared(rows)
            )),
            (None, Some(patient)) => Some(format!(
                "Is cost linear in the number of patients? With one transaction for each patient, over specialties, R² is {}.",
                r_squared(patient)
            )),
            (None, None) => None,
        }
    }

    /// The first mode's cheapest and dearest day.
    fn spread(&self) -> Option<(Mode, Extremes, String)> {
        let mode = self.modes().first().copied()?;
        let extremes = self.extremes(mode)?;
        let times = words::times(extremes[1].1.usd, extremes[0].1.usd)?;
        Some((mode, extremes, times))
    }

    fn spread_in_short(&self) -> Option<String> {
        let of = self.results.days.as_ref()?.of;
        let (mode, [low, high], times) = self.spread()?;
        Some(format!(
            "The same work, that of {} in {}, would have cost {} on {} and {} on {}: {times} as much.",
            words::date(of),
            words::mode(mode),
            usd(low.1.usd),
            words::date(low.0),
            usd(high.1.usd),
            words::date(high.0)
        ))
    }

    pub(super) fn claims(&mut self) {
        self.heading("Where the paper's claims hold, and where they do not");
        self.claim_linear();
        self.claim_cheap();
        self.claim_rows();
        self.say(
            "**On a private chain, gas has no market price.** A consortium's members run the chain themselves and set the \
             gas price as low as they like. Gas then measures work and nothing else; what such a network costs is \
             machines, storage and people. The amounts in ether, dollars and euros say what the same transactions would have \
             cost on Ethereum's main network, and must not be read as the cost of a private one.",
        );
        self.threats();
        self.repeat();
    }

    fn claim_linear(&mut self) {
        let mut text = String::from("**Is cost linear in the number of patients?** ");
        if let Some(patient) = self.explained(Mode::Patient, Against::Patients) {
            text += &format!(
                "With one transaction for each patient it is (R² {}), and cannot be otherwise: the claim is then one about \
                 how the experiment is set up. ",
                r_squared(patient)
            );
        }
        let row = self
            .explained(Mode::Row, Against::Patients)
            .zip(self.explained(Mode::Row, Against::Rows));
        match row {
            Some((patients, rows)) if patients > 0.99 && rows > 0.99 => {
                text += "With one transaction for each row, patients and rows go together in this list, and it cannot tell.";
            }
            Some((patients, rows)) if rows > 0.99 => {
                text += &format!(
                    "With one transaction for each row, as the paper has it, it is linear in **rows** (R² {}) and not in \
                     patients (R² {}): a row that counts a thousand people costs what one that counts one does. A total cost by \
                     specialty therefore says how finely a specialty's patients were divided into rows, not how many they are.",
                    r_squared(rows),
                    r_squared(patients)
                );
            }
            Some((patients, rows)) => {
                text += &format!(
                    "With one transaction for each row, R² is {} against patients and {} against rows in this list.",
                    r_squared(patients),
                    r_squared(rows)
                );
            }
            None if self.has(Mode::Row) => {
                text += "In row mode, this list has too few sizes for a line.";
            }
            None => text += "Row mode, the paper's, was not run.",
        }
        self.say(text);
    }

    fn claim_cheap(&mut self) {
        let mut text = String::from("**Is it cheap?** ");
        let fixed: Vec<String> = self
            .results
            .modes
            .iter()
            .filter_map(|(&mode, done)| {
                let total = &done.total;
                let amount = each(total.fixed.usd, total.sums.transactions)?;
                Some(format!("{} in {}", usd(amount), words::mode(mode)))
            })
            .collect();
        if !fixed.is_empty() {
            text += &format!(
                "At the fixed price, a transaction costs {} on average. ",
                words::listed(&fixed)
            );
        }
        if let Some((mode, [low, high], times)) = self.spread() {
            let transactions = self.results.days.as_ref().and_then(|days| days.work.get(&mode));
            let transactions = transactions.map_or(0, |sums| sums.transactions);
            if let Some((low_each, high_each)) =
                each(low.1.usd, transactions).zip(each(high.1.usd, transactions))
            {
                text += &format!(
                    "In {} it would have cost {} on {} and {} on {}. The dearest day costs {times} as much as the \
                     cheapest: a statement of cost without a date and a price means little. ",
                    words::mode(mode),
                    usd(low_each),
                    words::date(low.0),
                    usd(high_each),
                    words::date(high.0)
                );
            }
        }
        let compared = &self.results.compared.modes;
        if let Some((patient, batch)) = compared.get(&Mode::Patient).zip(compared.get(&Mode::Batch))
            && let Some(times) =
                words::times(wide(patient.sums.gas.total()), wide(batch.sums.gas.total()))
        {
            text += &format!(
                "What helps is to send less: one census for each hospital and month instead of one referral for each patient \
                 uses {times} less gas for the same rows, each of which stays provable."
            );
        }
        self.say(text.trim_end());
    }

    fn claim_rows(&mut self) {
        let used: u64 = self.results.dataset.sources.iter().map(|source| source.rows_used).sum();
        let mut text = format!(
            "**How many rows?** The paper gives its list as {} rows by 10 columns. The ten columns are those of the file of \
             January 2020. The monthly counts that were published make {} rows likely instead, with two digits that changed \
             places; we cannot settle it.",
            count(ROWS_OF_THE_PAPER),
            count(LIKELY_ROWS)
        );
        if !self.results.dataset.synthetic {
            text += &format!(" The files of this study have {}.", many(used, "usable row"));
        }
        if let Some(done) =
            self.results.modes.get(&Mode::Row).filter(|done| done.total.sums.rows > 0)
        {
            let sums = done.total.sums;
            let gas_for = |rows: u64| {
                let gas = u128::from(sums.gas.total()) * u128::from(rows) / u128::from(sums.rows);
                u64::try_from(gas).unwrap_or(u64::MAX)
            };
            let fixed = &self.results.prices.fixed;
            let (paper, likely) = (gas_for(ROWS_OF_THE_PAPER), gas_for(LIKELY_ROWS));
            if self.setup.rows == Some(ROWS_OF_THE_PAPER) {
                text += " So many rows were executed here, by going through the dates again.";
            }
            text += &format!(
                " At this study's average for a row, {} rows come to {} gas ({} at the fixed price) and {} rows to {} gas \
                 ({}).",
                count(ROWS_OF_THE_PAPER),
                count(paper),
                usd(fixed.cost(paper).usd),
                count(LIKELY_ROWS),
                count(likely),
                usd(fixed.cost(likely).usd)
            );
        }
        self.say(text);
    }

    fn threats(&mut self) {
        self.heading("Threats to validity");
        let mut items = vec![
            "**Today's rules, yesterday's prices.** Gas is that of the Osaka rules; earlier forks charged otherwise (call \
             data cost up to 68 a byte until 2019, storage reads less). A price of 2018 times today's gas is what today's \
             contracts would have cost at that price, not what any contract did cost then."
                .to_owned(),
            "**We take prices as given.** A day's average gas price is no offer: who sends thousands of transactions at once \
             moves it, and who can wait pays less than the average."
                .to_owned(),
            "**Counts are not people.** The lists name nobody, so that in patient mode a few accounts with real keys and \
             relationships stand for all patients. What a referral uses does not depend on whose it is, but for the zeros in \
             an address or a digest."
                .to_owned(),
            "**One use.** A waiting list is one of Salus's workflows. What the others use is measured from end to end, too, \
             but how often each happens in a hospital is not in these data."
                .to_owned(),
            "**Only what is on chain.** Storing sealed records, moving them and checking access costs machines, not gas, and \
             is in no figure here."
                .to_owned(),
        ];
        let aside: u64 =
            self.results.dataset.sources.iter().map(|source| source.rows_set_aside).sum();
        if aside > 0 {
            items.push(format!(
                "**Recovered hospitals.** {} were set aside in favour of files with the same counts that name hospitals. Where \
                 such a file was put together by others from the publisher's interactive pages, we could check its counts, not \
                 its hospitals.",
                many(aside, "row")
            ));
        }
        if self.results.dataset.synthetic {
            items.push("**A made-up list.** How rows are spread over specialties and hospitals was invented.".into());
        }
        if let Some(busiest) = self.busiest_date() {
            items.push(busiest);
        }
        self.bullets(items);
    }

    /// How much of a public chain's room the work takes.
    ///
    /// # Source
    ///
    /// 60 million gas a block (the limit on Ethereum's main network since November 2025), a block each 12 seconds.
    fn busiest_date(&self) -> Option<String> {
        const GAS_A_DAY: u64 = 60_000_000 * 7_200;
        let dates = self
            .results
            .modes
            .iter()
            .flat_map(|(mode, done)| done.dates.iter().map(move |date| (mode, date)));
        let (mode, (date, line)) = dates.max_by_key(|(_, (_, line))| line.sums.gas.total())?;
        let gas = line.sums.gas.total();
        Some(format!(
            "**Room.** The largest piece of work, that of {} in {}, is {} of all the gas that Ethereum's main network offers in \
             a day (60 million a block, 7,200 blocks).",
            words::date(*date),
            words::mode(*mode),
            percent(gas, GAS_A_DAY)
        ))
    }

    fn repeat(&mut self) {
        self.heading("To repeat it");
        self.say(format!(
            "Made by Salus {}, contracts `{}`, seed {}. `manifest.json` has the digest of every file that was read and of \
             every file that was written, and each chain's last state root. This does everything again and compares:",
            self.setup.version, self.setup.contracts, self.setup.seed
        ));
        self.blocks.push(super::Block::Command("salus study --verify DIR".into()));
        self.say("What the tables' columns mean is in `tables/README.md`.");
    }
}

fn wide(number: u64) -> Fiat {
    Fiat(U256::from(number))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
