//! What a search wants to have of what it finds, and in which order: the parameters that begin with `_`
//! and choose nothing.
//!
//! # Source
//!
//! [FHIR R4, 3.1.1.5](https://hl7.org/fhir/R4/search.html#return)

use crate::error::{ParameterName, SearchError};
use crate::parameters::{Parameter, ParameterKind, known_type, parameter};
use crate::query::SORT_KEYS_MAX;

/// How results are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// How many on a page. None leaves it to the server; 0 wants the total only.
    pub count: Option<u32>,
    /// How many to leave out at the beginning.
    pub offset: u32,
    /// What to sort by, the most important first.
    pub sort: Vec<SortKey>,
    /// What else to give: what the results refer to.
    pub includes: Vec<Include>,
    /// What else to give: what refers to the results.
    pub reverse_includes: Vec<Include>,
    /// Which part of each resource.
    pub summary: Summary,
    /// Only these elements of each resource, beside those that it must have. Empty means all.
    pub elements: Vec<String>,
    /// Whether the total is wanted, where the asker said so.
    pub total: Option<Total>,
    /// The format asked for, as it was written.
    pub format: Option<String>,
    /// Whether people will read it.
    pub is_pretty: bool,
}

/// Something to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// The parameter whose values count.
    pub parameter: &'static Parameter,
    /// Whether the greatest comes first.
    pub is_descending: bool,
}

impl SortKey {
    /// Whether the index knows this order. It does not for texts and codes, of which it has only
    /// digests: whoever wants that order opens all candidates and [compares](crate::compare) them.
    #[must_use]
    pub fn is_known_to_index(&self) -> bool {
        matches!(self.parameter.name(), "_id" | "_lastUpdated")
            || matches!(
                self.parameter.kind(),
                ParameterKind::Date | ParameterKind::Number | ParameterKind::Quantity
            )
    }
}

/// `Observation:subject:Patient` of `_include` or `_revinclude`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Include {
    /// The type of resource that refers.
    pub source: &'static str,
    /// By which parameter; `None` for `*`, all of them.
    pub parameter: Option<&'static Parameter>,
    /// The type that is referred to, when only one will do.
    pub target: Option<&'static str>,
    /// Whether what was included is gone through too.
    pub is_iterated: bool,
}

impl Include {
    /// The parameters that it is about.
    pub fn parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        let is_meant = move |found: &&Parameter| {
            self.parameter.map_or(found.kind() == ParameterKind::Reference, |one| one == *found)
        };
        crate::parameters::parameters(self.source).iter().filter(is_meant)
    }
}

/// Which part of each resource is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Summary {
    /// All of it.
    #[default]
    False,
    /// The elements that are marked as summary.
    True,
    /// The narrative and what must be there.
    Text,
    /// All but the narrative.
    Data,
    /// No resources, only how many there are.
    Count,
}

/// How exact a total is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// None is needed.
    None,
    /// About.
    Estimate,
    /// Exactly.
    Accurate,
}

impl Output {
    /// Takes a parameter, or says `false` when it is none of these.
    pub(crate) fn take(
        &mut self,
        resource_type: &'static str,
        key: &str,
        value: &str,
    ) -> Result<bool, SearchError> {
        let wants =
            |expected| SearchError::BadValue { parameter: ParameterName::of(key), expected };
        let (name, modifier) =
            key.split_once(':').map_or((key, None), |(name, of)| (name, Some(of)));
        match name {
            "_include" | "_revinclude" => {
                let is_iterated = match modifier {
                    None => false,
                    // `recurse` is what it was called before R4.
                    Some("iterate" | "recurse") => true,
                    Some(_) => {
                        return Err(SearchError::UnsupportedModifier {
                            parameter: ParameterName::of(key),
                        });
                    }
                };
                let include = Include::parse(value, is_iterated).ok_or_else(|| unknown(key))?;
                let is_reverse = name == "_revinclude";
                let all = if is_reverse { &mut self.reverse_includes } else { &mut self.includes };
                all.push(include);
                return Ok(true);
            }
            "_count" | "_offset" | "_sort" | "_summary" | "_elements" | "_total" | "_format"
            | "_pretty" => {}
            _ => return Ok(false),
        }
        if modifier.is_some() {
            return Err(SearchError::UnsupportedModifier { parameter: ParameterName::of(key) });
        }
        let number = || value.parse::<u32>().map_err(|_| wants("a number from 0 on"));
        match name {
            "_count" => self.count = Some(number()?),
            "_offset" => self.offset = number()?,
            "_sort" => self.sort = sort_keys(resource_type, value)?,
            "_summary" => {
                self.summary = match value {
                    "false" => Summary::False,
                    "true" => Summary::True,
                    "text" => Summary::Text,
                    "data" => Summary::Data,
                    "count" => Summary::Count,
                    _ => return Err(wants("`true`, `text`, `data`, `count` or `false`")),
                }
            }
            "_elements" => {
                // An element may be written with its type before it.
                let bare = |name: &str| {
                    let of_type = name.strip_prefix(resource_type);
                    of_type.and_then(|rest| rest.strip_prefix('.')).unwrap_or(name).to_owned()
                };
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.elements = names.map(bare).collect();
            }
            "_total" => {
                self.total = Some(match value {
                    "none" => Total::None,
                    "estimate" => Total::Estimate,
                    "accurate" => Total::Accurate,
                    _ => return Err(wants("`none`, `estimate` or `accurate`")),
                });
            }
            "_format" => self.format = Some(value.to_owned()),
            _ => {
                self.is_pretty = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(wants("`true` or `false`")),
                }
            }
        }
        Ok(true)
    }
}

fn unknown(name: &str) -> SearchError {
    SearchError::UnknownParameter { parameter: ParameterName::of(name) }
}

fn sort_keys(resource_type: &'static str, value: &str) -> Result<Vec<SortKey>, SearchError> {
    let keys = value.split(',').filter(|key| !key.is_empty()).map(|key| {
        let (name, is_descending) = key.strip_prefix('-').map_or((key, false), |name| (name, true));
        let parameter = parameter(resource_type, name).ok_or_else(|| unknown("_sort"))?;
        Ok(SortKey { parameter, is_descending })
    });
    // One more than there may be is enough to see that there are too many.
    let keys: Vec<_> = keys.take(SORT_KEYS_MAX + 1).collect::<Result<_, _>>()?;
    if keys.len() > SORT_KEYS_MAX { Err(SearchError::TooManySortKeys) } else { Ok(keys) }
}

impl Include {
    fn parse(value: &str, is_iterated: bool) -> Option<Self> {
        let mut parts = value.split(':');
        let source = known_type(parts.next()?)?;
        let parameter = match parts.next()? {
            "*" => None,
            name => Some(
                parameter(source, name).filter(|found| found.kind() == ParameterKind::Reference)?,
            ),
        };
        let target = match parts.next() {
            None | Some("") => None,
            Some(name) => Some(known_type(name)?),
        };
        if parts.next().is_some() {
            return None;
        }
        Some(Self { source, parameter, target, is_iterated })
    }
}
