//! What the work on a waiting list costs, by what its rows say.

use std::collections::BTreeMap;

use crate::{
    results::{Line, ModeResults, Results},
    tally::{Dimension, Mode},
};

use super::{
    Basis, DrawError, Figure,
    bars::{BarChart, Marks, Panel},
    canvas::palette,
    colour_of, named,
    scale::{amount, count, whole},
    sheet::Words,
    source_of_costs, source_of_rows,
    table::TableFigure,
    told,
};

const WIDTH: f64 = 940.0;

/// The head of the data and its columns: the paper's Fig. 5.
pub(super) fn dataset(results: &Results) -> Result<Vec<Figure>, DrawError> {
    let (head, attributes) = (&results.dataset.head, &results.dataset.attributes);
    let source = source_of_rows(results);
    let mut figures = Vec::new();
    if !head.rows.is_empty() {
        let words = Words {
            title: "The data set: its first rows as published".into(),
            subtitle: format!("{}, one row for each count of people who wait", head.file),
            source: source.clone(),
        };
        let alt = format!(
            "A table with the first {} rows of {} and its {} columns: {}.",
            head.rows.len(),
            head.file,
            head.columns.len(),
            head.columns.join(", ")
        );
        let table = TableFigure {
            words: words.clone(),
            columns: head.columns.clone(),
            rows: head.rows.clone(),
        };
        figures.push(Figure::of("dataset-head".into(), &words, alt, table.draw())?);
    }
    if !attributes.is_empty() {
        let words = Words {
            title: "The data set: its attributes".into(),
            subtitle: "Of all rows that were used; missing: rows in which nothing stands".into(),
            source,
        };
        let row = |one: &crate::results::Attribute| {
            let (distinct, missing) = (count(one.distinct), count(one.missing));
            vec![one.name.clone(), one.kind.clone(), distinct, missing, one.sample.clone()]
        };
        let alt = format!(
            "A table of {} attributes with type, number of different values, missing values and a sample.",
            attributes.len()
        );
        let table = TableFigure {
            words: words.clone(),
            columns: ["attribute", "type", "different values", "missing", "first value"]
                .map(String::from)
                .to_vec(),
            rows: attributes.iter().map(row).collect(),
        };
        figures.push(Figure::of("dataset-attributes".into(), &words, alt, table.draw())?);
    }
    Ok(figures)
}

/// Lines with what they cost, the dearest first.
struct Ranked<'a> {
    basis: Basis,
    lines: Vec<(&'a String, &'a Line)>,
}

impl<'a> Ranked<'a> {
    fn of(mode: &'a ModeResults, lines: &'a BTreeMap<String, Line>) -> Self {
        let basis = Basis::of(&mode.total);
        let mut lines: Vec<_> = lines.iter().collect();
        // Gas decides where money is the same, and the name where gas is.
        lines.sort_by(|(name, line), (other_name, other)| {
            basis
                .usd(other)
                .total_cmp(&basis.usd(line))
                .then(other.sums.gas.total().cmp(&line.sums.gas.total()))
                .then(name.cmp(other_name))
        });
        Self { basis, lines }
    }

    fn labels(&self) -> Vec<String> {
        self.lines.iter().map(|(label, _)| (*label).clone()).collect()
    }

    fn costs(&self) -> Vec<(f64, String)> {
        let usd = |line: &Line| self.basis.usd(line);
        self.lines.iter().map(|(_, line)| (usd(line), amount(usd(line)))).collect()
    }

    fn counts(&self, of: impl Fn(&Line) -> u64) -> Vec<(f64, String)> {
        self.lines.iter().map(|(_, line)| (of(line) as f64, count(of(line)))).collect()
    }

    fn alt(&self, what: &str) -> String {
        let say = |(label, line): &(&String, &Line)| {
            format!("{label} (USD {})", amount(self.basis.usd(line)))
        };
        match self.lines.as_slice() {
            [] => format!("Bars, one for each {what}; there are none."),
            [only] => format!("One bar: {}.", say(only)),
            [first, .., last] => format!(
                "{} bars, one for each {what}, by cost: from {} down to {}.",
                self.lines.len(),
                say(first),
                say(last)
            ),
        }
    }
}

