//! What is in a file: FHIR R4 resources, looked at no further than importing needs.
//!
//! A resource is kept as it was received, but for its references to other entries of the same bundle:
//! these become type and id, as they do when a server takes in a transaction. Of the rest only type, id,
//! subject, categories and security labels are read.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use domain::Kind;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{FileProblem, SourceFile};

/// A file that was checked.
#[derive(Debug, Default)]
pub struct ParsedFile {
    /// The patients it brings.
    pub patients: Vec<ParsedPatient>,
    /// The records it brings, those of the patients themselves included.
    pub resources: Vec<ParsedResource>,
    /// Resources that are about no patient.
    pub directory: Vec<ParsedEntry>,
}

/// A resource that is about no patient, such as an organisation.
#[derive(Clone, PartialEq, Eq)]
pub struct ParsedEntry {
    /// Where in the file it is.
    pub place: String,
    /// Its type.
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// The resource, with its references to entries of its bundle by type and id.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for ParsedEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParsedEntry").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A patient as the source knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedPatient {
    /// The source's id.
    pub id: String,
    /// Numbers by which the patient is known.
    pub identifiers: Vec<Identifier>,
}

/// A number by which a patient is known. Never shown, never on chain as it is.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Identifier {
    /// Which numbers these are.
    #[serde(default)]
    pub system: String,
    /// The number.
    #[serde(default)]
    pub value: String,
}

impl std::fmt::Debug for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identifier").field("system", &self.system).finish_non_exhaustive()
    }
}

/// A resource that is a record.
#[derive(Clone, PartialEq, Eq)]
pub struct ParsedResource {
    /// Where in the file it is.
    pub place: String,
    /// Its type.
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// The source's id of the patient.
    pub subject: String,
    /// What it is about.
    pub kind: Kind,
    /// The resource, with its references to entries of its bundle by type and id.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for ParsedResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParsedResource").field("place", &self.place).finish_non_exhaustive()
    }
}

impl ParsedResource {
    /// Type and id, which name it.
    #[must_use]
    pub fn name(&self) -> (String, String) {
        (self.resource_type.clone(), self.id.clone())
    }
}

/// What is read of any resource. Fields that are not what FHIR says they are make the file unfit.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    resource_type: Option<String>,
    id: Option<String>,
    #[serde(default)]
    meta: Meta,
    subject: Option<Reference>,
    patient: Option<Reference>,
    beneficiary: Option<Reference>,
    individual: Option<Reference>,
    /// One or many, and in some types no list: only lists of concepts count.
    #[serde(default, borrow)]
    category: Option<&'a RawValue>,
    #[serde(default, borrow)]
    identifier: Option<&'a RawValue>,
    #[serde(default, borrow)]
    entry: Option<&'a RawValue>,
    #[serde(default, rename = "type", borrow)]
    kind: Option<&'a RawValue>,
}

impl Head<'_> {
    /// Whether it is a device that nobody has.
    fn is_shelved(&self, resource_type: &str) -> bool {
        let subjects = [&self.subject, &self.patient, &self.beneficiary, &self.individual];
        matches!(resource_type, "Device" | "DeviceMetric")
            && subjects.iter().all(|subject| subject.is_none())
    }
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    security: Vec<Coding>,
}

#[derive(Deserialize)]
struct Coding {
    #[serde(default)]
    code: String,
}

#[derive(Deserialize)]
struct Concept {
    #[serde(default)]
    coding: Vec<Coding>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    reference: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleEntry<'a> {
    #[serde(default)]
    full_url: String,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

/// How deep arrays and objects may stand in each other. FHIR needs a third of it; beyond 127, those who
/// read records would give up.
const DEPTH_MAX: usize = 100;

/// Checks a file and takes it apart.
///
/// # Errors
///
/// [`FileProblem`] with the first place that is wrong.
pub fn parse(file: &SourceFile) -> Result<ParsedFile, FileProblem> {
    let text = std::str::from_utf8(&file.bytes).map_err(|error| FileProblem {
        file: file.name.clone(),
        place: format!("byte {}", error.valid_up_to()),
        reason: "it is not valid UTF-8".into(),
    })?;
    // A byte order mark is allowed in files, not in JSON.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser {
        file: &file.name,
        text,
        parsed: ParsedFile::default(),
        seen: HashSet::new(),
        patient_urls: HashMap::new(),
        names: HashMap::new(),
        references: Vec::new(),
    };
    if file.name.ends_with(".ndjson") {
        for (line, resource) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
        {
            parser.document(Place { line: Some(line), entry: None }, resource)?;
        }
    } else {
        parser.document(Place { line: None, entry: None }, text)?;
    }
    Ok(parser.finish())
}

