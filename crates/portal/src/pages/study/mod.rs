//! The cost study: its figures as pictures, the table under each, what it was made of, and whether the files are
//! what it wrote. It shows a folder that `salus study` wrote; it computes nothing.

mod folder;

use std::path::PathBuf;

use axum::{
    extract::Path,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use maud::{Markup, html};

use crate::{
    design::parts::{Tone, badge, card, code, empty, facts, more, notice, table},
    fault::Fault,
    routes::{Audience, Route},
    visitor::Visitor,
};

use folder::{Drawn, Input, Name, Study, StudyError, Table};

/// Rows under a figure, and on a page of their own.
const ROWS: usize = 10;
const ROWS_MAX: usize = 1_000;

/// The command that makes a study.
const COMMAND: &str = "salus study LISTS… --out FOLDER";

/// What there is.
pub(crate) fn routes() -> Vec<Route> {
    use Audience::Everyone;
    vec![
        Route::get("/study", Everyone, get(overview)),
        Route::get("/study/check", Everyone, get(check)),
        Route::get("/study/figures/{name}", Everyone, get(figure)),
        Route::get("/study/tables/{name}", Everyone, get(whole_table)),
        Route::get("/study/files/{folder}/{name}", Everyone, get(file)),
    ]
}

/// Reads the study away from the threads that answer requests.
async fn read<T: Send + 'static>(
    visitor: &Visitor,
    act: impl FnOnce(&Study) -> Result<T, StudyError> + Send + 'static,
) -> Result<Result<T, StudyError>, Fault> {
    let folder: Option<PathBuf> = visitor.portal.home().study().map(Into::into);
    let done = tokio::task::spawn_blocking(move || act(&Study::open(folder.as_deref())?));
    done.await.map_err(|_| Fault::Unavailable)
}

/// What is said where there is no study.
fn no_study(visitor: &Visitor, error: &StudyError) -> Result<Response, Fault> {
    let (title, text) = match error {
        StudyError::NotConfigured => (
            "No study is shown here yet",
            "A study is made by a command, and shown from the folder that it writes. Whoever runs this gateway makes one, and names the folder in the configuration as study.",
        ),
        StudyError::NoManifest(_) => (
            "There is no finished study yet",
            "The folder that is shown here has no manifest.json, which a study writes last. Run the command; if it was interrupted, it goes on from where it stopped with --resume.",
        ),
        StudyError::Unreadable(_) => (
            "The study cannot be read",
            "Its manifest is damaged, or of another version. Run the command again.",
        ),
        StudyError::NoSuchFile => return Err(Fault::NotFound),
        StudyError::Missing(_) | StudyError::Altered => (
            "A file of the study is not what was written",
            "It is not shown, because its numbers could be wrong. Run the command again, or look which files differ.",
        ),
    };
    tracing::debug!(%error, "no study is shown");
    let has_manifest = matches!(error, StudyError::Missing(_) | StudyError::Altered);
    let content = html! {
        (empty(title, text, has_manifest.then_some(("/study/check", "Check every file"))))
        (card("The command", html! { pre { code { (COMMAND) } } p { "Without lists it makes one up, so that it can be tried: " (code("salus study --rows 2000 --out FOLDER")) "." } }))
    };
    Ok(visitor.page("Cost study", content))
}

/// A figure with the first rows of its table.
struct Shown {
    drawn: Drawn,
    table: Option<(String, Table)>,
}

struct Overview {
    in_short: Vec<String>,
    figures: Vec<Shown>,
    sources: Option<Table>,
    about: Vec<(String, Markup)>,
    inputs: Vec<Vec<Markup>>,
    has_report: bool,
}

/// The rows that a figure is drawn from.
fn rows_of(study: &Study, figure: &str, most: usize) -> Option<(String, Table)> {
    let (name, only) = folder::table_of(figure)?;
    let csv = study.text(&Name::Csv(name.clone())).ok()?;
    let only: Vec<(&str, &str)> =
        only.iter().map(|(column, value)| (*column, value.as_str())).collect();
    Some((name, Table::of(&csv, &only, most)?))
}