/// Total cost by specialty, the paper's Fig. 6: by row and by patient, beside what the other would rank by.
pub(super) fn by_specialty(results: &Results) -> Result<Vec<Figure>, DrawError> {
    let mut figures = Vec::new();
    for (mode, of) in results.modes.iter().filter(|(mode, _)| **mode != Mode::Batch) {
        let Some(lines) = of.by.get(&Dimension::Specialty).filter(|lines| !lines.is_empty()) else {
            continue;
        };
        let ranked = Ranked::of(of, lines);
        let (other, counts) = match mode {
            Mode::Row => ("patients counted", ranked.counts(|line| line.sums.patients)),
            _ => ("rows", ranked.counts(|line| line.sums.rows)),
        };
        let words = Words {
            title: format!("Total cost by specialty, {}", told(*mode)),
            subtitle: format!(
                "Left: US dollars {}, dearest first. Right: {other}, by which the order would be another",
                ranked.basis.told()
            ),
            source: source_of_costs(results, ranked.basis),
        };
        let chart = BarChart {
            words: words.clone(),
            labels: ranked.labels(),
            panels: vec![
                Panel::plain("cost (USD)", colour_of(*mode), ranked.costs()),
                Panel::plain(other, palette::SKY, counts),
            ],
            legend: Vec::new(),
            columns: 1,
            width: WIDTH,
        };
        let name = format!("cost-by-specialty-{}", named(*mode));
        figures.push(Figure::of(name, &words, ranked.alt("specialty"), chart.draw())?);
    }
    Ok(figures)
}

/// Specialties in the order of their HIPE codes: the paper's Fig. 7.
pub(super) fn codes(results: &Results) -> Result<Option<Figure>, DrawError> {
    let Some((mode, of)) = results.modes.iter().next() else { return Ok(None) };
    let Some(lines) = of.by.get(&Dimension::Specialty) else { return Ok(None) };
    let parts = |label: &str| {
        let (code, name) = label.split_once(' ')?;
        let number: u32 = code.parse().ok()?;
        Some((number, code.to_owned(), name.to_owned()))
    };
    let mut coded: Vec<_> =
        lines.iter().filter_map(|(label, line)| Some((parts(label)?, line))).collect();
    if coded.is_empty() {
        return Ok(None);
    }
    coded.sort_by(|(one, _), (other, _)| one.cmp(other));
    let basis = Basis::of(&of.total);
    let words = Words {
        title: format!("Specialties and their HIPE codes, {}", told(*mode)),
        subtitle: format!(
            "Left: the code, which is a name and no quantity. Right: cost in US dollars {}",
            basis.told()
        ),
        source: source_of_costs(results, basis),
    };
    let code = |((number, code, _), _): &((u32, String, String), &Line)| {
        (f64::from(*number), code.clone())
    };
    let cost = |(_, line): &(_, &Line)| (basis.usd(line), amount(basis.usd(line)));
    let chart = BarChart {
        words: words.clone(),
        labels: coded.iter().map(|((.., name), _)| name.clone()).collect(),
        panels: vec![
            Panel {
                marks: Marks::Dots,
                ..Panel::plain("HIPE code", palette::ORANGE, coded.iter().map(code).collect())
            },
            Panel::plain("cost (USD)", colour_of(*mode), coded.iter().map(cost).collect()),
        ],
        legend: Vec::new(),
        columns: 1,
        width: WIDTH,
    };
    let first = &coded[0].0;
    let last = &coded[coded.len() - 1].0;
    let alt = format!(
        "{} specialties in the order of their HIPE codes, from {} ({}) to {} ({}), each with its cost.",
        coded.len(),
        first.1,
        first.2,
        last.1,
        last.2
    );
    Figure::of("specialty-codes".into(), &words, alt, chart.draw()).map(Some)
}

/// What a figure by an attribute is called, and how its lines are ordered.
struct Attribute {
    dimension: Dimension,
    name: &'static str,
    title: &'static str,
    what: &'static str,
}