/// Where in a file something is.
#[derive(Clone, Copy)]
struct Place {
    /// The line of NDJSON, from 1.
    line: Option<usize>,
    /// The entry of a bundle, from 0.
    entry: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.entry) {
            (None, None) => f.write_str("the file"),
            (Some(line), None) => write!(f, "line {line}"),
            (None, Some(entry)) => write!(f, "entry {entry}"),
            (Some(line), Some(entry)) => write!(f, "line {line}, entry {entry}"),
        }
    }
}

/// Whether and where JSON is nested deeper than [`DEPTH_MAX`], as an offset in bytes.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' if depth == DEPTH_MAX => return Some(at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// How a UUID is written where an address is expected.
const URN: &str = "urn:uuid:";

/// The UUIDs that a resource refers to.
fn uuid_references(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("\"urn:uuid:").filter_map(|(at, opening)| {
        let before = text[..at].trim_end().strip_suffix(':')?.trim_end();
        let uuid = text[at + opening.len()..].split('"').next()?;
        before.ends_with("\"reference\"").then_some(uuid)
    })
}

/// A resource with its references renamed, when there are any to rename.
fn renamed(body: &[u8], name_of: impl Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
    const MEMBER: &str = "\"reference\"";
    let text = std::str::from_utf8(body).ok()?;
    let (mut renamed, mut done) = (String::new(), 0);
    for (at, _) in text.match_indices(MEMBER) {
        let after = text[at + MEMBER.len()..].trim_start();
        let Some(value) = after.strip_prefix(':').map(str::trim_start) else { continue };
        let Some(address) = value.strip_prefix('"').and_then(|value| value.split('"').next())
        else {
            continue;
        };
        if let Some(name) = name_of(address) {
            let begin = address.as_ptr().addr() - text.as_ptr().addr();
            renamed.push_str(&text[done..begin]);
            renamed.push_str(&name);
            done = begin + address.len();
        }
    }
    if done == 0 {
        return None;
    }
    renamed.push_str(&text[done..]);
    Some(renamed.into_bytes())
}

struct Parser<'a> {
    file: &'a str,
    text: &'a str,
    parsed: ParsedFile,
    seen: HashSet<(String, String)>,
    /// Ids of patients whose entry has an address of its own, by the UUID in it.
    patient_urls: HashMap<String, String>,
    /// Type and id of entries, by the address that the bundle gives them.
    names: HashMap<String, String>,
    /// References that the bundle at hand has to resolve, and where they are.
    references: Vec<(Place, &'a str)>,
}

impl<'a> Parser<'a> {
    fn problem(&self, place: Place, reason: impl Into<String>) -> FileProblem {
        FileProblem { file: self.file.into(), place: place.to_string(), reason: reason.into() }
    }

    /// A problem at a line and column of the file. `line` and `column` count from the beginning of
    /// `part`, which is a part of the file's text.
    fn problem_at(
        &self,
        place: Place,
        part: &str,
        (line, column): (usize, usize),
        reason: &str,
    ) -> FileProblem {
        let before = &self.text[..part.as_ptr().addr() - self.text.as_ptr().addr()];
        let lines_before = before.bytes().filter(|byte| *byte == b'\n').count();
        let column_before = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = if line == 1 { column_before + column } else { column };
        let mut problem = self.problem(place, reason);
        problem.place += &match place.line {
            Some(_) => format!(", column {column}"),
            None => format!(", line {} column {column}", lines_before + line),
        };
        problem
    }

