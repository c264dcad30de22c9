//! A report as a list of blocks, from which Markdown and HTML are made alike.
//!
//! In running text, `` `code` `` and `**strong**` are marked as Markdown has them; everything else is taken literally.

use std::fmt::Write as _;

/// A part of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// A heading, of level 2 or 3.
    Heading(u8, String),
    Paragraph(String),
    Bullets(Vec<String>),
    Table(Shown),
    Figure(Drawn),
    /// Text to be typed.
    Command(String),
}

/// A table in a report: the whole of one, or what fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) caption: String,
    pub(crate) columns: Vec<String>,
    /// Columns that hold numbers, and so end at the same place.
    pub(crate) numbers: Vec<usize>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A figure in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) name: String,
    pub(crate) caption: String,
    /// For whoever cannot see it.
    pub(crate) alt: String,
    pub(crate) svg: String,
}

/// A report. Its tables and figures are numbered in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

/// A piece of running text.
enum Piece<'a> {
    Plain(&'a str),
    Code(&'a str),
    Strong(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let code = rest.strip_prefix('`').and_then(|inner| inner.split_once('`'));
        let strong = rest.strip_prefix("**").and_then(|inner| inner.split_once("**"));
        if let Some((inner, after)) = code {
            pieces.push(Piece::Code(inner));
            rest = after;
        } else if let Some((inner, after)) = strong {
            pieces.push(Piece::Strong(inner));
            rest = after;
        } else {
            let skip = rest.chars().next().map_or(0, char::len_utf8);
            let next = rest[skip..].find(['`', '*']).map_or(rest.len(), |at| at + skip);
            pieces.push(Piece::Plain(&rest[..next]));
            rest = &rest[next..];
        }
    }
    pieces
}

/// As Markdown, with figures as files beside it.
pub(crate) fn markdown(document: &Document) -> String {
    let mut text = format!("# {}\n", document.title);
    let (mut tables, mut figures) = (0, 0);
    for block in &document.blocks {
        text.push('\n');
        let _ = match block {
            Block::Heading(level, heading) => {
                writeln!(text, "{} {heading}", "#".repeat(usize::from(*level)))
            }
            Block::Paragraph(paragraph) => writeln!(text, "{}", markdown_text(paragraph)),
            Block::Bullets(items) => {
                items.iter().try_for_each(|item| writeln!(text, "- {}", markdown_text(item)))
            }
            Block::Command(command) => writeln!(text, "```sh\n{command}\n```"),
            Block::Table(table) => {
                tables += 1;
                write_markdown_table(&mut text, tables, table);
                Ok(())
            }
            Block::Figure(figure) => {
                figures += 1;
                let caption = markdown_text(&figure.caption);
                let name = &figure.name;
                writeln!(
                    text,
                    "![{}](figures/{name}.svg)\n\n**Figure {figures}.** {caption}",
                    markdown_text(&figure.alt).replace('[', "\\[").replace(']', "\\]")
                )
            }
        };
    }
    text
}

fn markdown_text(text: &str) -> String {
    let piece = |piece: Piece<'_>| match piece {
        Piece::Plain(text) => text.replace('<', "\\<").replace('_', "\\_").replace('*', "\\*"),
        Piece::Code(text) => format!("`{text}`"),
        Piece::Strong(text) => format!("**{text}**"),
    };
    pieces(text).into_iter().map(piece).collect()
}

fn write_markdown_table(text: &mut String, number: usize, table: &Shown) {
    let _ = writeln!(text, "**Table {number}.** {}\n", markdown_text(&table.caption));
    let cell = |cell: &String| cell.replace('|', "\\|").replace('\n', " ").replace('<', "\\<");
    let line = |cells: &[String]| {
        format!("| {} |", cells.iter().map(cell).collect::<Vec<_>>().join(" | "))
    };
    let _ = writeln!(text, "{}", line(&table.columns));
    let rule = |column| if table.numbers.contains(&column) { "---:" } else { "---" };
    let rules: Vec<_> = (0..table.columns.len()).map(rule).collect();
    let _ = writeln!(text, "|{}|", rules.join("|"));
    for row in &table.rows {
        let _ = writeln!(text, "{}", line(row));
    }
}

