//! Narratives: the little HTML that R4 allows in a resource.
//!
//! Whoever shows a narrative in a browser shows what somebody else wrote. What runs or fetches by itself is
//! refused here, but this is no parser of HTML: a portal still has to sanitise.

/// The elements that a narrative may have: chapters 7 to 11 and 15 of HTML 4.0, links, images and tables.
///
/// # Source
///
/// [FHIR R4, Narrative](https://hl7.org/fhir/R4/narrative.html), rule `txt-1`.
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "address",
    "area",
    "b",
    "bdo",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "map",
    "ol",
    "p",
    "pre",
    "q",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "ul",
    "var",
];

/// Which rule a narrative breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NarrativeFault {
    /// It is not one `div`.
    NoDiv,
    /// It has an element or attribute that is not allowed.
    Forbidden,
    /// It says nothing.
    Empty,
}

/// Looks at the content of `Narrative.div`.
pub(crate) fn check(text: &str) -> Result<(), NarrativeFault> {
    let text = text.trim();
    let inside = text.strip_prefix("<div").ok_or(NarrativeFault::NoDiv)?;
    let is_div =
        inside.starts_with(|next: char| next.is_whitespace() || next == '>' || next == '/');
    if !is_div || !(text.ends_with("</div>") || text.ends_with("/>")) {
        return Err(NarrativeFault::NoDiv);
    }
    let mut says_something = false;
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        says_something |= !rest[..start].trim().is_empty();
        rest = &rest[start..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            let end = comment.find("-->").ok_or(NarrativeFault::Forbidden)?;
            rest = &comment[end + 3..];
            continue;
        }
        let tag = &rest[..=end_of_tag(rest).ok_or(NarrativeFault::Forbidden)?];
        rest = &rest[tag.len()..];
        let name = tag_name(tag);
        if !ELEMENTS.contains(&name) || has_active_attribute(&tag[1..]) {
            return Err(NarrativeFault::Forbidden);
        }
        says_something |= name == "img";
    }
    if says_something { Ok(()) } else { Err(NarrativeFault::Empty) }
}

/// Where the tag that the text begins with ends; `>` may stand in quotes, and `<` nowhere.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some(at),
            (_, b'<') if at > 0 => return None,
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

fn tag_name(tag: &str) -> &str {
    let tag = tag.trim_start_matches('<').trim_start_matches('/');
    tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default()
}

/// Whether a tag has an attribute that runs something (`onclick`), or a link to a script.
fn has_active_attribute(tag: &str) -> bool {
    let tag = tag.to_ascii_lowercase();
    // Browsers drop blanks and controls within the scheme of a link.
    let compact: String = tag.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    if compact.contains("javascript:") || compact.contains("vbscript:") {
        return true;
    }
    let mut quote = None;
    let unquoted: String = tag
        .chars()
        .map(|c| match quote {
            Some(open) if c == open => {
                quote = None;
                ' '
            }
            Some(_) => ' ',
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                ' '
            }
            None => c,
        })
        .collect();
    let words = unquoted.split(|c: char| c.is_whitespace() || matches!(c, '/' | '=' | '>'));
    words.skip(1).any(|word| word.len() > 2 && word.starts_with("on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const XMLNS: &str = "xmlns=\"http://www.w3.org/1999/xhtml\"";

    #[track_caller]
    fn check_div(inside: &str, expected: Result<(), NarrativeFault>) {
        assert_eq!(check(&format!("<div {XMLNS}>{inside}</div>")), expected, "{inside}");
    }

    #[test]
    fn plain_narratives_pass() {
        check_div("<p>text</p>", Ok(()));
        check_div("a<!-- <script> -->", Ok(()));
        check_div(
            "<a href=\"http://example.org/?a=1&amp;once=2\" title=\"a > b\">x</a><br/>",
            Ok(()),
        );
        check_div("<img src=\"#image\"/>", Ok(()));
        check_div("<p title='once=one onclick=two'>x</p>", Ok(()));
    }

    #[test]
    fn what_runs_is_refused() {
        for inside in [
            "<script>x</script>",
            "<p onclick=\"x\">x</p>",
            "<p\nONCLICK = 'x'>x</p>",
            "<iframe src=\"x\"/>x",
            "<a href=\"java\nscript:x\">x</a>",
            "<form>x</form>",
            "<p",
            "<svg/onload=x>",
            "<p/onload=x>x</p>",
            "<style>x</style>",
            "<SCRIPT>x</SCRIPT>",
            "<!-- x",
            "<![CDATA[x]]>",
            "<p a=\"b\"onload=x>x</p>",
        ] {
            check_div(inside, Err(NarrativeFault::Forbidden));
        }
    }

    #[test]
    fn a_narrative_says_something() {
        check_div(" <p>\n</p> ", Err(NarrativeFault::Empty));
        assert_eq!(check("<div/>"), Err(NarrativeFault::Empty));
    }

    #[test]
    fn a_narrative_is_a_div() {
        for text in ["", "text", "<p>x</p>", "<division>x</division>", "<div>x"] {
            assert_eq!(check(text), Err(NarrativeFault::NoDiv), "{text}");
        }
    }
}
