//! Of the report: what the rows cost, by what they say, and whether that is linear.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    Writer,
    claims::Extremes,
    count,
    data::shortened_caption,
    many, mode_name,
    words::{self, each, gas_of_fit, money, percent, r_squared, usd},
};
use crate::{
    fit::{Against, Fit, Over},
    prices::Fiat,
    results::{DayLine, Line},
    tables::dimension_name,
    tally::{Dimension, Mode},
};

/// How many lines of a long table are shown; the file has all.
const SHOWN: usize = 12;

impl Writer<'_> {
    pub(super) fn work(&mut self) {
        self.before_validation();
        self.side_by_side();
        self.by_specialty();
        self.linear();
        self.by_the_rest();
        self.other_days();
    }

    /// A line's money: at the days' prices where there are some, else at the fixed price.
    pub(super) fn money_of(&self, line: &Line) -> Fiat {
        line.on_day.unwrap_or(line.fixed).usd
    }

    /// Which prices [`Self::money_of`] takes.
    pub(super) fn which_price(&self) -> &'static str {
        let all_have = self.results.modes.values().all(|done| done.total.on_day.is_some());
        if all_have { "at the prices of each archive date" } else { "at the fixed price" }
    }

    fn before_validation(&mut self) {
        self.subheading("Transactions before validation");
        if self.results.pending.is_empty() {
            self.say("No transaction was looked at before it was executed.");
            return;
        }
        self.say(
            "This is how the first transactions stood, signed, before a block took them in (the paper's Fig. 4): who sends \
             them, what they call, what they may use, and what executing them at that moment would have done.",
        );
        let row = |transaction: &crate::results::Pending| {
            vec![
                mode_name(transaction.mode).to_owned(),
                words::short(&transaction.hash.to_string()),
                transaction.sender.clone(),
                count(transaction.nonce),
                format!("{}.{}", transaction.contract, words::short(&transaction.call)),
                count(transaction.gas_limit),
                transaction.verdict.clone(),
            ]
        };
        let pending = &self.results.pending;
        let mut rows = Vec::new();
        for mode in self.modes() {
            rows.extend(
                pending.iter().filter(|transaction| transaction.mode == mode).take(4).map(row),
            );
        }
        let caption = "Transactions before they were executed. Whole hashes and calls are in `tables/pending.csv`.";
        let columns = ["mode", "transaction", "sender", "nonce", "call", "gas limit", "verdict"];
        self.table(caption, &columns, &[3, 5], rows);
        self.figures("transactions-pending");
    }

    fn side_by_side(&mut self) {
        self.subheading("The modes side by side");
        let compared = &self.results.compared;
        let all_dates = self.dates().len();
        let on = match compared.dates.as_slice() {
            dates if dates.len() == all_dates => "all archive dates, each once".to_owned(),
            [one] => format!("the rows of {}", words::date(*one)),
            dates => format!("the {} archive dates that every mode did, each once", dates.len()),
        };
        let row = |(&mode, line): (&Mode, &Line)| {
            let sums = line.sums;
            let gas = sums.gas;
            let mut cells = vec![
                mode_name(mode).to_owned(),
                count(sums.rows),
                count(sums.patients),
                count(sums.transactions),
                count(gas.intrinsic),
                count(gas.calldata),
                count(gas.execution),
                count(gas.total()),
            ];
            let money_of = self.money_of(line);
            cells.push(money(money_of));
            cells.push(each(money_of, sums.patients).map_or_else(|| "–".into(), money));
            cells
        };
        let rows = compared.modes.iter().map(row).collect();
        let caption = format!(
            "The same rows in each mode: {on}. Money {}.",
            self.price_of_lines(compared.modes.values())
        );
        let columns = [
            "mode",
            "rows",
            "patients",
            "transactions",
            "intrinsic gas",
            "call data gas",
            "execution gas",
            "gas used",
            "USD",
            "USD a patient",
        ];
        self.table(caption, &columns, &[1, 2, 3, 4, 5, 6, 7, 8, 9], rows);
        let gas = |mode| {
            compared.modes.get(&mode).map(|line| line.sums.gas.total()).filter(|gas| *gas > 0)
        };
        let mut said = Vec::new();
        if let Some((patient, row)) = gas(Mode::Patient).zip(gas(Mode::Row)) {
            said.push(ratio_sentence("Patient mode", patient, "row mode", row));
        }
        if let Some((row, batch)) = gas(Mode::Row).zip(gas(Mode::Batch)) {
            said.push(ratio_sentence("Row mode", row, "batch mode", batch));
        }
        for (&mode, line) in &compared.modes {
            let gas = line.sums.gas;
            said.push(format!(
                "In {}, intrinsic gas is {} of all, call data {}, execution {}.",
                words::mode(mode),
                percent(gas.intrinsic, gas.total()),
                percent(gas.calldata, gas.total()),
                percent(gas.execution, gas.total())
            ));
        }
        self.bullets(said);
        self.figures("mode-comparison");
        self.totals();
    }

    /// Everything that was executed, at both prices.
    fn totals(&mut self) {
        let row = |(&mode, done): (&Mode, &crate::results::ModeResults)| {
            let total = &done.total;
            let mut cells = vec![
                mode_name(mode).to_owned(),
                count(total.sums.rows),
                count(total.sums.transactions),
                count(total.sums.gas.total()),
            ];
            cells.extend(words::cells(total.on_day));
            cells.extend(words::cells(Some(total.fixed)));
            cells
        };
        let rows = self.results.modes.iter().map(row).collect();
        let columns = [
            "mode",
            "rows",
            "transactions",
            "gas used",
            "ETH, days",
            "USD, days",
            "EUR, days",
            "ETH, fixed",
            "USD, fixed",
            "EUR, fixed",
        ];
        self.table(
            "Everything that was executed, at the prices of the archive dates and at the fixed price (`tables/modes.csv`).",
            &columns,
            &[1, 2, 3, 4, 5, 6, 7, 8, 9],
            rows,
        );
    }

    fn price_of_lines<'l>(&self, mut lines: impl Iterator<Item = &'l Line>) -> &'static str {
        if lines.all(|line| line.on_day.is_some()) {
            "at the prices of each archive date"
        } else {
            "at the fixed price"
        }
    }

    /// A dimension's values in a mode, the most expensive first.
    fn ranked(&self, mode: Mode, dimension: Dimension) -> Vec<(&String, &Line)> {
        let values = self.results.modes.get(&mode).and_then(|done| done.by.get(&dimension));
        let mut ranked: Vec<_> = values.into_iter().flatten().collect();
        ranked.sort_by(|(one, a), (other, b)| {
            self.money_of(b).cmp(&self.money_of(a)).then_with(|| one.cmp(other))
        });
        ranked
    }

    fn by_specialty(&mut self) {
        self.subheading("Total cost by specialty");
        let price = self.which_price();
        for mode in self.modes() {
            let ranked = self.ranked(mode, Dimension::Specialty);
            let Some(((first, line), total)) = ranked
                .first()
                .zip(self.results.modes.get(&mode).map(|done| done.total.sums.gas.total()))
            else {
                continue;
            };
            let text = format!(
                "In **{}**, `{first}` costs most of {}: {} {price}, {} of all gas.",
                words::mode(mode),
                many(ranked.len() as u64, "specialty"),
                usd(self.money_of(line)),
                percent(line.sums.gas.total(), total)
            );
            self.say(text);
        }
        self.rank_difference();
        for mode in self.modes() {
            let ranked = self.ranked(mode, Dimension::Specialty);
            let caption = shortened_caption(
                &format!("Cost by specialty in {}", words::mode(mode)),
                ranked.len(),
                SHOWN,
                "specialty",
            );
            let rows =
                ranked.iter().take(SHOWN).map(|(label, line)| self.line(label, line)).collect();
            self.table(caption, &LINE_COLUMNS, &[1, 2, 3, 4, 5, 6], rows);
        }
        self.figures("cost-by-specialty");
        self.say(
            "The paper's Fig. 7 sets specialties against their HIPE codes. A code is a name and no quantity: what the \
             picture can show is which codes have several names, and where the cost is.",
        );
        self.several_names();
        self.figures("specialty-codes");
    }

    /// The paper's Fig. 6 does not say whether it is of rows or of patients; that makes a difference.
    fn rank_difference(&mut self) {
        let first = |mode: Mode| -> Vec<String> {
            self.ranked(mode, Dimension::Specialty)
                .iter()
                .take(5)
                .map(|(label, _)| format!("`{label}`"))
                .collect()
        };
        if !(self.has(Mode::Row) && self.has(Mode::Patient)) {
            return;
        }
        let (by_row, by_patient) = (first(Mode::Row), first(Mode::Patient));
        let only = self.setup.patients_only_of;
        let only = only.map(|date| format!(" (of {} only)", words::date(date))).unwrap_or_default();
        let text = if by_row == by_patient {
            format!(
                "By row and by patient{only}, the same specialties cost most, in the same order: {}.",
                words::listed(&by_row)
            )
        } else {
            format!(
                "It matters which is meant: by row, the most expensive are {}; by patient{only}, {}.",
                words::listed(&by_row),
                words::listed(&by_patient)
            )
        };
        self.say(text);
    }

    fn several_names(&mut self) {
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let done = self.results.modes.values().max_by_key(|done| done.total.sums.rows);
        let labels = done.and_then(|done| done.by.get(&Dimension::Specialty));
        for label in labels.into_iter().flat_map(BTreeMap::keys) {
            let (code, name) = super::code_and_name(label);
            names.entry(code).or_default().push(name);
        }
        let several = names.iter().filter(|(code, names)| !code.is_empty() && names.len() > 1);
        let several: Vec<String> =
            several.map(|(code, names)| format!("`{code}`: {}", names.join("; "))).collect();
        if several.is_empty() {
            self.say("In this list, each code has one name.");
        } else {
            self.say(format!(
                "In this list, {} more than one name:",
                match several.len() {
                    1 => "one code has".to_owned(),
                    codes => format!("{} codes have", count(codes as u64)),
                }
            ));
            self.bullets(several);
        }
    }

    fn line(&self, label: &str, line: &Line) -> Vec<String> {
        let sums = line.sums;
        vec![
            label.to_owned(),
            count(sums.rows),
            count(sums.patients),
            count(sums.transactions),
            count(sums.gas.total()),
            line.on_day.map_or_else(|| "–".into(), |cost| money(cost.usd)),
            money(line.fixed.usd),
        ]
    }

    fn linear(&mut self) {
        self.subheading("Cost against the number of patients");
        let number = |fit: &Fit, of: fn(&crate::fit::StraightLine) -> String| {
            fit.line.as_ref().map_or_else(|| "–".into(), of)
        };
        let row = |fit: &Fit| {
            vec![
                mode_name(fit.mode).to_owned(),
                match fit.over {
                    Over::Specialties => "specialties".into(),
                    Over::Dates => "archive dates".into(),
                },
                match fit.against {
                    Against::Patients => "patients".into(),
                    Against::Rows => "rows".into(),
                },
                count(fit.points.len() as u64),
                number(fit, |line| gas_of_fit(line.slope)),
                number(fit, |line| gas_of_fit(line.intercept)),
                number(fit, |line| r_squared(line.r_squared)),
                number(fit, |line| gas_of_fit(line.residual_rms)),
            ]
        };
        let rows = self.results.fits.iter().map(row).collect();
        let columns = [
            "mode",
            "points",
            "against",
            "how many",
            "slope, gas each",
            "intercept, gas",
            "R²",
            "residuals' RMS, gas",
        ];
        self.table(
            "Straight lines through gas used, by least squares. A dash: all points have one size; through two points there is \
             always a line. Points and residuals are in `tables/fit-points.csv`.",
            &columns,
            &[3, 4, 5, 6, 7],
            rows,
        );
        for mode in self.modes() {
            if let Some(text) = self.linearity(mode) {
                self.say(text);
            }
        }
        self.figures("fit-");
    }

    /// How well gas follows patients and rows over specialties.
    pub(super) fn explained(&self, mode: Mode, against: Against) -> Option<f64> {
        let fits = self.results.fits.iter();
        let mut found = fits.filter(|fit| {
            fit.mode == mode && fit.over == Over::Specialties && fit.against == against
        });
        found.next()?.line.map(|line| line.r_squared)
    }

    /// What that says, for one mode.
    fn linearity(&self, mode: Mode) -> Option<String> {
        let (patients, rows) =
            (self.explained(mode, Against::Patients)?, self.explained(mode, Against::Rows)?);
        let measured = format!(
            "In **{}**, over specialties, R² is {} against patients and {} against rows.",
            words::mode(mode),
            r_squared(patients),
            r_squared(rows)
        );
        let verdict = match mode {
            Mode::Patient => {
                "There is one transaction for each patient, so that the line is there by construction, intrinsic gas \
                 included: what is measured is its slope, and that nothing else gets in the way."
            }
            Mode::Batch => {
                "A census is paid for by hospital and month, however many rows or patients are in it; a specialty's share of \
                 it is that of its rows."
            }
            Mode::Row if patients > 0.99 && rows > 0.99 => {
                "In this list patients and rows grow together, so that it cannot tell which of the two cost follows."
            }
            Mode::Row if rows > 0.99 => {
                "Cost follows rows, not patients: what a transaction uses does not depend on the number that stands in it."
            }
            Mode::Row => {
                "Cost follows neither closely, because the first census of a hospital and month costs more."
            }
        };
        Some(format!("{measured} {verdict}"))
    }

    fn by_the_rest(&mut self) {
        self.subheading("By hospital, group, age, time waited and month");
        for dimension in [
            Dimension::Hospital,
            Dimension::Group,
            Dimension::Age,
            Dimension::AdultChild,
            Dimension::Band,
            Dimension::CaseType,
        ] {
            let Some(mode) = self.modes().first().copied() else { continue };
            let ranked = self.ranked(mode, dimension);
            if ranked.len() < 2 {
                continue;
            }
            let name = dimension_name(dimension);
            let said = format!("Cost by {} in {}", dimension_words(dimension), words::mode(mode));
            let caption = shortened_caption(&said, ranked.len(), SHOWN, name);
            let rows =
                ranked.iter().take(SHOWN).map(|(label, line)| self.line(label, line)).collect();
            self.table(caption, &LINE_COLUMNS, &[1, 2, 3, 4, 5, 6], rows);
            self.figures(&format!(
                "cost-by-{}",
                if dimension == Dimension::Band { "time-band" } else { name }
            ));
        }
        self.by_month();
        self.figures("cost-by-month");
        self.figures("cost-by-");
    }

    fn by_month(&mut self) {
        let Some(mode) = self.modes().first().copied() else { return };
        let Some(done) = self.results.modes.get(&mode) else { return };
        let caption = shortened_caption(
            &format!("Cost by archive date in {}", words::mode(mode)),
            done.dates.len(),
            SHOWN,
            "month",
        );
        let rows = done
            .dates
            .iter()
            .take(SHOWN)
            .map(|(date, line)| self.line(&date.to_string(), line))
            .collect();
        self.table(caption, &LINE_COLUMNS, &[1, 2, 3, 4, 5, 6], rows);
    }

    fn other_days(&mut self) {
        let Some(days) = &self.results.days else { return };
        let (Some(first), Some(last)) = (days.lines.first(), days.lines.last()) else { return };
        let (of, from, to) = (days.of, first.price.day, last.price.day);
        let row = |(&mode, sums): (&Mode, &crate::tally::Sums)| -> Option<Vec<String>> {
            let [low, high] = self.extremes(mode)?;
            Some(vec![
                mode_name(mode).to_owned(),
                count(sums.gas.total()),
                low.0.to_string(),
                money(low.1.usd),
                high.0.to_string(),
                money(high.1.usd),
                words::times(high.1.usd, low.1.usd).unwrap_or_else(|| "–".into()),
            ])
        };
        let rows = days.work.iter().filter_map(row).collect();
        self.subheading("The same work on other days");
        self.say(format!(
            "The work of {} is priced at each day from {} to {}: the same gas, at that day's gas price and that day's price of \
             an ether.",
            words::date(of),
            words::date(from),
            words::date(to)
        ));
        let columns = ["mode", "gas used", "cheapest day", "USD", "dearest day", "USD", "apart"];
        self.table(
            "The same work on its cheapest and its dearest day (`tables/days.csv`).",
            &columns,
            &[1, 3, 5, 6],
            rows,
        );
        self.figures("cost-per-day");
    }

    /// The cheapest and the dearest day for a mode's work; of equal ones the first.
    pub(super) fn extremes(&self, mode: Mode) -> Option<Extremes> {
        let lines = &self.results.days.as_ref()?.lines;
        let on = |line: &DayLine| Some((line.price.day, *line.costs.get(&mode)?));
        let costs: Vec<_> = lines.iter().filter_map(on).collect();
        let low = costs.iter().min_by_key(|(day, cost)| (cost.usd, *day))?;
        let high = costs.iter().min_by_key(|(day, cost)| (Reverse(cost.usd), *day))?;
        Some([*low, *high])
    }
}

/// How a dimension is called in running text.
const fn dimension_words(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Specialty => "specialty",
        Dimension::Hospital => "hospital",
        Dimension::Group => "hospital group",
        Dimension::Age => "age",
        Dimension::AdultChild => "adults and children",
        Dimension::Band => "time waited",
        Dimension::CaseType => "type of case",
    }
}

const LINE_COLUMNS: [&str; 7] = [
    "",
    "rows",
    "patients",
    "transactions",
    "gas used",
    "USD, prices of the days",
    "USD, fixed price",
];

fn ratio_sentence(more: &str, large: u64, than: &str, small: u64) -> String {
    let wide = |number: u64| Fiat(alloy_primitives::U256::from(number));
    match words::times(wide(large), wide(small)) {
        Some(times) => format!("{more} uses {times} the gas of {than}."),
        None => format!("{more} uses gas, {than} none."),
    }
}
