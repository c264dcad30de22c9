//! What the index keeps of a value, and which of it a search looks up.
//!
//! Both sides stand here together, because one rule binds them: whatever meets a term has a key that
//! the term looks up. The other way round it may fail, as whoever looks up checks what they find.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::numbers::ordered;
use crate::path::without_version;
use crate::terms::{RangeTerm, ReferenceTerm, StringMatch, SystemTerm, Term, TokenTerm, UriMatch};
use crate::text::{later_words, normalised, prefix};
use crate::values::IndexValue;

/// How long the indexed beginnings of texts are, in characters. A search takes the longest that it has.
const PREFIX_LENGTHS: [usize; 7] = [2, 3, 4, 6, 8, 12, 16];

/// What a digested text is, so that the same text gives different digests in different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Form {
    Code = 1,
    Reference = 2,
    Identifier = 3,
    Prefix = 4,
    Uri = 5,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key<'v> {
    /// Only its keyed digest.
    Text(Form, Cow<'v, str>),
    /// The ends of a range.
    Range(i64, i64),
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup<'t> {
    /// Any of these.
    Texts(Form, BTreeSet<Cow<'t, str>>),
    Range(RangeTerm),
    /// Whatever has a value at all.
    Anything,
}

/// Shows `keep` the keys of a value. There may be none.
pub(crate) fn of_value<'v>(value: &IndexValue<'v>, keep: &mut impl FnMut(Key<'v>)) {
    match *value {
        IndexValue::Token { code, .. } => {
            if let Some(code) = code {
                keep(Key::Text(Form::Code, code_key(code)));
            }
        }
        IndexValue::Reference { address, identifier, .. } => {
            if let Some(address) = address {
                keep(Key::Text(Form::Reference, address_key(address).into()));
            }
            if let Some((_, Some(value))) = identifier {
                keep(Key::Text(Form::Identifier, code_key(value)));
            }
        }
        IndexValue::String { text, is_part } => {
            let text = normalised(text);
            let mut keep_prefixes = |text: &str| {
                for prefix in PREFIX_LENGTHS.iter().map_while(|length| prefix(text, *length)) {
                    keep(Key::Text(Form::Prefix, prefix.to_owned().into()));
                }
            };
            keep_prefixes(&text);
            if is_part {
                later_words(&text).for_each(keep_prefixes);
            }
        }
        IndexValue::Uri(uri) => keep(Key::Text(Form::Uri, without_version(uri).into())),
        IndexValue::Date { first_ms, last_ms } => keep(Key::Range(first_ms, last_ms)),
        IndexValue::Number { low, high, .. } => keep(Key::Range(ordered(low), ordered(high))),
        IndexValue::Present => {}
    }
}

/// What a term looks up.
pub(crate) fn of_term(term: &Term) -> Lookup<'_> {
    match term {
        Term::Token(TokenTerm { code: Some(code), .. }) => texts(Form::Code, code.into()),
        Term::ReferenceIdentifier(TokenTerm { code: Some(code), .. }) => {
            texts(Form::Identifier, code.into())
        }
        Term::Token(_) | Term::ReferenceIdentifier(_) | Term::TokenText(_) => Lookup::Anything,
        Term::Reference(ReferenceTerm::Id(address) | ReferenceTerm::Address(address)) => {
            texts(Form::Reference, address_key(address).into())
        }
        Term::Reference(ReferenceTerm::OneOf(addresses)) => {
            let keys = addresses.iter().map(|address| address_key(address).into()).collect();
            Lookup::Texts(Form::Reference, keys)
        }
        Term::String { how: StringMatch::Contains, .. } => Lookup::Anything,
        Term::String { how: StringMatch::Start, text } => longest_prefix(text.into()),
        Term::String { how: StringMatch::Exact, text } => longest_prefix(normalised(text).into()),
        Term::Uri { how: UriMatch::Exact, uri } => texts(Form::Uri, without_version(uri).into()),
        Term::Uri { .. } => Lookup::Anything,
        Term::Date(range) | Term::Number { range, .. } => Lookup::Range(*range),
    }
}

/// What the index has exactly of those, and only of those, who meet the term; `None` when it has more.
/// Only such a term can be denied by the index.
pub(crate) fn exactly(term: &Term) -> Option<Lookup<'_>> {
    match term {
        Term::Token(TokenTerm { system: SystemTerm::Any, code: Some(_) }) => Some(of_term(term)),
        _ => None,
    }
}

fn texts(form: Form, text: Cow<'_, str>) -> Lookup<'_> {
    Lookup::Texts(form, BTreeSet::from([text]))
}

fn longest_prefix(text: Cow<'_, str>) -> Lookup<'_> {
    let prefixes = PREFIX_LENGTHS.iter().map_while(|length| prefix(&text, *length));
    match prefixes.last() {
        Some(prefix) => texts(Form::Prefix, prefix.to_owned().into()),
        None => Lookup::Anything,
    }
}

/// As codes are compared, without the system: two systems seldom have the same.
fn code_key(code: &str) -> Cow<'_, str> {
    let is_lower = code.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { code.into() } else { code.to_lowercase().into() }
}

/// The last segment of an address: the id of a resource. Two types seldom have the same.
fn address_key(address: &str) -> &str {
    let address = without_version(address);
    address.rsplit('/').next().unwrap_or(address)
}