    fn json<T: Deserialize<'a>>(&self, place: Place, text: &'a str) -> Result<T, FileProblem> {
        serde_json::from_str(text).map_err(|error| {
            // What serde says may quote a value; say only where and of what sort.
            let sort = match error.classify() {
                serde_json::error::Category::Eof => "it ends early",
                serde_json::error::Category::Syntax => "it is not JSON",
                _ => "a field is not what FHIR R4 says it is",
            };
            self.problem_at(place, text, (error.line(), error.column()), sort)
        })
    }

    /// What is parsed, with each subject by the patient's id.
    fn finish(self) -> ParsedFile {
        let mut parsed = self.parsed;
        for entry in &mut parsed.directory {
            if let Some(body) = renamed(&entry.body, |address| self.names.get(address).cloned()) {
                entry.body = body;
            }
        }
        for resource in &mut parsed.resources {
            if let Some(id) = self.patient_urls.get(&resource.subject) {
                resource.subject.clone_from(id);
            }
            let by_uuid = format!("{URN}{}", resource.subject);
            let name_of = |address: &str| match self.names.get(address) {
                // The patient may be in another file.
                None if address == by_uuid => Some(format!("Patient/{}", resource.subject)),
                name => name.cloned(),
            };
            if let Some(body) = renamed(&resource.body, name_of) {
                resource.body = body;
            }
        }
        parsed
    }

    /// A file, or a line of NDJSON.
    fn document(&mut self, place: Place, text: &'a str) -> Result<(), FileProblem> {
        if let Some(at) = too_deep(text) {
            let part = &text[at..];
            let reason = format!("it is nested deeper than {DEPTH_MAX} levels");
            return Err(self.problem_at(place, part, (1, 1), &reason));
        }
        self.any(place, "", text)
    }

    /// A bundle or a resource.
    fn any(&mut self, place: Place, full_url: &str, text: &'a str) -> Result<(), FileProblem> {
        let head: Head<'a> = self.json(place, text)?;
        // A list of the right length would pass for an object.
        if !text.trim_start().starts_with('{') {
            return Err(self.problem(place, "it is not a JSON object"));
        }
        let Some(resource_type) = head.resource_type.clone() else {
            return Err(self.problem(place, "it has no resourceType"));
        };
        if resource_type == "Bundle" {
            return self.bundle(place, &head);
        }
        self.resource(place, full_url, &resource_type, &head, text)
    }

    fn bundle(&mut self, place: Place, head: &Head<'a>) -> Result<(), FileProblem> {
        if place.entry.is_some() {
            return Err(self.problem(place, "a bundle inside a bundle"));
        }
        let kind: Option<String> = match head.kind {
            Some(kind) => self.json(place, kind.get())?,
            None => None,
        };
        let known = ["transaction", "batch", "collection", "searchset", "history", "document"];
        if !kind.as_deref().is_some_and(|kind| known.contains(&kind)) {
            return Err(self.problem(place, "the bundle's type is missing or cannot be imported"));
        }
        let entries: Vec<BundleEntry<'a>> = match head.entry {
            Some(entries) => self.json(place, entries.get())?,
            None => Vec::new(),
        };
        for (index, entry) in entries.iter().enumerate() {
            let place = Place { entry: Some(index), ..place };
            let Some(resource) = entry.resource else {
                return Err(self.problem(place, "it has no resource"));
            };
            self.any(place, &entry.full_url, resource.get())?;
        }
        self.resolve(&entries)
    }

    /// References by UUID mean an entry of the same bundle (FHIR R4, `Bundle`, resolving references). A
    /// record's patient may be in another file, which the importer checks.
    fn resolve(&mut self, entries: &[BundleEntry<'a>]) -> Result<(), FileProblem> {
        let urls = entries.iter().filter_map(|entry| entry.full_url.strip_prefix(URN));
        let known: HashSet<&str> =
            urls.chain(self.seen.iter().map(|(_, id)| id.as_str())).collect();
        let dangling = self.references.iter().find(|(_, uuid)| !known.contains(uuid));
        if let Some((place, _)) = dangling {
            return Err(self.problem(*place, "a reference leads to no entry of the bundle"));
        }
        self.references.clear();
        Ok(())
    }

    fn resource(
        &mut self,
        place: Place,
        full_url: &str,
        resource_type: &str,
        head: &Head<'a>,
        text: &'a str,
    ) -> Result<(), FileProblem> {
        if !RESOURCE_TYPES.contains(&resource_type) {
            return Err(self.problem(place, "its resourceType is none of FHIR R4"));
        }
        let id = self.id(place, full_url, head)?;
        if !self.seen.insert((resource_type.into(), id.clone())) {
            return Err(self.problem(place, "a resource with this type and id came before"));
        }
        if !full_url.is_empty() {
            self.names.insert(full_url.into(), format!("{resource_type}/{id}"));
        }
        let categories = self.categories(place, head)?;
        let categories: Vec<&str> = categories.iter().map(String::as_str).collect();
        let labels: Vec<&str> = head.meta.security.iter().map(|label| &*label.code).collect();
        let kind = Kind::of_resource(resource_type, &categories, &labels);
        let Some(kind) = kind.filter(|_| !head.is_shelved(resource_type)) else {
            self.parsed.directory.push(ParsedEntry {
                place: place.to_string(),
                resource_type: resource_type.into(),
                id,
                body: text.trim().as_bytes().to_vec(),
            });
            return Ok(());
        };
        let subject = if resource_type == "Patient" {
            let identifiers = match head.identifier {
                Some(identifiers) => self.json(place, identifiers.get())?,
                None => Vec::new(),
            };
            self.parsed.patients.push(ParsedPatient { id: id.clone(), identifiers });
            if let Some(url) = full_url.strip_prefix(URN) {
                self.patient_urls.insert(url.into(), id.clone());
            }
            id.clone()
        } else {
            let subjects = [&head.subject, &head.patient, &head.beneficiary, &head.individual];
            let subject = subjects.into_iter().flatten().find_map(|subject| {
                let reference = subject.reference.as_str();
                let id = reference.strip_prefix(URN);
                id.or_else(|| reference.rsplit_once("Patient/").map(|(_, id)| id))
            });
            subject.ok_or_else(|| self.problem(place, "it names no patient"))?.to_owned()
        };
        if place.entry.is_some() {
            let references = uuid_references(text).filter(|uuid| *uuid != subject);
            self.references.extend(references.map(|uuid| (place, uuid)));
        }
        self.parsed.resources.push(ParsedResource {
            place: place.to_string(),
            resource_type: resource_type.into(),
            id,
            subject,
            kind,
            body: text.trim().as_bytes().to_vec(),
        });
        Ok(())
    }

    /// A resource's id, or the one that its bundle gives it.
    fn id(&self, place: Place, full_url: &str, head: &Head<'a>) -> Result<String, FileProblem> {
        let id = head.id.as_deref().or_else(|| full_url.strip_prefix(URN));
        let id = id.ok_or_else(|| self.problem(place, "it has no id"))?;
        // FHIR R4, section 2.24.0.1: the type `id`.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
            return Err(self.problem(place, "its id is not one of FHIR R4"));
        }
        Ok(id.to_owned())
    }

    fn categories(&self, place: Place, head: &Head<'a>) -> Result<Vec<String>, FileProblem> {
        let Some(category) = head.category else { return Ok(Vec::new()) };
        let concepts: Vec<Concept> = if category.get().starts_with('[') {
            // Some types have lists of plain codes here, which say nothing of the kind.
            serde_json::from_str(category.get()).unwrap_or_default()
        } else {
            vec![self.json(place, category.get())?]
        };
        let codings = concepts.into_iter().flat_map(|concept| concept.coding);
        Ok(codings.map(|coding| coding.code).collect())
    }
}

