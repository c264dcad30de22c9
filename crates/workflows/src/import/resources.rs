//! What is in a file: FHIR R4 resources, looked at no further than importing needs.
//!
//! A resource is kept as it was received, byte for byte. Only its type, id, subject, categories and
//! security labels are read.

use std::collections::HashSet;

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
    /// Resources that are not about a patient.
    pub not_records: u64,
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
    /// The resource as it was received.
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
    let mut parser =
        Parser { file: &file.name, parsed: ParsedFile::default(), seen: HashSet::new() };
    if file.name.ends_with(".ndjson") {
        for (line, resource) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
        {
            let place = format!("line {line}");
            parser.any(&place, "", resource)?;
        }
    } else {
        parser.any("the file", "", text)?;
    }
    Ok(parser.parsed)
}

struct Parser<'a> {
    file: &'a str,
    parsed: ParsedFile,
    seen: HashSet<(String, String)>,
}

impl Parser<'_> {
    fn problem(&self, place: &str, reason: impl Into<String>) -> FileProblem {
        FileProblem { file: self.file.into(), place: place.into(), reason: reason.into() }
    }

    fn json<'a, T: Deserialize<'a>>(&self, place: &str, text: &'a str) -> Result<T, FileProblem> {
        serde_json::from_str(text).map_err(|error| {
            // What serde says may quote a value; say only where and of what sort.
            let sort = match error.classify() {
                serde_json::error::Category::Eof => "it ends early",
                serde_json::error::Category::Syntax => "it is not JSON",
                _ => "a field is not what FHIR R4 says it is",
            };
            let at = format!("{place}, line {} column {}", error.line(), error.column());
            self.problem(&at, sort)
        })
    }

    /// A bundle or a resource.
    fn any(&mut self, place: &str, full_url: &str, text: &str) -> Result<(), FileProblem> {
        let head: Head<'_> = self.json(place, text)?;
        let Some(resource_type) = head.resource_type.clone() else {
            return Err(self.problem(place, "it has no resourceType"));
        };
        if resource_type == "Bundle" {
            return self.bundle(place, &head);
        }
        self.resource(place, full_url, &resource_type, &head, text)
    }

    fn bundle(&mut self, place: &str, head: &Head<'_>) -> Result<(), FileProblem> {
        if place != "the file" && !place.starts_with("line") {
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
        let entries: Vec<BundleEntry<'_>> = match head.entry {
            Some(entries) => self.json(place, entries.get())?,
            None => Vec::new(),
        };
        for (index, entry) in entries.iter().enumerate() {
            let place = format!("entry {index}");
            let Some(resource) = entry.resource else {
                return Err(self.problem(&place, "it has no resource"));
            };
            self.any(&place, &entry.full_url, resource.get())?;
        }
        Ok(())
    }

    fn resource(
        &mut self,
        place: &str,
        full_url: &str,
        resource_type: &str,
        head: &Head<'_>,
        text: &str,
    ) -> Result<(), FileProblem> {
        if !RESOURCE_TYPES.contains(&resource_type) {
            return Err(self.problem(place, "its resourceType is none of FHIR R4"));
        }
        let id = self.id(place, full_url, head)?;
        if !self.seen.insert((resource_type.into(), id.clone())) {
            return Err(self.problem(place, "a resource with this type and id came before"));
        }
        let categories = self.categories(place, head)?;
        let categories: Vec<&str> = categories.iter().map(String::as_str).collect();
        let labels: Vec<&str> = head.meta.security.iter().map(|label| &*label.code).collect();
        let Some(kind) = Kind::of_resource(resource_type, &categories, &labels) else {
            self.parsed.not_records += 1;
            return Ok(());
        };
        let subject = if resource_type == "Patient" {
            let identifiers = match head.identifier {
                Some(identifiers) => self.json(place, identifiers.get())?,
                None => Vec::new(),
            };
            self.parsed.patients.push(ParsedPatient { id: id.clone(), identifiers });
            id.clone()
        } else {
            let subjects = [&head.subject, &head.patient, &head.beneficiary, &head.individual];
            let subject = subjects.into_iter().flatten().find_map(|subject| {
                let reference = subject.reference.as_str();
                let id = reference.strip_prefix("urn:uuid:");
                id.or_else(|| reference.rsplit_once("Patient/").map(|(_, id)| id))
            });
            subject.ok_or_else(|| self.problem(place, "it names no patient"))?.to_owned()
        };
        self.parsed.resources.push(ParsedResource {
            place: place.into(),
            resource_type: resource_type.into(),
            id,
            subject,
            kind,
            body: text.trim().as_bytes().to_vec(),
        });
        Ok(())
    }

    /// A resource's id, or the one that its bundle gives it.
    fn id(&self, place: &str, full_url: &str, head: &Head<'_>) -> Result<String, FileProblem> {
        let id = head.id.as_deref().or_else(|| full_url.strip_prefix("urn:uuid:"));
        let id = id.ok_or_else(|| self.problem(place, "it has no id"))?;
        // FHIR R4, section 2.24.0.1: the type `id`.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
            return Err(self.problem(place, "its id is not one of FHIR R4"));
        }
        Ok(id.to_owned())
    }

    fn categories(&self, place: &str, head: &Head<'_>) -> Result<Vec<String>, FileProblem> {
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
    fn resources_are_kept_byte_for_byte() {
        let body = r#"{ "resourceType":"Observation", "id":"o1",
            "category":[{"coding":[{"code":"laboratory"}]}],
            "subject":{"reference":"urn:uuid:p1"}, "valueQuantity":{"value":1.50} }"#;
        let parsed = parse(&bundle(&format!(r#"{PATIENT},{{"resource":{body}}}"#))).unwrap();
        assert_eq!(parsed.patients[0].id, "p1");
        let observation = &parsed.resources[1];
        assert_eq!((observation.kind, &*observation.subject), (Kind::Laboratory, "p1"));
        assert_eq!(observation.body, body.as_bytes());
    }

    #[test]
    fn organisations_are_counted_and_not_kept() {
        let entry = r#"{"resource":{"resourceType":"Organization","id":"h"}}"#;
        let parsed = parse(&bundle(entry)).unwrap();
        assert_eq!((parsed.resources.len(), parsed.not_records), (0, 1));
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