/// `GET /study`: everything in short, each figure with its table under it.
async fn overview(visitor: Visitor) -> Result<Response, Fault> {
    let found = read(&visitor, |study| {
        let report = match study.text(&Name::ReportMarkdown) {
            Ok(report) => report,
            Err(StudyError::NoSuchFile) => String::new(),
            Err(error) => return Err(error),
        };
        let figures = folder::drawn(study, &report);
        let figures = figures.into_iter().map(|drawn| {
            let table = rows_of(study, &drawn.name, ROWS);
            Shown { drawn, table }
        });
        let sources = study.text(&Name::Csv("sources".into())).ok();
        Ok(Overview {
            in_short: folder::in_short(&report),
            figures: figures.collect(),
            sources: sources.and_then(|csv| Table::of(&csv, &[], ROWS_MAX)),
            about: about(study),
            inputs: study.manifest.inputs.iter().map(input).collect(),
            has_report: study.has(&Name::ReportHtml),
        })
    });
    let overview = match found.await? {
        Ok(overview) => overview,
        Err(error) => return no_study(&visitor, &error),
    };
    let content = html! {
        (card("In short", html! {
            @for (index, text) in overview.in_short.iter().enumerate() {
                @if index == 0 { p class="lead" { (text) } } @else { p { (text) } }
            }
            p class="actions" {
                @if overview.has_report { a class="button" href="/study/files/report/report.html" download="report.html" { "The whole report" } " " }
                a class="button secondary" href="/study/check" { "Check every file" }
            }
        }))
        nav aria-label="Figures" { (more(&format!("{} figures", overview.figures.len()), html! {
            ol { @for shown in &overview.figures { li { a href={ "#" (shown.drawn.name) } { (shown.drawn.caption) } } } }
        })) }
        @for shown in &overview.figures { (picture(shown)) }
        @if overview.figures.is_empty() {
            (empty("This study has no figures", "It was made of no rows, or by another version. Run the command again.", None))
        }
        (card("What it was made of", html! {
            (facts(&overview.about))
            @if !overview.inputs.is_empty() {
                (table("Files that were read", &["What", "File", "SHA-256"], &overview.inputs))
            }
            @if let Some(sources) = &overview.sources {
                (more("What became of each file’s rows", rows_table("Waiting lists, by file", sources)))
            }
        }))
    };
    Ok(visitor.page("Cost study", content))
}

fn input(input: &Input) -> Vec<Markup> {
    vec![html! { (input.role) }, html! { (input.file) }, code(&input.digest.to_string())]
}

/// Prices, and what else the manifest says of how it was made.
fn about(study: &Study) -> Vec<(String, Markup)> {
    let manifest = &study.manifest;
    let (setup, fixed) = (&manifest.setup, &manifest.options.fixed);
    let daily = if manifest.options.daily.is_some() {
        "each day’s own gas and ether price, from the files below"
    } else {
        "none was given: everything is at the fixed price"
    };
    vec![
        (
            "Fixed price".into(),
            html! {
                (decimal(fixed.wei_per_gas, 9)) " gwei for each gas, USD " (decimal(fixed.usd_per_ether, 6)) " for an ether (" (fixed.origin) ")"
            },
        ),
        ("Daily prices".into(), html! { (daily) }),
        ("Ways of putting rows on the chain".into(), html! { (manifest.options.modes.join(", ")) }),
        (
            "Rows".into(),
            html! { @match setup.rows { Some(rows) => { (rows) " were asked for" }, None => { "all that the lists have" } } },
        ),
        ("Seed of all keys".into(), html! { (setup.seed) }),
        ("Program".into(), html! { "Salus " (setup.version) }),
        ("Contracts".into(), code(&setup.contracts.to_string())),
        ("Chains that were run".into(), html! { (manifest.chains.len()) }),
        ("Files that were written".into(), html! { (manifest.outputs.len()) }),
    ]
}

/// A whole number of small parts as a number with decimals.
fn decimal(number: u64, decimals: usize) -> String {
    let digits = format!("{number:0>width$}", width = decimals + 1);
    let (whole, rest) = digits.split_at(digits.len() - decimals);
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { whole.to_owned() } else { format!("{whole}.{rest}") }
}