/// Every resource type.
///
/// # Source
///
/// FHIR R4 (4.0.1), resource index.
const RESOURCE_TYPES: &[&str] = &[
    "Account",
    "ActivityDefinition",
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "AuditEvent",
    "Basic",
    "Binary",
    "BiologicallyDerivedProduct",
    "BodyStructure",
    "Bundle",
    "CapabilityStatement",
    "CarePlan",
    "CareTeam",
    "CatalogEntry",
    "ChargeItem",
    "ChargeItemDefinition",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "CodeSystem",
    "Communication",
    "CommunicationRequest",
    "CompartmentDefinition",
    "Composition",
    "ConceptMap",
    "Condition",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "Device",
    "DeviceDefinition",
    "DeviceMetric",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "EffectEvidenceSynthesis",
    "Encounter",
    "Endpoint",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EpisodeOfCare",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "GraphDefinition",
    "Group",
    "GuidanceResponse",
    "HealthcareService",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "ImplementationGuide",
    "InsurancePlan",
    "Invoice",
    "Library",
    "Linkage",
    "List",
    "Location",
    "Measure",
    "MeasureReport",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationKnowledge",
    "MedicationRequest",
    "MedicationStatement",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "MessageDefinition",
    "MessageHeader",
    "MolecularSequence",
    "NamingSystem",
    "NutritionOrder",
    "Observation",
    "ObservationDefinition",
    "OperationDefinition",
    "OperationOutcome",
    "Organization",
    "OrganizationAffiliation",
    "Parameters",
    "Patient",
    "PaymentNotice",
    "PaymentReconciliation",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "Questionnaire",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "RiskEvidenceSynthesis",
    "Schedule",
    "SearchParameter",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "Substance",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
    "VerificationResult",
    "VisionPrescription",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { name: name.into(), bytes: text.into() }
    }

    fn bundle(entries: &str) -> SourceFile {
        let text =
            format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
        file("bundle.json", &text)
    }

    #[track_caller]
    fn refused(file: &SourceFile, place: &str, reason: &str) {
        let problem = parse(file).unwrap_err();
        assert!(problem.place.starts_with(place), "{problem}");
        assert!(problem.reason.contains(reason), "{problem}");
    }

    const PATIENT: &str =
        r#"{"fullUrl":"urn:uuid:p1","resource":{"resourceType":"Patient","id":"p1"}}"#;

    #[test]
    fn resources_are_kept_but_for_the_names_of_what_they_refer_to() {
        let body = r#"{ "resourceType":"Observation", "id":"o1",
            "category":[{"coding":[{"code":"laboratory"}]}],
            "subject":{"reference":"urn:uuid:p1"}, "valueQuantity":{"value":1.50} }"#;
        let parsed = parse(&bundle(&format!(r#"{PATIENT},{{"resource":{body}}}"#))).unwrap();
        assert_eq!(parsed.patients[0].id, "p1");
        let observation = &parsed.resources[1];
        assert_eq!((observation.kind, &*observation.subject), (Kind::Laboratory, "p1"));
        let kept = body.replace("urn:uuid:p1", "Patient/p1");
        assert_eq!(observation.body, kept.as_bytes());
    }

    #[test]
    fn organisations_are_no_records() {
        let entries = r#"
            {"fullUrl":"urn:uuid:h","resource":{"resourceType":"Organization","id":"h"}},
            {"resource":{"resourceType":"PractitionerRole","id":"r",
                "organization":{"reference":"urn:uuid:h"}}},
            {"resource":{"resourceType":"Device","id":"d"}}"#;
        let parsed = parse(&bundle(entries)).unwrap();
        assert_eq!((parsed.resources.len(), parsed.directory.len()), (0, 3));
        let role = std::str::from_utf8(&parsed.directory[1].body).unwrap();
        assert!(role.contains("Organization/h"), "{role}");
    }

    #[test]
    fn ndjson_names_the_line() {
        let good = r#"{"resourceType":"Patient","id":"p1"}"#;
        let text = format!("{good}\n\n{{\"resourceType\":\"Patient\"}}\n");
        refused(&file("patients.ndjson", &text), "line 3", "no id");
        let parsed = parse(&file("patients.ndjson", good)).unwrap();
        assert_eq!(parsed.patients.len(), 1);
    }

    #[test]
    fn bad_files_say_where_and_why() {
        refused(&file("a.json", "{"), "the file, line 1", "ends early");
        refused(&file("a.json", "nonsense"), "the file, line 1", "not JSON");
        refused(&file("a.json", "{}"), "the file", "no resourceType");
        refused(&file("a.json", r#"{"resourceType":"Bundle"}"#), "the file", "type");
        let cases = [
            (r#"{"resourceType":"Wand","id":"w"}"#, "none of FHIR R4"),
            (r#"{"resourceType":"Condition","id":"c"}"#, "names no patient"),
            (r#"{"resourceType":"Condition","id":"no blanks"}"#, "id is not"),
            (r#"{"resourceType":"Condition","id":7}"#, "not what FHIR R4 says"),
            (r#"{"resourceType":"Patient","id":"p1"}"#, "came before"),
            (r#"{"resourceType":"Bundle","type":"batch"}"#, "inside a bundle"),
        ];
        for (resource, reason) in cases {
            let entries = format!(r#"{PATIENT},{{"resource":{resource}}}"#);
            refused(&bundle(&entries), "entry 1", reason);
        }
        refused(&bundle(&format!("{PATIENT},{{}}")), "entry 1", "no resource");
    }

    #[test]
    fn places_are_those_of_the_file() {
        let text = "{\"resourceType\":\"Bundle\",\n \"type\":\"batch\",\n \"entry\":[\n  {\"resource\":{\n   \"resourceType\":\"Patient\",\n   \"id\":7}}]}";
        refused(&file("a.json", text), "entry 0, line 6 column 9", "not what FHIR R4 says");
        let lines = "\n{\"resourceType\":\"Patient\",\"id\":7}";
        refused(&file("a.ndjson", lines), "line 2, column 32", "not what FHIR R4 says");
        let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[{}]}"#;
        refused(&file("a.ndjson", bundle), "line 1, entry 0", "no resource");
        let inner = r#"{"resourceType":"Bundle","type":"batch"}"#;
        let outer = bundle.replace("{}", &format!(r#"{{"resource":{inner}}}"#));
        refused(&file("a.ndjson", &outer), "line 1, entry 0", "inside a bundle");
        refused(&file("a.json", "[]"), "the file", "not");
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            file("a.json", &format!(r#"{{"resourceType":"Patient","id":"p","x":{open}{close}}}"#))
        };
        assert!(parse(&nested(DEPTH_MAX - 1)).is_ok());
        refused(&nested(DEPTH_MAX), "the file, line 1 column 139", "nested deeper");
        let brackets = "[{\\\"".repeat(DEPTH_MAX);
        let text = format!(r#"{{"resourceType":"Patient","id":"p","x":"{brackets}"}}"#);
        assert!(parse(&file("a.json", &text)).is_ok(), "text does not nest");
    }

    #[test]
    fn references_lead_to_entries_of_the_bundle() {
        let condition = |encounter: &str| {
            let condition = r#"{"resource":{"resourceType":"Condition","id":"c",
                "note":[{"text":"\"reference\": \"urn:uuid:in-a-note\""}],
                "encounter":{"reference" : "urn:uuid:E"},"subject":{"reference":"urn:uuid:p9"}}}"#;
            bundle(&format!("{PATIENT},{}", condition.replace('E', encounter)))
        };
        refused(&condition("nowhere"), "entry 1", "leads to no entry");
        assert!(parse(&condition("p1")).is_ok(), "the patient may be in another file");
    }

    #[test]
    fn subjects_by_address_are_the_patients_own_ids() {
        let patient = PATIENT.replace("urn:uuid:p1", "urn:uuid:address");
        let condition = r#"{"resource":{"resourceType":"Condition","id":"c","subject":{"reference":"urn:uuid:address"}}}"#;
        let parsed = parse(&bundle(&format!("{condition},{patient}"))).unwrap();
        assert_eq!(parsed.resources[0].subject, "p1");
    }

    #[test]
    fn invalid_utf8_names_the_byte() {
        let mut bytes = br#"{"resourceType":"Patient","id":"p"#.to_vec();
        bytes.push(0xff);
        let broken = SourceFile { name: "a.json".into(), bytes };
        refused(&broken, "byte 33", "UTF-8");
    }

    #[test]
    fn problems_never_quote_the_file() {
        let secret = r#"{"resourceType":"Patient","id":"p","identifier":"123-45-6789"}"#;
        let problem = parse(&file("a.json", secret)).unwrap_err();
        assert!(!problem.to_string().contains("6789"), "{problem}");
    }
}
