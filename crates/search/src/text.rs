//! Texts as people write them, made comparable; and the escapes of FHIR's search values.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// How many words of a name or an address are searched one by one. Longer ones exist only to be slow.
const WORDS_MAX: usize = 32;

/// A text without case, accents, ligatures and repeated blanks.
///
/// # Source
///
/// [FHIR R4, 3.1.1.4.8](https://hl7.org/fhir/R4/search.html#string): strings are compared "normalized
/// by case and accents"; how far is up to the server.
pub(crate) fn normalised(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut is_after_blank = false;
    for c in text.nfkd() {
        if c.is_whitespace() {
            is_after_blank = true;
            continue;
        }
        // Character by character: a sigma at the end of a word must be the same as within.
        for c in c.to_lowercase().filter(|c| !is_combining_mark(*c)) {
            if is_after_blank && !made.is_empty() {
                made.push(' ');
            }
            is_after_blank = false;
            made.push(c);
        }
    }
    made
}

/// The words of a normalised text after the first, with which the text itself begins.
pub(crate) fn later_words(normalised: &str) -> impl Iterator<Item = &str> {
    let is_start = |(at, word): &(usize, &str)| *at > 0 && !word.is_empty();
    let mut at = 0;
    let with_positions = normalised.split(|c: char| !c.is_alphanumeric()).map(move |word| {
        // Every separator is one character, of its own length.
        let start = at;
        at += word.len();
        at += normalised[at..].chars().next().map_or(0, char::len_utf8);
        (start, word)
    });
    with_positions.filter(is_start).map(|(_, word)| word).take(WORDS_MAX)
}

/// Whether a text, or with `by_word` a word of it, begins with what was searched for. Both are
/// normalised.
pub(crate) fn starts_with(text: &str, searched: &str, by_word: bool) -> bool {
    text.starts_with(searched)
        || (by_word && later_words(text).any(|word| word.starts_with(searched)))
}

/// The first `count` characters, or `None` when there are fewer.
pub(crate) fn prefix(text: &str, count: usize) -> Option<&str> {
    let last = count.checked_sub(1)?;
    let (at, c) = text.char_indices().nth(last)?;
    Some(&text[..at + c.len_utf8()])
}

/// The parts of a search value between separators that are not escaped. Their escapes stay.
pub(crate) fn split(value: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    value.split(move |c| {
        let is_separator = c == separator && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_separator
    })
}

/// A part with its escapes resolved.
///
/// # Source
///
/// [FHIR R4, 3.1.1.4.3](https://hl7.org/fhir/R4/search.html#escaping): `\$`, `\,`, `\|` and `\\`. A
/// backslash before anything else stands for itself.
pub(crate) fn unescaped(part: &str) -> String {
    let mut made = String::with_capacity(part.len());
    let mut rest = part.chars().peekable();
    while let Some(c) = rest.next() {
        let escaped = if c == '\\' { rest.next_if(|next| r"$,|\".contains(*next)) } else { None };
        made.push(escaped.unwrap_or(c));
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_blanks_do_not_count() {
        assert_eq!(normalised("  Élodie\t de  la Tour "), "elodie de la tour");
        assert_eq!(normalised("ŠIMŮNEK"), "simunek");
        assert_eq!(normalised("oﬃce"), "office");
        assert_eq!(normalised("ΟΔΟΣ"), normalised("οδοσ"));
        assert_eq!(normalised("İstanbul"), "istanbul");
        assert_eq!(normalised(" \u{301} "), "");
    }

    #[test]
    fn words_are_found_wherever_they_begin() {
        let words = |text| later_words(text).collect::<Vec<_>>();
        assert_eq!(words("o'brien smith-jones"), ["brien", "smith", "jones"]);
        assert_eq!(words("single"), Vec::<&str>::new());
        assert_eq!(words("(a) b"), ["a", "b"]);
        assert_eq!(words("日本 東京"), ["東京"]);
        assert_eq!(words(""), Vec::<&str>::new());
    }

    #[test]
    fn prefixes_count_characters() {
        assert_eq!(prefix("éab", 2), Some("éa"));
        assert_eq!(prefix("ab", 2), Some("ab"));
        assert_eq!(prefix("ab", 3), None);
        assert_eq!(prefix("ab", 0), None);
    }

    #[test]
    fn escapes_keep_separators() {
        let parts: Vec<_> = split(r"a\,b,c\\,d\|e", ',').map(unescaped).collect();
        assert_eq!(parts, ["a,b", r"c\", "d|e"]);
        assert_eq!(unescaped(r"\x\"), r"\x\");
    }
}
