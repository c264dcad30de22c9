//! `salus simulate`: what a city, a country, or the world would take, worked out on paper.

use std::{fmt::Write as _, process::ExitCode};

use serde_json::json;
use study::simulate::{ENGINE_SOURCES, Engine, Inputs, Layout, Price, Step, Year, presets, steps};

use crate::{Error, cli::ScaleOptions, printing::say, table::Table};

/// One column of the answer.
struct Column {
    inputs: Inputs,
    year: Year,
    steps: Vec<Step>,
    holds: Layout,
}

/// Works it out, prints it, and writes it where it was asked for.
pub(crate) fn simulate(options: &ScaleOptions) -> Result<ExitCode, Error> {
    let columns = columns(options)?;
    if let Some(path) = &options.out {
        std::fs::write(path, csv(&columns))
            .map_err(|error| format!("could not write {}: {error}", path.display()))?;
    }
    if options.json {
        say!("{}", serde_json::to_string_pretty(&to_json(&columns))?);
    } else {
        say!("{}", text(&columns).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn columns(options: &ScaleOptions) -> Result<Vec<Column>, Error> {
    let engine = engine(options)?;
    let mut layout = Layout::default();
    set(&mut layout.batch, options.batch);
    set(&mut layout.receipts, options.receipts);
    set(&mut layout.copies, options.copies);
    set(&mut layout.years, options.years);
    set(&mut layout.peak, options.peak);
    let wanted =
        |name: &str| options.preset.is_empty() || options.preset.iter().any(|one| one == name);
    let mut columns = Vec::new();
    for mut population in presets().into_iter().filter(|preset| wanted(&preset.name)) {
        set(&mut population.people, options.people);
        set(&mut population.institutions, options.institutions);
        set(&mut population.records, options.records);
        set(&mut population.reads, options.reads);
        set(&mut population.signatures, options.signatures);
        set(&mut population.joining, options.joining);
        let inputs = Inputs {
            population,
            layout: layout.clone(),
            engine: engine.clone(),
            price: Price { gwei: options.gwei, usd_per_ether: options.usd },
        };
        let year = inputs.year()?;
        let (steps, holds) = steps(&inputs)?;
        columns.push(Column { inputs, year, steps, holds });
    }
    Ok(columns)
}

fn set(figure: &mut f64, given: Option<f64>) {
    if let Some(given) = given {
        *figure = given;
    }
}

/// The engine's figures: the defaults, then the file's, then the flags'.
fn engine(options: &ScaleOptions) -> Result<Engine, Error> {
    let mut engine = match &options.measured {
        None => Engine::default(),
        Some(path) => {
            let text = std::fs::read(path)
                .map_err(|error| format!("could not read {}: {error}", path.display()))?;
            serde_json::from_slice(&text)
                .map_err(|error| format!("{} has no measured figures: {error}", path.display()))?
        }
    };
    set(&mut engine.block_seconds, options.block_seconds);
    set(&mut engine.validators, options.validators);
    set(&mut engine.transactions_per_second, options.transactions_per_second);
    set(&mut engine.gas_per_second, options.gas_per_second);
    set(&mut engine.link_bytes_per_second, options.link_bytes_per_second);
    set(&mut engine.record_bytes, options.record_bytes);
    Ok(engine)
}

/// A line of the table: what it is, and what it is for a column.
type Row = (&'static str, fn(&Column) -> String);

const GIVEN: [Row; 6] = [
    ("people", |column| number(column.inputs.population.people)),
    ("institutions", |column| number(column.inputs.population.institutions)),
    ("records / person / year", |column| number(column.inputs.population.records)),
    ("reads / person / year", |column| number(column.inputs.population.reads)),
    ("consents / person / year", |column| number(column.inputs.population.signatures)),
    ("records / batch", |column| number(column.inputs.layout.batch)),
];

const TAKEN: [Row; 19] = [
    ("transactions / year", |column| number(column.year.transactions)),
    ("  by which people join", |column| number(column.year.joining)),
    ("  consents", |column| number(column.year.signatures)),
    ("  batches of records", |column| number(column.year.anchors)),
    ("  batches of receipts", |column| number(column.year.appends)),
    ("transactions / busiest second", |column| number(column.year.peak_transactions_per_second)),
    ("blocks / year", |column| number(column.year.blocks)),
    ("gas / year", |column| number(column.year.gas)),
    ("block log / year", |column| bytes(column.year.log_bytes)),
    ("state after the years", |column| bytes(column.year.state_bytes)),
    ("vaults / year", |column| bytes(column.year.vault_bytes)),
    ("one vault / year", |column| bytes(column.year.institution_vault_bytes)),
    ("a validator sends at most", |column| rate(column.year.validator_bytes_per_second)),
    ("an institution moves at most", |column| rate(column.year.institution_bytes_per_second)),
    ("a record waits for its batch", |column| duration(column.year.anchor_wait_seconds)),
    ("everybody joins in", |column| duration(column.year.onboarding_seconds)),
    ("public chain: ether / year", |column| number(column.year.ether)),
    ("public chain: USD / year", |column| number(column.year.usd)),
    ("of Ethereum's main network", |column| {
        format!("{} %", number(column.year.public_share * 100.0))
    }),
];

fn text(columns: &[Column]) -> String {
    let mut text = String::from("On paper, with figures of this build; nothing was run.\n\n");
    let mut head = vec![""];
    head.extend(columns.iter().map(|column| column.inputs.population.name.as_str()));
    let right: Vec<usize> = (1..head.len()).collect();
    let mut table = Table::new(&head, &right);
    for (name, of) in GIVEN.iter().chain(&TAKEN) {
        let cells = columns.iter().map(of);
        table.row(std::iter::once((*name).to_owned()).chain(cells).collect());
    }
    text += &table.to_string();
    text += "\nWhat runs out first, from each record in a transaction of its own, and what would have to change:\n";
    for column in columns {
        let _ = writeln!(text, "\n  {}", column.inputs.population.name);
        for step in &column.steps {
            if let Some(remedy) = step.remedy {
                let _ = writeln!(text, "    then {}", remedy.told());
            }
            let load = step.bottleneck;
            let times = number(load.times);
            let _ = if load.times > 1.0 {
                writeln!(text, "      {}: {times} times what there is", load.resource.told())
            } else {
                let share = number(load.times * 100.0);
                writeln!(text, "      it holds: at most {share} % of {}", load.resource.told())
            };
        }
    }
    text += "\nA private chain costs no gas: it takes the validators, disks and links above. No price of hardware is assumed.\n\
             Figures of the engine (docs/simulate.md):\n";
    for (name, source) in ENGINE_SOURCES {
        let _ = writeln!(text, "  {name}: {source}");
    }
    text
}

fn to_json(columns: &[Column]) -> serde_json::Value {
    let column = |column: &Column| {
        json!({
            "inputs": column.inputs,
            "year": column.year,
            "steps": column.steps,
            "layout_that_holds": column.holds,
        })
    };
    let sources: serde_json::Map<_, _> =
        ENGINE_SOURCES.iter().map(|(name, source)| ((*name).into(), json!(source))).collect();
    json!({ "columns": columns.iter().map(column).collect::<Vec<_>>(), "engine_sources": sources })
}

/// One line for each population: its name, what went in, what it takes, and what runs out first.
fn csv(columns: &[Column]) -> String {
    let mut text = String::new();
    for (index, column) in columns.iter().enumerate() {
        let mut fields = vec![("name".to_owned(), column.inputs.population.name.clone())];
        for part in [
            json!(column.inputs.population),
            json!(column.inputs.layout),
            json!(column.inputs.engine),
            json!(column.inputs.price),
            json!(column.year),
        ] {
            for (name, value) in part.as_object().into_iter().flatten() {
                if name != "name" {
                    fields.push((name.clone(), value.to_string()));
                }
            }
        }
        let load = column.steps[0].bottleneck;
        fields.push(("first_bottleneck_without_batches".into(), load.resource.told().into()));
        fields.push(("times_what_there_is".into(), load.times.to_string()));
        fields.push(("ledgers_that_hold".into(), column.holds.ledgers.to_string()));
        let line = |part: fn(&(String, String)) -> &String| {
            fields.iter().map(part).cloned().collect::<Vec<_>>().join(",")
        };
        if index == 0 {
            text += &(line(|(name, _)| name) + "\n");
        }
        text += &(line(|(_, value)| value) + "\n");
    }
    text
}

/// Three digits that tell something, and a prefix.
fn number(value: f64) -> String {
    let prefixes =
        [(1e18, " E"), (1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    for (size, prefix) in prefixes {
        if value >= size * 0.999_5 {
            return digits(value / size) + prefix;
        }
    }
    digits(value)
}

fn digits(value: f64) -> String {
    let decimals = match value {
        value if value >= 99.95 || value == 0.0 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.1 => 2,
        value if value >= 0.001 => 4,
        _ => 6,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

fn bytes(value: f64) -> String {
    let text = number(value);
    if text.contains(' ') { text + "B" } else { text + " B" }
}

fn rate(value: f64) -> String {
    bytes(value) + "/s"
}

fn duration(seconds: f64) -> String {
    for (size, unit) in [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")] {
        if seconds >= size {
            return format!("{} {unit}", number(seconds / size));
        }
    }
    format!("{} s", number(seconds))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn options(arguments: &[&str]) -> ScaleOptions {
        let all = ["salus", "simulate"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Simulate(options) => options,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(arguments: &[&str]) -> String {
        columns(&options(arguments)).err().unwrap().to_string()
    }

    #[test]
    fn all_presets_are_shown_with_what_runs_out_first() {
        let text = text(&columns(&options(&[])).unwrap());
        for word in ["city", "ireland", "eu", "world", "5.3 M", "8.1 G", "it holds", "Merkle root"]
        {
            assert!(text.contains(word), "{word} is missing:\n{text}");
        }
    }

    #[test]
    fn flags_override_the_file_and_the_file_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("measured.json");
        std::fs::write(&path, r#"{"gas_per_second": 5e6, "validators": 7}"#).unwrap();
        let path = path.to_str().unwrap();
        let given =
            ["--measured", path, "--validators", "10", "--preset", "city", "--people", "5e4"];
        let columns = columns(&options(&given)).unwrap();
        assert_eq!(columns.len(), 1);
        let inputs = &columns[0].inputs;
        assert_eq!((inputs.engine.gas_per_second, inputs.engine.validators), (5e6, 10.0));
        assert_eq!(inputs.engine.block_seconds, Engine::default().block_seconds);
        assert_eq!(inputs.population.people, 5e4);
    }

    #[test]
    fn bad_figures_are_refused() {
        assert_eq!(refusal(&["--people", "0"]), "`people` must be a number above 0");
        assert_eq!(refusal(&["--records=-1"]), "`records` must be 0 or a number above it");
        assert_eq!(refusal(&["--batch", "NaN"]), "`batch` must be a number above 0");
        assert!(refusal(&["--measured", "/nowhere/at.all"]).starts_with("could not read"));
        let parse = |argument: &[&str]| {
            Cli::try_parse_from(["salus", "simulate"].iter().chain(argument)).is_err()
        };
        assert!(parse(&["--preset", "atlantis"]));
        assert!(parse(&["--people", "many"]));
    }

    #[test]
    fn unknown_measured_figures_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("measured.json");
        std::fs::write(&path, r#"{"gas_per_minute": 1}"#).unwrap();
        let message = refusal(&["--measured", path.to_str().unwrap()]);
        assert!(message.contains("gas_per_minute"), "{message}");
    }

    #[test]
    fn the_table_of_figures_has_as_many_fields_in_each_line() {
        let csv = csv(&columns(&options(&[])).unwrap());
        let counts: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(counts.len(), 5);
        assert!(counts.iter().all(|count| *count == counts[0]), "{csv}");
        assert!(csv.starts_with("name,"));
    }

    #[test]
    fn numbers_are_read_easily() {
        let check = |value, expected: &str| assert_eq!(number(value), expected);
        check(0.0, "0");
        check(0.01234, "0.0123");
        check(12.0, "12");
        check(12.34, "12.3");
        check(999.9, "1 k");
        check(5.3e6, "5.3 M");
        check(1e21, "1000 E");
        assert_eq!(bytes(1_500.0), "1.5 kB");
        assert_eq!(bytes(5.0), "5 B");
        assert_eq!(rate(2e6), "2 MB/s");
        assert_eq!(duration(90.0), "1.5 min");
        assert_eq!(duration(2.0 * 86_400.0), "2 d");
    }
}
