//! The folder that `salus study` wrote, read by name: by the names that its manifest has, and no other.
//!
//! A file is shown only if it is, byte for byte, what the manifest says was written; so what stands on a page is what
//! the study found, or the page says that it was altered. Nothing outside the folder can be named.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use alloy_primitives::B256;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The longest file that is read, in bytes: the longest that a study of all published lists writes is 6 MB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The longest name, without folder and ending.
const NAME_MAX: usize = 80;

/// A study that is there.
#[derive(Debug)]
pub(crate) struct Study {
    folder: PathBuf,
    pub(crate) manifest: Manifest,
}

/// What a study was made of, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) setup: Setup,
    pub(crate) options: Options,
    pub(crate) inputs: Vec<Input>,
    #[serde(default)]
    pub(crate) chains: Vec<Value>,
    /// The SHA-256 of each file that was written, by its path in the folder.
    pub(crate) outputs: BTreeMap<String, B256>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) rows: Option<u64>,
    pub(crate) version: String,
    pub(crate) contracts: B256,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Options {
    pub(crate) fixed: Fixed,
    pub(crate) daily: Option<Value>,
    pub(crate) modes: Vec<String>,
}

/// The price that does not change.
#[derive(Debug, Deserialize)]
pub(crate) struct Fixed {
    pub(crate) wei_per_gas: u64,
    /// In millionths.
    pub(crate) usd_per_ether: u64,
    pub(crate) origin: String,
}

/// A file that was read.
#[derive(Debug, Deserialize)]
pub(crate) struct Input {
    pub(crate) role: String,
    pub(crate) file: String,
    pub(crate) digest: B256,
}

/// A file of a study, by one of the names that there can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A figure as SVG.
    Svg(String),
    /// A figure as PNG.
    Png(String),
    /// A table.
    Csv(String),
    /// The report as one HTML file.
    ReportHtml,
    /// The report as Markdown.
    ReportMarkdown,
    /// What each column of the tables means.
    Guide,
}

/// Why there is no study, or no such file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StudyError {
    /// No folder is configured.
    #[error("no folder with a study is configured")]
    NotConfigured,
    /// The folder has no manifest: no study finished there.
    #[error("the folder has no finished study")]
    NoManifest(#[source] io::Error),
    /// The manifest cannot be read.
    #[error("the study's manifest cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// The manifest does not name it.
    #[error("the study has no such file")]
    NoSuchFile,
    /// The manifest names it and it is gone, or cannot be read.
    #[error("a file of the study is missing")]
    Missing(#[source] io::Error),
    /// It is not what the manifest says was written.
    #[error("a file of the study was altered after it was written")]
    Altered,
}

/// What the files of a study are, held against its manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) same: usize,
    pub(crate) altered: Vec<String>,
    pub(crate) missing: Vec<String>,
}

impl Name {
    /// A file by folder and name, as a path in the portal has them; `None` for whatever no study writes.
    pub(crate) fn parse(folder: &str, name: &str) -> Option<Self> {
        let (stem, ending) = name.rsplit_once('.')?;
        let is_plain = (1..=NAME_MAX).contains(&stem.len())
            && stem
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        match (folder, ending) {
            ("figures", "svg") if is_plain => Some(Self::Svg(stem.into())),
            ("figures", "png") if is_plain => Some(Self::Png(stem.into())),
            ("tables", "csv") if is_plain => Some(Self::Csv(stem.into())),
            ("report", "html") if stem == "report" => Some(Self::ReportHtml),
            ("report", "md") if stem == "report" => Some(Self::ReportMarkdown),
            _ => None,
        }
    }

    /// Where it is in the study's folder.
    fn path(&self) -> String {
        match self {
            Self::Svg(name) => format!("figures/{name}.svg"),
            Self::Png(name) => format!("figures/{name}.png"),
            Self::Csv(name) => format!("tables/{name}.csv"),
            Self::ReportHtml => "report.html".into(),
            Self::ReportMarkdown => "report.md".into(),
            Self::Guide => "tables/README.md".into(),
        }
    }

    /// What it is to a browser.
    pub(crate) const fn media_type(&self) -> &'static str {
        match self {
            Self::Svg(_) => "image/svg+xml",
            Self::Png(_) => "image/png",
            Self::Csv(_) => "text/csv; charset=utf-8",
            Self::ReportHtml => "text/html; charset=utf-8",
            Self::ReportMarkdown | Self::Guide => "text/markdown; charset=utf-8",
        }
    }

    /// Whether a page shows it, or people keep it.
    pub(crate) const fn is_picture(&self) -> bool {
        matches!(self, Self::Svg(_) | Self::Png(_))
    }
}

