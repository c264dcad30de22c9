//! Say what is wrong with a FHIR R4 resource.
//!
//! [`validate`] walks a resource as JSON and holds it against HL7's definitions of R4 4.0.1. It takes no
//! network, no profile and no other resource; the same resource always gives the same issues.
//!
//! **Checked:** resource types; unknown elements; what is required, single or a list; the JSON type and
//! the written form of every primitive; choices such as `value[x]`; what stands beside primitives
//! (`_birthDate`); contained resources, and resources in Bundles and Parameters; required bindings; where
//! literal references may point to; and the invariants that the `rules` module lists with their keys.
//!
//! **Not checked:** profiles other than the base definitions; bindings that are not required, and those
//! whose codes nobody can list (MIME types, currencies, UCUM, LOINC); displays of codes; whether a
//! reference resolves; invariants of conformance resources (StructureDefinition, ValueSet …);
//! `dom-6`, which only wishes for a narrative.
//!
//! Issues name elements and never quote what they hold (S1). The names are those of the resource, also
//! where R4 does not know them, so issues go to whoever sent the resource and into no log.
//!
//! **Bounds:** at most [`ISSUES_MAX`] issues, and a resource may be nested [`DEPTH_MAX`] deep.
//!
//! The definitions are a pack in the program, made by `cargo xtask r4-pack`; see
//! `docs/decisions/0009-fhir-validation.md`. The first call unpacks it, which takes some 10 ms; after that
//! one of Synthea's resources takes 8 to 13 us on average (`examples/bench_r4.rs`, release build, one
//! thread on a shared 2-core machine under load, 28,245 resources of 1.4 kB each).

mod issue;
mod moment;
mod narrative;
mod path;
mod primitive;
mod rules;
mod schema;
mod walk;

pub use issue::{Issue, IssueCode, Severity};
use serde_json::Value;

/// How many issues are reported at most; the walk ends with the last.
pub const ISSUES_MAX: usize = 100;

/// How deep elements may stand in each other, lists not counted.
pub const DEPTH_MAX: usize = 64;

/// What is wrong with a resource; nothing if it is valid.
///
/// A resource with warnings only is valid. Issues come in no particular order.
#[must_use]
pub fn validate(resource: &Value) -> Vec<Issue> {
    walk::validate(resource)
}

/// Whether R4 has a resource of this type that can be instantiated.
#[must_use]
pub fn is_resource_type(name: &str) -> bool {
    schema::schema().resource(name).is_some()
}

/// All types of resources that can be instantiated, in alphabetical order.
#[must_use]
pub fn resource_types() -> &'static [&'static str] {
    schema::resource_types()
}

/// Whether a text can be the id of a resource: 1 to 64 letters, digits, `-` and `.`.
///
/// # Source
///
/// [FHIR R4, id](https://hl7.org/fhir/R4/datatypes.html#id).
#[must_use]
pub fn is_id(text: &str) -> bool {
    primitive::is_id(text)
}

/// What R4 says of a property that stands directly in a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// Whether every resource of the type has it.
    pub is_required: bool,
    /// Whether it is a list.
    pub is_list: bool,
    /// Whether a summary of the resource has it.
    pub is_summary: bool,
}

/// What R4 says of a property of a type of resource, by its name in JSON (`valueQuantity`, not `value[x]`).
#[must_use]
pub fn property(resource_type: &str, name: &str) -> Option<Property> {
    let element = schema::schema().resource(resource_type)?.element(name)?;
    Some(Property {
        is_required: element.required,
        is_list: element.many,
        is_summary: element.summary,
    })
}
