//! A search as it was asked for, parsed.

use std::cell::Cell;
use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

use crate::error::{ParameterName, SearchError};
use crate::output::Output;
use crate::parameters::{Parameter, ParameterKind, known_type, parameter, resource_types};
use crate::terms::{Modifier, RangeTerm, ReferenceTerm, Term};
use crate::text::{split, unescaped};

/// How long a query may be, in bytes.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;

/// How many parameters a query may have.
pub const PARAMETERS_MAX: usize = 64;

/// How many alternatives, with commas between, a parameter may have.
pub const VALUES_MAX: usize = 128;

/// How many keys results may be sorted by.
pub const SORT_KEYS_MAX: usize = 4;

/// How many links may follow each other in `subject.organization.name` or `_has:…:_has:…`.
pub const DEPTH_MAX: usize = 3;

/// How many linked searches may come of one query. A link that does not say its type may be to several.
pub const LINKED_MAX: usize = 128;

/// How many resources a linked search may find.
pub const FOUND_MAX: usize = 10_000;

/// What becomes of parameters that the type does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// They are passed over, and missing in [`Query::applied`].
    Lenient,
    /// They are an error.
    Strict,
}

/// A search for resources of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    resource_type: &'static str,
    criteria: Vec<Criterion>,
    links: Vec<Option<Link>>,
    output: Output,
    applied: Vec<(String, String)>,
}

/// A condition that is about resources of other types: they have to be searched first, by somebody who
/// knows which of them the asker may see. What they find replaces it through [`Query::resolve`].
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// `patient.name=x`: what the parameter refers to is found by one of the queries, each of which is
    /// for another type. To be resolved with the addresses of what they find, such as `Patient/1`.
    Chain {
        /// The parameter that refers.
        parameter: &'static Parameter,
        /// One query for each type that may be meant.
        queries: Vec<Query>,
    },
    /// `_has:Observation:patient:code=x`: what the query finds refers to what is searched for by the
    /// parameter. To be resolved with the addresses of that: [`Parameter::values`] of what was found.
    Reverse {
        /// The parameter, of the type that refers.
        parameter: &'static Parameter,
        /// The query for that type.
        query: Box<Query>,
    },
}

/// What a resource must meet; all of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Criterion {
    Id { ids: BTreeSet<String>, is_denied: bool },
    LastUpdated(Vec<RangeTerm>),
    Missing { parameter: &'static Parameter, is_missing: bool },
    AnyOf { parameter: &'static Parameter, terms: Vec<Term> },
    NoneOf { parameter: &'static Parameter, terms: Vec<Term> },
}

/// Takes a query string, or the body of a form, apart.
///
/// # Errors
///
/// [`SearchError::TooLong`], [`SearchError::TooManyParameters`] and [`SearchError::NotUtf8`].
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, SearchError> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(SearchError::TooLong);
    }
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let text = percent_decode_str(&text).decode_utf8().map_err(|_| SearchError::NotUtf8)?;
        Ok(text.into_owned())
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(key)?, decoded(value)?))
    });
    let pairs: Vec<_> = pairs.take(PARAMETERS_MAX + 1).collect::<Result<_, _>>()?;
    if pairs.len() > PARAMETERS_MAX { Err(SearchError::TooManyParameters) } else { Ok(pairs) }
}