fn picture(shown: &Shown) -> Markup {
    let drawn = &shown.drawn;
    html! {
        section class="card" id=(drawn.name) {
            h2 { (drawn.caption) }
            figure class="picture" {
                a href={ "/study/figures/" (drawn.name) } {
                    img src={ "/study/files/figures/" (drawn.name) ".svg" } alt=(drawn.alt) loading="lazy";
                }
            }
            @if let Some((name, rows)) = &shown.table {
                (more("The table", html! {
                    (rows_table(&drawn.caption, rows))
                    p { a href={ "/study/figures/" (drawn.name) } {
                        @if rows.in_all > rows.rows.len() { "All " (rows.in_all) " rows" } @else { "The figure by itself" }
                    } " · " a href={ "/study/files/tables/" (name) ".csv" } download={ (name) ".csv" } { (name) ".csv" } }
                }))
            }
        }
    }
}

fn rows_table(caption: &str, rows: &Table) -> Markup {
    let headings: Vec<String> = rows.columns.iter().map(|name| name.replace('_', " ")).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let cells = |row: &Vec<String>| row.iter().map(|cell| html! { (cell) }).collect();
    let body: Vec<Vec<Markup>> = rows.rows.iter().map(cells).collect();
    html! {
        (table(caption, &headings, &body))
        @if rows.in_all > rows.rows.len() { p { "The first " (rows.rows.len()) " of " (rows.in_all) " rows." } }
    }
}

/// `GET /study/figures/{name}`: one figure with its table.
async fn figure(visitor: Visitor, Path(name): Path<String>) -> Result<Response, Fault> {
    let svg = Name::parse("figures", &format!("{name}.svg")).ok_or(Fault::NotFound)?;
    let wanted = name.clone();
    let found = read(&visitor, move |study| {
        if !study.has(&svg) {
            return Err(StudyError::NoSuchFile);
        }
        let report = study.text(&Name::ReportMarkdown).unwrap_or_default();
        let drawn = folder::drawn(study, &report).into_iter().find(|drawn| drawn.name == wanted);
        let drawn = drawn.ok_or(StudyError::NoSuchFile)?;
        let table = rows_of(study, &drawn.name, ROWS_MAX);
        let has_png = study.has(&Name::Png(wanted));
        // What is shown must be what was written: an altered picture is told here, not as a gap on the page.
        study.read(&svg)?;
        Ok((Shown { drawn, table }, has_png, columns(study)))
    });
    let (shown, has_png, guide) = match found.await? {
        Ok(found) => found,
        Err(error) => return no_study(&visitor, &error),
    };
    let drawn = &shown.drawn;
    let content = html! {
        figure class="picture" { img src={ "/study/files/figures/" (drawn.name) ".svg" } alt=(drawn.alt); figcaption { (drawn.alt) } }
        p class="actions" {
            a class="button secondary" href={ "/study/files/figures/" (drawn.name) ".svg" } download={ (drawn.name) ".svg" } { "As SVG" } " "
            @if has_png { a class="button secondary" href={ "/study/files/figures/" (drawn.name) ".png" } download={ (drawn.name) ".png" } { "As PNG" } }
        }
        @if let Some((name, rows)) = &shown.table {
            (rows_table(&drawn.caption, rows))
            p { a href={ "/study/files/tables/" (name) ".csv" } download={ (name) ".csv" } { (name) ".csv" } ", every row and column" }
            (meanings(&guide, name, rows))
        }
        p { a href="/study" { "Back to the study" } }
    };
    Ok(visitor.page(drawn.caption.trim_end_matches('.'), content))
}

/// `GET /study/tables/{name}`: a table by itself.
async fn whole_table(visitor: Visitor, Path(name): Path<String>) -> Result<Response, Fault> {
    let csv = Name::parse("tables", &format!("{name}.csv")).ok_or(Fault::NotFound)?;
    let found = read(&visitor, move |study| {
        let rows = Table::of(&study.text(&csv)?, &[], ROWS_MAX);
        Ok((rows.ok_or(StudyError::NoSuchFile)?, columns(study)))
    });
    let (rows, guide) = match found.await? {
        Ok(found) => found,
        Err(error) => return no_study(&visitor, &error),
    };
    let content = html! {
        (rows_table(&name, &rows))
        p { a href={ "/study/files/tables/" (name) ".csv" } download={ (name) ".csv" } { (name) ".csv" } }
        (meanings(&guide, &name, &rows))
        p { a href="/study" { "Back to the study" } }
    };
    Ok(visitor.page(&format!("Table {name}"), content))
}

