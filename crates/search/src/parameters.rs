//! Which search parameters there are.
//!
//! The table is `parameters.txt`, made from HL7's own definitions: all parameters that R4 defines for
//! the types in it, but those of the kinds `composite` (such as `code-value-quantity`) and `special`
//! (`Location.near`), and but `_content`, `_text`, `_query`, `_list` and `_filter`, which are about no
//! element. `tests/search_parameters.rs` says how the table is made and holds it against its source.
//!
//! A type stands at the beginning of a line. Its parameters follow, one a line: name, kind, the end of
//! the definition's address, [path](crate::path), and, of references, the types they may lead to, `*`
//! for any. A `*` after the name says that R4 counts the reference to the patient's compartment.
//!
//! # Source
//!
//! HL7 FHIR R4 (4.0.1), search parameter registry and `CompartmentDefinition/patient`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use crate::path::Path;

/// Under this "type" stand the parameters that each type has.
const COMMON: &str = "Resource";

/// The kinds of a search parameter, of those that FHIR has.
///
/// # Source
///
/// [FHIR R4, 3.1.1.4](https://hl7.org/fhir/R4/search.html#ptypes)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// A code or an identifier, often with its system.
    Token,
    /// A reference to a resource.
    Reference,
    /// A text that people read.
    String,
    /// A date, an instant or a period.
    Date,
    /// A number.
    Number,
    /// A number with a unit.
    Quantity,
    /// An address.
    Uri,
}

impl ParameterKind {
    /// Its name in FHIR.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Reference => "reference",
            Self::String => "string",
            Self::Date => "date",
            Self::Number => "number",
            Self::Quantity => "quantity",
            Self::Uri => "uri",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [
            Self::Token,
            Self::Reference,
            Self::String,
            Self::Date,
            Self::Number,
            Self::Quantity,
            Self::Uri,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }
}

/// A search parameter of one type of resource.
#[derive(Debug)]
pub struct Parameter {
    resource_type: &'static str,
    name: &'static str,
    kind: ParameterKind,
    definition: &'static str,
    targets: Vec<&'static str>,
    is_of_compartment: bool,
    paths: Vec<Path>,
    position: usize,
}

impl Parameter {
    /// The type of resource.
    #[must_use]
    pub const fn resource_type(&self) -> &'static str {
        self.resource_type
    }

    /// Its name in a query.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it takes.
    #[must_use]
    pub const fn kind(&self) -> ParameterKind {
        self.kind
    }

    /// The canonical address of its definition.
    #[must_use]
    pub fn definition(&self) -> String {
        format!("http://hl7.org/fhir/SearchParameter/{}", self.definition)
    }

    /// The types that a reference may lead to. None means any.
    #[must_use]
    pub fn targets(&self) -> &[&'static str] {
        &self.targets
    }

    /// Whether the patient referred to has the resource in their compartment.
    #[must_use]
    pub const fn is_of_compartment(&self) -> bool {
        self.is_of_compartment
    }

    /// Where its values are.
    pub(crate) fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Where it stands in the whole table. Only for what lives as long as the process: another release
    /// has another table.
    pub(crate) const fn position(&self) -> usize {
        self.position
    }
}

/// There is one of each.
impl PartialEq for Parameter {
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
    }
}

impl Eq for Parameter {}

/// The types of resource that can be searched, sorted.
pub fn resource_types() -> impl Iterator<Item = &'static str> {
    TABLE.types.keys().copied()
}

/// The parameters of a type, sorted by name. None when it cannot be searched.
#[must_use]
pub fn parameters(resource_type: &str) -> &'static [Parameter] {
    let range = TABLE.types.get(resource_type).cloned();
    range.map_or(&[], |range| &TABLE.parameters[range])
}

/// A parameter of a type by its name.
#[must_use]
pub fn parameter(resource_type: &str, name: &str) -> Option<&'static Parameter> {
    let parameters = parameters(resource_type);
    let found = parameters.binary_search_by(|parameter| parameter.name.cmp(name)).ok()?;
    Some(&parameters[found])
}

/// The parameter that says which patient a resource is about, for types that are about one.
#[must_use]
pub fn patient_parameter(resource_type: &str) -> Option<&'static Parameter> {
    ["patient", "subject", "beneficiary", "individual"]
        .into_iter()
        .filter_map(|name| parameter(resource_type, name))
        .find(|found| found.targets.contains(&"Patient") || found.is_of_compartment)
}

/// The type's own name, as long-lived as the table.
pub(crate) fn known_type(resource_type: &str) -> Option<&'static str> {
    TABLE.types.get_key_value(resource_type).map(|(name, _)| *name)
}

/// All parameters of all types, each at its [position](Parameter::position).
pub(crate) fn all() -> &'static [Parameter] {
    &TABLE.parameters
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    Table::parse(include_str!("parameters.txt")).expect("a test parses the committed table")
});

struct Table {
    types: BTreeMap<&'static str, Range<usize>>,
    parameters: Vec<Parameter>,
}

/// A line of the table.
#[derive(Clone, Copy)]
struct Line {
    name: &'static str,
    is_of_compartment: bool,
    kind: ParameterKind,
    definition: &'static str,
    path: &'static str,
    targets: &'static str,
}

impl Line {
    fn parse(text: &'static str) -> Option<Self> {
        let mut columns = text.split_ascii_whitespace();
        let name = columns.next()?;
        Some(Self {
            name: name.trim_end_matches('*'),
            is_of_compartment: name.ends_with('*'),
            kind: ParameterKind::parse(columns.next()?)?,
            definition: columns.next()?,
            path: columns.next()?,
            targets: columns.next().unwrap_or("*"),
        })
    }

    fn of_type(self, resource_type: &'static str, position: usize) -> Option<Parameter> {
        let targets = match self.targets {
            "*" => Vec::new(),
            targets => targets.split(',').collect(),
        };
        Some(Parameter {
            resource_type,
            name: self.name,
            kind: self.kind,
            definition: self.definition,
            targets,
            is_of_compartment: self.is_of_compartment,
            paths: Path::parse_alternatives(self.path)?,
            position,
        })
    }
}

impl Table {
    fn parse(text: &'static str) -> Option<Self> {
        let mut lines: BTreeMap<_, Vec<Line>> = BTreeMap::new();
        let mut resource_type = None;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with(' ') {
                lines.get_mut(resource_type?)?.push(Line::parse(line)?);
            } else {
                resource_type = Some(line);
                lines.insert(line, Vec::new());
            }
        }
        let common = lines.remove(COMMON)?;
        let mut table = Self { types: BTreeMap::new(), parameters: Vec::new() };
        for (resource_type, mut lines) in lines {
            lines.extend(&common);
            lines.sort_by_key(|line| line.name);
            let first = table.parameters.len();
            for line in lines {
                let parameter = line.of_type(resource_type, table.parameters.len())?;
                table.parameters.push(parameter);
            }
            table.types.insert(resource_type, first..table.parameters.len());
        }
        Some(table)
    }
}