impl Study {
    /// Opens the study in a folder.
    ///
    /// # Errors
    ///
    /// [`StudyError`] when there is none.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, StudyError> {
        let folder = folder.ok_or(StudyError::NotConfigured)?.to_owned();
        let text = read(&folder.join("manifest.json")).map_err(StudyError::NoManifest)?;
        let manifest = serde_json::from_slice(&text).map_err(StudyError::Unreadable)?;
        Ok(Self { folder, manifest })
    }

    /// The names of its figures, without folder and ending, in the alphabet's order.
    pub(crate) fn figures(&self) -> impl Iterator<Item = &str> {
        let names = self.manifest.outputs.keys();
        names.filter_map(|name| name.strip_prefix("figures/")?.strip_suffix(".svg"))
    }

    /// Whether it has a table of this name.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.manifest.outputs.contains_key(&name.path())
    }

    /// A file, exactly as it was written.
    ///
    /// # Errors
    ///
    /// [`StudyError`] when the manifest does not name it, or it is not what was written.
    pub(crate) fn read(&self, name: &Name) -> Result<Vec<u8>, StudyError> {
        let path = name.path();
        let digest = self.manifest.outputs.get(&path).ok_or(StudyError::NoSuchFile)?;
        let content = read(&self.folder.join(path)).map_err(StudyError::Missing)?;
        if digest_of(&content) != *digest {
            return Err(StudyError::Altered);
        }
        Ok(content)
    }

    /// A text file, exactly as it was written.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub(crate) fn text(&self, name: &Name) -> Result<String, StudyError> {
        // Only UTF-8 is ever written, and the digest says that this was.
        Ok(String::from_utf8_lossy(&self.read(name)?).into_owned())
    }

    /// Holds every file against the manifest.
    pub(crate) fn check(&self) -> Checked {
        let mut checked = Checked::default();
        for (name, digest) in &self.manifest.outputs {
            // The manifest is a file like the others: what it names outside the folder is not looked at.
            let is_inside = Path::new(name)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            match is_inside.then(|| read(&self.folder.join(name))) {
                Some(Ok(content)) if digest_of(&content) == *digest => checked.same += 1,
                Some(Ok(_)) => checked.altered.push(name.clone()),
                Some(Err(_)) | None => checked.missing.push(name.clone()),
            }
        }
        checked
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("longer than any file of a study"));
    }
    fs::read(path)
}

fn digest_of(content: &[u8]) -> B256 {
    B256::from_slice(&Sha256::digest(content))
}

/// A table as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// How many rows there are that match, shown or not.
    pub(crate) in_all: usize,
}

impl Table {
    /// The rows of a CSV file whose columns have these values, at most `most` of them, without those columns.
    pub(crate) fn of(csv: &str, only: &[(&str, &str)], most: usize) -> Option<Self> {
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let columns: Vec<String> = reader.headers().ok()?.iter().map(str::to_owned).collect();
        let wanted: Option<Vec<(usize, &str)>> = only
            .iter()
            .map(|(column, value)| Some((columns.iter().position(|name| name == column)?, *value)))
            .collect();
        let wanted = wanted?;
        let is_left_out = |index: usize| wanted.iter().any(|(column, _)| *column == index);
        let (mut rows, mut in_all) = (Vec::new(), 0);
        for record in reader.records() {
            let record = record.ok()?;
            if !wanted.iter().all(|(column, value)| record.get(*column) == Some(*value)) {
                continue;
            }
            in_all += 1;
            if rows.len() < most {
                let cells = record.iter().enumerate();
                let cells = cells.filter(|(index, _)| !is_left_out(*index));
                rows.push(cells.map(|(_, cell)| cell.to_owned()).collect());
            }
        }
        let kept = columns.into_iter().enumerate().filter(|(index, _)| !is_left_out(*index));
        Some(Self { columns: kept.map(|(_, name)| name).collect(), rows, in_all })
    }
}

/// A figure as the report has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// Its file's name without an ending.
    pub(crate) name: String,
    /// What is seen.
    pub(crate) caption: String,
    /// What it shows, in words, for whoever cannot see it.
    pub(crate) alt: String,
}

/// The figures in the order of the report, with its words; those that it does not show come last.
pub(crate) fn drawn(study: &Study, report: &str) -> Vec<Drawn> {
    let mut found: Vec<Drawn> = Vec::new();
    let mut lines = report.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((alt, rest)) = line.strip_prefix("![").and_then(|rest| rest.rsplit_once("]("))
        else {
            continue;
        };
        let name = rest.strip_prefix("figures/").and_then(|rest| rest.strip_suffix(".svg)"));
        let Some(name) = name.filter(|name| study.has(&Name::Svg((*name).to_owned()))) else {
            continue;
        };
        while lines.next_if(|line| line.is_empty()).is_some() {}
        // `**Figure 3.** What is seen.`
        let caption =
            lines.peek().and_then(|line| line.strip_prefix("**Figure ")?.split_once("** "));
        let caption = caption.map_or_else(|| name.to_owned(), |(_, caption)| plain(caption));
        found.push(Drawn { name: name.to_owned(), caption, alt: plain(alt) });
    }
    for name in study.figures() {
        if !found.iter().any(|drawn| drawn.name == name) {
            let words = name.replace('-', " ");
            found.push(Drawn { name: name.to_owned(), caption: words.clone(), alt: words });
        }
    }
    found
}