/// What each column of each table holds: table, column, meaning.
type Guide = Vec<(String, String, String)>;

fn columns(study: &Study) -> Guide {
    let text = study.text(&Name::Guide).unwrap_or_default();
    let mut table = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ").and_then(|name| name.strip_suffix(".csv")) {
            name.clone_into(&mut table);
        } else if let Some((column, meaning)) =
            line.strip_prefix("| `").and_then(|rest| rest.split_once("` | "))
        {
            let meaning = folder::plain(meaning.trim_end_matches(" |"));
            found.push((table.clone(), column.to_owned(), meaning));
        }
    }
    found
}

fn meanings(guide: &Guide, table: &str, rows: &Table) -> Markup {
    let shown: Vec<(String, Markup)> = guide
        .iter()
        .filter(|(of, column, _)| of == table && rows.columns.contains(column))
        .map(|(_, column, meaning)| (column.replace('_', " "), html! { (meaning) }))
        .collect();
    html! { @if !shown.is_empty() { (more("What each column holds", facts(&shown))) } }
}

/// `GET /study/check`: whether every file is what the study wrote.
async fn check(visitor: Visitor) -> Result<Response, Fault> {
    let checked = match read(&visitor, |study| Ok(study.check())).await? {
        Ok(checked) => checked,
        Err(error) => return no_study(&visitor, &error),
    };
    let is_whole = checked.altered.is_empty() && checked.missing.is_empty();
    let rows = |names: &[String], label: &'static str| -> Vec<Vec<Markup>> {
        names
            .iter()
            .take(ROWS_MAX)
            .map(|name| vec![html! { (name) }, badge(Tone::Bad, label)])
            .collect()
    };
    let mut differing = rows(&checked.altered, "altered");
    differing.extend(rows(&checked.missing, "missing"));
    let content = html! {
        @if is_whole {
            (notice(Tone::Good, "Every file is what the study wrote", html! {
                p { (checked.same) " files were read just now, and each has the SHA-256 that the manifest says." }
            }))
        } @else {
            (notice(Tone::Bad, "Not every file is what the study wrote", html! {
                p { (checked.same) " files are; those below are not, and are not shown. Run the command again, or put the files back." }
            }))
            (table("Files that differ from the manifest", &["File", "How"], &differing))
        }
        (card("Whether doing it again gives the same", html! {
            p { "That is a matter of minutes to hours, and of a command: it does the whole study again and compares every byte." }
            pre { code { "salus study --verify FOLDER" } }
        }))
        p { a href="/study" { "Back to the study" } }
    };
    Ok(visitor.page("Check of the study’s files", content))
}

/// `GET /study/files/{folder}/{name}`: a picture, a table or the report, exactly as it was written.
async fn file(
    visitor: Visitor,
    Path((folder, name)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let name = Name::parse(&folder, &name).ok_or(Fault::NotFound)?;
    let (media_type, is_picture) = (name.media_type(), name.is_picture());
    let content = match read(&visitor, move |study| study.read(&name)).await? {
        Ok(content) => content,
        Err(StudyError::Altered | StudyError::Missing(_)) => {
            return Err(Fault::NotAllowed(
                "this file of the study is not what was written, so it is not shown".into(),
            ));
        }
        Err(_) => return Err(Fault::NotFound),
    };
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if is_picture {
        // Whoever reads the page again need not fetch it again; it is nobody's secret.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=300"));
    } else {
        // A page of somebody else's making is kept as a file, not shown as a page of this portal.
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_shown_to_their_last_decimal() {
        assert_eq!(decimal(1_367_000_000, 9), "1.367");
        assert_eq!(decimal(1_857_160_000, 6), "1857.16");
        assert_eq!(decimal(5, 6), "0.000005");
        assert_eq!(decimal(0, 6), "0");
    }
}