/// Cost by hospital, age and time band, by row and by patient.
pub(super) fn by_attribute(results: &Results) -> Result<Vec<Figure>, DrawError> {
    let attributes = [
        Attribute {
            dimension: Dimension::Hospital,
            name: "cost-by-hospital",
            title: "Total cost by hospital",
            what: "hospital",
        },
        Attribute {
            dimension: Dimension::Age,
            name: "cost-by-age",
            title: "Total cost by age",
            what: "age",
        },
        Attribute {
            dimension: Dimension::Band,
            name: "cost-by-time-band",
            title: "Total cost by how long people have waited",
            what: "time band",
        },
    ];
    let mut figures = Vec::new();
    for attribute in attributes {
        for (mode, of) in results.modes.iter().filter(|(mode, _)| **mode != Mode::Batch) {
            let Some(lines) = of.by.get(&attribute.dimension).filter(|lines| !lines.is_empty())
            else {
                continue;
            };
            let mut ranked = Ranked::of(of, lines);
            let alt = ranked.alt(attribute.what);
            let is_hospital = attribute.dimension == Dimension::Hospital;
            if !is_hospital {
                // Ages and bands have an order of their own.
                ranked.lines.sort_by_key(|(label, _)| (leading_number(label), (*label).clone()));
            }
            let words = Words {
                title: format!("{}, {}", attribute.title, told(*mode)),
                subtitle: format!(
                    "US dollars {}; rows and patients beside it",
                    ranked.basis.told()
                ),
                source: source_of_costs(results, ranked.basis),
            };
            let chart = BarChart {
                words: words.clone(),
                labels: ranked.labels().into_iter().map(said).collect(),
                panels: vec![
                    Panel::plain("cost (USD)", colour_of(*mode), ranked.costs()),
                    Panel::plain("rows", palette::SKY, ranked.counts(|line| line.sums.rows)),
                    Panel::plain(
                        "patients counted",
                        palette::ORANGE,
                        ranked.counts(|line| line.sums.patients),
                    ),
                ],
                legend: Vec::new(),
                columns: 1,
                width: if is_hospital { 1_080.0 } else { WIDTH },
            };
            let name = format!("{}-{}", attribute.name, named(*mode));
            figures.push(Figure::of(name, &words, alt, chart.draw())?);
        }
    }
    Ok(figures)
}

fn said(label: String) -> String {
    if label.is_empty() { "(empty)".into() } else { label }
}

/// The number with which a label begins; labels without one come last.
fn leading_number(label: &str) -> u32 {
    let digits: String = label
        .trim_start()
        .chars()
        .skip_while(|letter| !letter.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    // What has no end, as in `18 Months +`, comes after what begins with the same number.
    digits.parse::<u32>().map_or(u32::MAX, |number| number * 2 + u32::from(label.contains('+')))
}

/// The ways to put the same list on a chain, side by side.
pub(super) fn modes(results: &Results) -> Result<Option<Figure>, DrawError> {
    let modes: Vec<(Mode, Line)> =
        results.compared.modes.iter().map(|(mode, line)| (*mode, *line)).collect();
    if modes.len() < 2 {
        return Ok(None);
    }
    let per = |gas: u64, of: u64| if of == 0 { 0.0 } else { gas as f64 / of as f64 };
    let panel = |axis: &str, note: fn(f64) -> String, value: &dyn Fn(&Line) -> f64| Panel {
        axis: axis.into(),
        marks: Marks::LogDots,
        colours: modes.iter().map(|(mode, _)| colour_of(*mode)).collect(),
        values: modes.iter().map(|(_, of)| vec![value(of)]).collect(),
        notes: modes.iter().map(|(_, of)| note(value(of))).collect(),
    };
    let basis = match modes.iter().all(|(_, line)| line.on_day.is_some()) {
        true => Basis::OnDay,
        false => Basis::Fixed,
    };
    let sums = modes[0].1.sums;
    let words = Words {
        title: "Prices of the same list, by how its rows become transactions".into(),
        subtitle: format!(
            "{} rows that count {} patients. Logarithmic axes; US dollars {}",
            count(sums.rows),
            count(sums.patients),
            basis.told()
        ),
        source: source_of_costs(results, basis),
    };
    let chart = BarChart {
        words: words.clone(),
        labels: modes.iter().map(|(mode, _)| told(*mode).into()).collect(),
        panels: vec![
            panel("transactions", whole, &|of| of.sums.transactions as f64),
            panel("gas for each patient", amount, &|of| per(of.sums.gas.total(), of.sums.patients)),
            panel("cost (USD)", amount, &|of| basis.usd(of)),
        ],
        legend: Vec::new(),
        columns: 1,
        width: 1_080.0,
    };
    let told: Vec<String> = modes
        .iter()
        .map(|(mode, of)| format!("{} costs USD {}", told(*mode), amount(basis.usd(of))))
        .collect();
    let alt = format!("Dots on logarithmic axes: {}.", told.join("; "));
    Figure::of("mode-comparison".into(), &words, alt, chart.draw()).map(Some)
}