impl Query {
    /// Parses a search from its parameters, decoded. One without a value is passed over.
    ///
    /// Addresses at this server itself have to be relative, as they are in what is searched.
    ///
    /// # Errors
    ///
    /// See [`SearchError`]. Lenient handling passes over unknown parameters; what is wrong with those
    /// that are known is an error in any case, or else more would be found than was asked for.
    pub fn parse(
        resource_type: &str,
        pairs: &[(String, String)],
        handling: Handling,
    ) -> Result<Self, SearchError> {
        let resource_type = known_type(resource_type).ok_or(SearchError::UnknownType)?;
        if pairs.len() > PARAMETERS_MAX {
            return Err(SearchError::TooManyParameters);
        }
        let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > QUERY_BYTES_MAX {
            return Err(SearchError::TooLong);
        }
        let mut query = Self::all(resource_type);
        let queries_left = Cell::new(LINKED_MAX);
        for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            let asked = Asked { key, depth: 0, queries_left: &queries_left };
            let taken = match query.output.take(resource_type, key, value) {
                Ok(true) => Ok(()),
                Ok(false) => query.take_condition(asked, key, value),
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => query.applied.push((key.clone(), value.clone())),
                Err(SearchError::UnknownParameter { .. }) if handling == Handling::Lenient => {}
                Err(error) => return Err(error),
            }
        }
        Ok(query)
    }

    /// A search for what refers by `parameter` to any of some resources, such as `Patient/1`: what
    /// `_revinclude` wants.
    #[must_use]
    pub fn referring(
        parameter: &'static Parameter,
        addresses: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut query = Self::all(parameter.resource_type());
        query.criteria.push(refers_to(parameter, addresses.into_iter().collect()));
        query
    }

    /// A search for all resources of a type.
    fn all(resource_type: &'static str) -> Self {
        Self {
            resource_type,
            criteria: Vec::new(),
            links: Vec::new(),
            output: Output::default(),
            applied: Vec::new(),
        }
    }

    /// The type of resource searched for.
    #[must_use]
    pub const fn resource_type(&self) -> &'static str {
        self.resource_type
    }

    /// How results are wanted.
    #[must_use]
    pub const fn output(&self) -> &Output {
        &self.output
    }

    /// The parameters that the search goes by, as they were written, for the link to itself.
    #[must_use]
    pub fn applied(&self) -> &[(String, String)] {
        &self.applied
    }

    /// Whether it asks for anything at all, or for all resources of the type.
    #[must_use]
    pub fn has_conditions(&self) -> bool {
        !self.criteria.is_empty() || !self.links.is_empty()
    }

    /// The same search in no particular order, so that its candidates come in pages.
    #[must_use]
    pub fn unsorted(&self) -> Self {
        let mut query = self.clone();
        query.output.sort.clear();
        query
    }

    /// The resources of this server that it names, each by type and id: those that it wants by `_id`, and
    /// those that what it wants has to refer to. An id alone may be that of a resource of several types.
    /// What links found is named by nobody.
    #[must_use]
    pub fn named(&self) -> BTreeSet<(&str, &str)> {
        let mut named = BTreeSet::new();
        for criterion in &self.criteria {
            match criterion {
                Criterion::Id { ids, is_denied: false } => {
                    named.extend(ids.iter().map(|id| (self.resource_type, id.as_str())));
                }
                Criterion::AnyOf { parameter, terms } => {
                    for term in terms {
                        match term {
                            Term::Reference(ReferenceTerm::Id(id)) => {
                                let types = match parameter.targets() {
                                    [] => &["Patient"][..],
                                    types => types,
                                };
                                named.extend(types.iter().map(|of| (*of, id.as_str())));
                            }
                            Term::Reference(ReferenceTerm::Address(address)) => {
                                let name = crate::path::without_version(address).split_once('/');
                                named.extend(name.filter(|(_, id)| !id.contains('/')));
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        named
    }

    pub(crate) fn criteria(&self) -> &[Criterion] {
        &self.criteria
    }

    /// The links that still have to be resolved, each with its number. As long as there are any, the
    /// query matches nothing.
    pub fn links(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.links.iter().enumerate().filter_map(|(number, link)| Some((number, link.as_ref()?)))
    }

    /// Replaces a link by the addresses that were found for it. A link that is not there, or not any
    /// more, is passed over.
    ///
    /// # Errors
    ///
    /// [`SearchError::TooManyFound`]; the link then stays.
    pub fn resolve(
        &mut self,
        link: usize,
        found: impl IntoIterator<Item = String>,
    ) -> Result<(), SearchError> {
        let Some(slot) = self.links.get_mut(link) else { return Ok(()) };
        let found: BTreeSet<_> = found.into_iter().take(FOUND_MAX + 1).collect();
        if found.len() > FOUND_MAX {
            return Err(SearchError::TooManyFound);
        }
        match slot.take() {
            None => {}
            Some(Link::Chain { parameter, .. }) => self.criteria.push(refers_to(parameter, found)),
            Some(Link::Reverse { .. }) => {
                let own = |address: &String| {
                    let id = address.strip_prefix(self.resource_type)?.strip_prefix('/')?;
                    Some(crate::path::without_version(id).to_owned())
                };
                let ids = found.iter().filter_map(own).collect();
                self.criteria.push(Criterion::Id { ids, is_denied: false });
            }
        }
        Ok(())
    }

    /// Takes the condition `key`, which is all of `asked` or what follows its links.
    fn take_condition(
        &mut self,
        asked: Asked<'_>,
        key: &str,
        value: &str,
    ) -> Result<(), SearchError> {
        if let Some(reverse) = key.strip_prefix("_has:") {
            self.links.push(Some(asked.reverse_link(self.resource_type, reverse, value)?));
        } else if let Some((head, rest)) = key.split_once('.') {
            self.links.push(Some(asked.chain(self.resource_type, head, rest, value)?));
        } else {
            self.criteria.push(asked.criterion(self.resource_type, key, value)?);
        }
        Ok(())
    }
}

/// What was asked for, and how far its links may still go.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// The parameter with all that belongs to it, for errors.
    key: &'a str,
    /// How many links came before.
    depth: usize,
    /// How many queries may still come of links.
    queries_left: &'a Cell<usize>,
}

fn refers_to(parameter: &'static Parameter, addresses: BTreeSet<String>) -> Criterion {
    let addresses =
        addresses.into_iter().map(|address| crate::path::without_version(&address).to_owned());
    let terms = vec![Term::Reference(ReferenceTerm::OneOf(addresses.collect()))];
    Criterion::AnyOf { parameter, terms }
}

fn may_lead_to(parameter: &Parameter, resource_type: &str) -> bool {
    parameter.targets().is_empty() || parameter.targets().contains(&resource_type)
}

impl Asked<'_> {
    fn name(self) -> ParameterName {
        ParameterName::of(self.key)
    }

    fn unknown(self) -> SearchError {
        SearchError::UnknownParameter { parameter: self.name() }
    }

    fn unsupported(self) -> SearchError {
        SearchError::UnsupportedModifier { parameter: self.name() }
    }

    fn wants(self, expected: &'static str) -> SearchError {
        SearchError::BadValue { parameter: self.name(), expected }
    }

    /// A query at the end of a link.
    fn linked(
        mut self,
        resource_type: &'static str,
        key: &str,
        value: &str,
    ) -> Result<Query, SearchError> {
        let left = self.queries_left.get().checked_sub(1);
        let (Some(left), true) = (left, self.depth < DEPTH_MAX) else {
            return Err(SearchError::TooDeep { parameter: self.name() });
        };
        self.queries_left.set(left);
        self.depth += 1;
        let mut query = Query::all(resource_type);
        query.take_condition(self, key, value)?;
        Ok(query)
    }

    /// `Observation:patient:code`, after `_has:`.
    fn reverse_link(
        self,
        resource_type: &'static str,
        key: &str,
        value: &str,
    ) -> Result<Link, SearchError> {
        let mut parts = key.splitn(3, ':');
        let source = parts.next().and_then(known_type).ok_or_else(|| self.unknown())?;
        let parameter = parts
            .next()
            .and_then(|name| parameter(source, name))
            .filter(|found| found.kind() == ParameterKind::Reference)
            .filter(|found| may_lead_to(found, resource_type))
            .ok_or_else(|| self.unknown())?;
        let query = self.linked(source, parts.next().unwrap_or_default(), value)?;
        Ok(Link::Reverse { parameter, query: Box::new(query) })
    }

    /// `subject:Patient` and `name`, with a dot between.
    fn chain(
        self,
        resource_type: &'static str,
        head: &str,
        rest: &str,
        value: &str,
    ) -> Result<Link, SearchError> {
        let (name, only) = match head.split_once(':') {
            Some((name, only)) => (name, Some(only)),
            None => (head, None),
        };
        let parameter = parameter(resource_type, name)
            .filter(|found| found.kind() == ParameterKind::Reference)
            .ok_or_else(|| self.unknown())?;
        let is_meant = |target: &&str| {
            only.is_none_or(|only| only == *target) && may_lead_to(parameter, target)
        };
        let mut queries = Vec::new();
        for target in resource_types().filter(is_meant) {
            match self.linked(target, rest, value) {
                Ok(query) => queries.push(query),
                // Of the types that may be meant, some do not have what follows.
                Err(SearchError::UnknownParameter { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if queries.is_empty() {
            return Err(self.unknown());
        }
        Ok(Link::Chain { parameter, queries })
    }

    /// A condition on the resource itself.
    fn criterion(
        self,
        resource_type: &'static str,
        key: &str,
        value: &str,
    ) -> Result<Criterion, SearchError> {
        let (name, modifier) = match key.split_once(':') {
            Some((name, modifier)) => (name, Some(modifier)),
            None => (key, None),
        };
        let parameter = parameter(resource_type, name).ok_or_else(|| self.unknown())?;
        if let ("_id" | "_lastUpdated", Some(_)) = (name, modifier.filter(|of| *of != "not")) {
            return Err(self.unsupported());
        }
        if modifier == Some("missing") {
            let is_missing = match value {
                "true" => true,
                "false" => false,
                _ => return Err(self.wants("`true` or `false`")),
            };
            return Ok(Criterion::Missing { parameter, is_missing });
        }
        let parts = split(value, ',').filter(|part| !part.is_empty());
        let parts: Vec<_> = parts.take(VALUES_MAX + 1).collect();
        if parts.len() > VALUES_MAX {
            return Err(SearchError::TooManyValues { parameter: self.name() });
        }
        if parts.is_empty() {
            return Err(self.wants("a value between its commas"));
        }
        let is_denied = modifier == Some("not") && parameter.kind() == ParameterKind::Token;
        let modifier = match modifier.filter(|_| !is_denied) {
            None => Modifier::None,
            Some(name) => Modifier::of(parameter, name).ok_or_else(|| self.unsupported())?,
        };
        match name {
            "_id" => {
                // PostgreSQL has no text with a zero in it, and so no resource has such an id.
                let ids =
                    parts.into_iter().map(unescaped).filter(|id| !id.contains('\0')).collect();
                Ok(Criterion::Id { ids, is_denied })
            }
            "_lastUpdated" => {
                let range = |part| {
                    let parsed = RangeTerm::parse_date(&unescaped(part));
                    parsed.ok_or_else(|| self.wants("a date such as `ge2024-02-29`"))
                };
                let ranges = parts.into_iter().map(range).collect::<Result<_, _>>()?;
                Ok(Criterion::LastUpdated(ranges))
            }
            _ => {
                let terms = parts.into_iter().map(|part| Term::parse(parameter, modifier, part));
                let terms = terms.collect::<Result<_, _>>()?;
                Ok(if is_denied {
                    Criterion::NoneOf { parameter, terms }
                } else {
                    Criterion::AnyOf { parameter, terms }
                })
            }
        }
    }
}

impl Modifier {
    /// What a modifier means for a parameter, if it takes it.
    fn of(parameter: &Parameter, name: &str) -> Option<Self> {
        match (parameter.kind(), name) {
            (ParameterKind::String, "exact") => Some(Self::Exact),
            (ParameterKind::String, "contains") => Some(Self::Contains),
            (ParameterKind::Token, "text") => Some(Self::Text),
            (ParameterKind::Reference, "identifier") => Some(Self::Identifier),
            (ParameterKind::Uri, "below") => Some(Self::Below),
            (ParameterKind::Uri, "above") => Some(Self::Above),
            (ParameterKind::Reference, name) => {
                known_type(name).filter(|name| may_lead_to(parameter, name)).map(Self::To)
            }
            _ => None,
        }
    }
}