/// As one HTML file that needs nothing beside it: no script, no network, no font.
pub(crate) fn html(document: &Document) -> String {
    let mut body = format!("<h1>{}</h1>\n", escaped(&document.title));
    body += &contents(document);
    let (mut tables, mut figures, mut headings) = (0, 0, 0);
    for block in &document.blocks {
        let _ = match block {
            Block::Heading(level, heading) => {
                headings += 1;
                writeln!(body, "<h{level} id=\"s{headings}\">{}</h{level}>", escaped(heading))
            }
            Block::Paragraph(paragraph) => writeln!(body, "<p>{}</p>", html_text(paragraph)),
            Block::Bullets(items) => {
                let items: String =
                    items.iter().map(|item| format!("<li>{}</li>\n", html_text(item))).collect();
                writeln!(body, "<ul>\n{items}</ul>")
            }
            Block::Command(command) => {
                writeln!(body, "<pre><code>{}</code></pre>", escaped(command))
            }
            Block::Table(table) => {
                tables += 1;
                write_html_table(&mut body, tables, table);
                Ok(())
            }
            Block::Figure(figure) => {
                figures += 1;
                let (svg, caption) = (inline(figure), html_text(&figure.caption));
                writeln!(
                    body,
                    "<figure id=\"figure-{}\">\n<div class=\"wide\" role=\"img\" aria-label=\"{}\">{svg}</div>\n<figcaption><b>Figure {figures}.</b> {caption}</figcaption>\n</figure>",
                    figure.name,
                    escaped(&figure.alt)
                )
            }
        };
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(&document.title)
    )
}

const STYLE: &str = include_str!("report.css");

fn contents(document: &Document) -> String {
    let headings = document.blocks.iter().filter_map(|block| match block {
        Block::Heading(level, text) => Some((*level, text)),
        _ => None,
    });
    let numbered = (1..).zip(headings).filter(|(_, (level, _))| *level == 2);
    let line = |(number, (_, text)): (usize, (u8, &String))| {
        format!("<li><a href=\"#s{number}\">{}</a></li>\n", escaped(text))
    };
    format!("<nav>\n<ol>\n{}</ol>\n</nav>\n", numbered.map(line).collect::<String>())
}

fn html_text(text: &str) -> String {
    let piece = |piece: Piece<'_>| match piece {
        Piece::Plain(text) => escaped(text),
        Piece::Code(text) => format!("<code>{}</code>", escaped(text)),
        Piece::Strong(text) => format!("<strong>{}</strong>", escaped(text)),
    };
    pieces(text).into_iter().map(piece).collect()
}

fn write_html_table(body: &mut String, number: usize, table: &Shown) {
    let class = |column| if table.numbers.contains(&column) { " class=\"number\"" } else { "" };
    let line = |tag: &str, cells: &[String]| {
        let cells = cells.iter().enumerate();
        let cell = |(column, cell): (usize, &String)| {
            format!("<{tag}{}>{}</{tag}>", class(column), escaped(cell))
        };
        format!("<tr>{}</tr>\n", cells.map(cell).collect::<String>())
    };
    let head = line("th", &table.columns);
    let rows: String = table.rows.iter().map(|row| line("td", row)).collect();
    let _ = writeln!(
        body,
        "<div class=\"wide\"><table id=\"table-{number}\">\n<caption><b>Table {number}.</b> {}</caption>\n<thead>\n{head}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>",
        html_text(&table.caption)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The picture as an element. Its ids get the figure's name, because two pictures may use the same ones.
fn inline(figure: &Drawn) -> String {
    let start = figure.svg.find("<svg").unwrap_or(0);
    let prefix = format!("{}-", figure.name);
    let mut svg = figure.svg[start..].trim_end().to_owned();
    for before in [" id=\"", "url(#", "href=\"#"] {
        svg = svg.replace(before, &format!("{before}{prefix}"));
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_files_is_never_markup() {
        let text = "<b>A & B</b> of `x<y` and **all** * 2";
        assert_eq!(
            html_text(text),
            "&lt;b&gt;A &amp; B&lt;/b&gt; of <code>x&lt;y</code> and <strong>all</strong> * 2"
        );
        assert_eq!(markdown_text(text), "\\<b>A & B\\</b> of `x<y` and **all** \\* 2");
        assert_eq!(html_text("an open ` and ** stay"), "an open ` and ** stay");
    }

    #[test]
    fn a_table_cell_cannot_end_its_row() {
        let table = Shown {
            caption: "of a|b".into(),
            columns: vec!["one".into(), "two".into()],
            numbers: vec![1],
            rows: vec![vec!["a|b".into(), "1".into()]],
        };
        let mut text = String::new();
        write_markdown_table(&mut text, 3, &table);
        assert_eq!(text, "**Table 3.** of a|b\n\n| one | two |\n|---|---:|\n| a\\|b | 1 |\n");
    }

    #[test]
    fn ids_of_two_pictures_do_not_meet() {
        let drawn = Drawn {
            name: "days".into(),
            caption: String::new(),
            alt: String::new(),
            svg: "<?xml version=\"1.0\"?>\n<svg><clipPath id=\"c\"/><g clip-path=\"url(#c)\"/></svg>\n".into(),
        };
        assert_eq!(
            inline(&drawn),
            "<svg><clipPath id=\"days-c\"/><g clip-path=\"url(#days-c)\"/></svg>"
        );
    }
}