/// What the report says in short: its first paragraphs, without their marks.
pub(crate) fn in_short(report: &str) -> Vec<String> {
    let body = report.split("\n## ").next().unwrap_or_default();
    let lines =
        body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| plain(line.trim_start_matches("- "))).collect()
}

/// Markdown without its marks.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::new();
    let text = text.replace("**", "").replace('`', "");
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
    }
    plain
}

/// The table that a figure is drawn from, and which of its rows.
pub(crate) fn table_of(figure: &str) -> Option<(String, Vec<(&'static str, String)>)> {
    let fixed = [
        ("dataset-head", "head"),
        ("dataset-attributes", "attributes"),
        ("transactions-pending", "pending"),
        ("mode-comparison", "modes"),
        ("specialty-codes", "specialty-code"),
        ("cost-per-day", "days"),
        ("gas-per-operation", "operations"),
        ("deployment", "deployment"),
        ("workflows", "workflows"),
    ];
    if let Some((_, table)) = fixed.iter().find(|(name, _)| *name == figure) {
        return Some(((*table).to_owned(), Vec::new()));
    }
    if let Some(rest) = figure.strip_prefix("fit-") {
        let mut parts = rest.splitn(3, '-');
        let (mode, over, against) = (parts.next()?, parts.next()?, parts.next()?);
        let only = [("mode", mode), ("over", over), ("against", against)];
        return Some((
            "fit-points".into(),
            only.map(|(column, value)| (column, value.to_owned())).into(),
        ));
    }
    let (dimension, mode) = figure.strip_prefix("cost-by-")?.rsplit_once('-')?;
    let table = if dimension == "time-band" { "band" } else { dimension };
    Some((table.to_owned(), vec![("mode", mode.to_owned())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_study_writes_are_names() {
        for (folder, name) in [
            ("figures", "../manifest.svg"),
            ("figures", "a/b.svg"),
            ("figures", ".svg"),
            ("figures", "A.svg"),
            ("figures", "a%2e.svg"),
            ("figures", "x.html"),
            ("tables", "sources.csv.csv"),
            ("tables", "..csv"),
            ("..", "report.html"),
            ("report", "other.html"),
            ("work", "begun.json"),
            ("", "manifest.json"),
        ] {
            assert_eq!(Name::parse(folder, name), None, "{folder}/{name}");
        }
        assert_eq!(Name::parse("figures", "a-1.svg"), Some(Name::Svg("a-1".into())));
        assert_eq!(Name::parse("tables", "sources.csv"), Some(Name::Csv("sources".into())));
        assert_eq!(Name::parse("figures", &format!("{}.svg", "a".repeat(81))), None);
    }

    #[test]
    fn a_table_is_cut_to_what_a_figure_shows() {
        let csv = "mode,age,rows\r\nrow,\"0-15, all\",3\r\nbatch,0-15,1\r\nrow,16-64,4\r\n";
        let table = Table::of(csv, &[("mode", "row")], 1).unwrap();
        assert_eq!(table.columns, ["age", "rows"]);
        assert_eq!(table.rows, [["0-15, all", "3"]]);
        assert_eq!(table.in_all, 2);
        assert_eq!(Table::of(csv, &[("nothing", "row")], 1), None);
    }

    #[test]
    fn figures_know_their_tables() {
        let check = |figure: &str, table: &str, only: usize| {
            let found = table_of(figure).unwrap();
            assert_eq!((found.0.as_str(), found.1.len()), (table, only), "{figure}");
        };
        check("cost-by-time-band-row", "band", 1);
        check("cost-by-adult-child-patient", "adult-child", 1);
        check("fit-row-specialties-patients", "fit-points", 3);
        check("cost-per-day", "days", 0);
        assert_eq!(table_of("something-new"), None);
    }

    #[test]
    fn marks_of_markdown_are_taken_off() {
        assert_eq!(plain("**Row mode**: `a` and op\\_2018"), "Row mode: a and op_2018");
        let report = "# T\n\nFirst.\n\n- **A**: b\n\n## Method\n\nNo.";
        assert_eq!(in_short(report), ["First.", "A: b"]);
    }
}
