//! Codes, identifiers and people: CWE, CE, CNE, EI, CX, HD and XCN in FHIR.
//!
//! FHIR wants a URI where HL7 v2 has a name that only those who use it know. Names that are none become
//! `urn:salus:hl7v2:code-system:FACILITY:NAME` and `urn:salus:hl7v2:authority:NAME`: a code that is a
//! laboratory's own stays that laboratory's own.
//!
//! # Source
//!
//! v2-to-FHIR, CWE to CodeableConcept, CX and EI to Identifier, XCN to Practitioner.

use serde_json::{Map, Value, json};

use crate::{
    error::ReadError,
    message::{Component, Field},
    tables,
};

/// A coded field as a CodeableConcept; nothing when it says nothing. `facility` is whose own codes may be.
pub(crate) fn concept(field: Field<'_>, facility: &str) -> Result<Option<Value>, ReadError> {
    let text = |number: usize| field.component(number).text();
    let mut coding = Vec::new();
    // Code, display, system, version, the system's OID: three times.
    for [code, display, system, version, oid] in
        [[1, 2, 3, 7, 14], [4, 5, 6, 8, 17], [10, 11, 12, 13, 20]]
    {
        let found = Coding {
            code: text(code)?,
            display: text(display)?,
            system: text(system)?,
            version: text(version)?,
            oid: text(oid)?,
        };
        coding.extend(found.to_fhir(facility));
    }
    let original = text(9)?;
    let text = if original.is_empty() { text(2)? } else { original };
    // A code that FHIR cannot take as one is a text.
    let text = if text.is_empty() && coding.is_empty() { field.text()? } else { text };
    let mut concept = Map::new();
    if !coding.is_empty() {
        concept.insert("coding".into(), coding.into());
    }
    if !text.is_empty() {
        concept.insert("text".into(), text.into());
    }
    Ok((!concept.is_empty()).then(|| concept.into()))
}

struct Coding {
    code: String,
    display: String,
    system: String,
    version: String,
    oid: String,
}

impl Coding {
    fn to_fhir(&self, facility: &str) -> Option<Value> {
        if !is_code(&self.code) {
            return None;
        }
        let mut coding = json!({ "code": self.code });
        if let Some(system) = code_system(&self.system, &self.oid, facility) {
            coding["system"] = system.into();
        }
        if !self.version.is_empty() {
            coding["version"] = self.version.clone().into();
        }
        if !self.display.is_empty() {
            coding["display"] = self.display.clone().into();
        }
        Some(coding)
    }
}

/// Whether a text can be a code.
///
/// # Source
///
/// [FHIR R4, code](https://hl7.org/fhir/R4/datatypes.html#code).
pub(crate) fn is_code(text: &str) -> bool {
    let is_single = |pair: &[u8]| !(pair[0] == b' ' && pair[1] == b' ');
    !text.is_empty()
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace)
        && !text.contains(['\t', '\n', '\r'])
        && text.as_bytes().windows(2).all(is_single)
}

/// The URI of a coding system.
pub(crate) fn code_system(name: &str, oid: &str, facility: &str) -> Option<String> {
    if let Some(known) = tables::system(name) {
        return Some(known);
    }
    if is_oid(oid) {
        return Some(format!("urn:oid:{oid}"));
    }
    if name.is_empty() {
        return None;
    }
    let (facility, name) = (encoded(facility), encoded(name));
    Some(format!("urn:salus:hl7v2:code-system:{facility}:{name}"))
}

/// The parts of a hierarchic designator.
#[derive(Clone, Debug, Default)]
struct Authority {
    namespace: String,
    universal: String,
    kind: String,
}

impl Authority {
    /// Three components after each other.
    fn after(field: Field<'_>, number: usize) -> Result<Self, ReadError> {
        Ok(Self {
            namespace: field.component(number).text()?,
            universal: field.component(number + 1).text()?,
            kind: field.component(number + 2).text()?,
        })
    }

    /// Three subcomponents of one component.
    fn within(component: Component<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            namespace: component.subcomponent(1)?,
            universal: component.subcomponent(2)?,
            kind: component.subcomponent(3)?,
        })
    }

    fn uri(&self) -> Option<String> {
        let universal = self.universal.as_str();
        match self.kind.as_str() {
            "ISO" | "" if is_oid(universal) => Some(format!("urn:oid:{universal}")),
            "UUID" | "GUID" if !universal.is_empty() => {
                Some(format!("urn:uuid:{}", encoded(&universal.to_lowercase())))
            }
            "URI" | "URL" if is_uri(universal) => Some(universal.into()),
            _ if is_uri(&self.namespace) => Some(self.namespace.clone()),
            _ if self.namespace.is_empty() && universal.is_empty() => None,
            _ => {
                let named = if self.namespace.is_empty() { universal } else { &self.namespace };
                Some(format!("urn:salus:hl7v2:authority:{}", encoded(named)))
            }
        }
    }
}

/// A patient's number (CX): its system, as far as there is one, and its value.
pub(crate) fn number(field: Field<'_>) -> Result<(Option<String>, String), ReadError> {
    let authority = Authority::within(field.component(4))?;
    // The one number whose system HL7 and FHIR both know without an authority.
    let is_social = authority.uri().is_none() && field.component(5).text()? == "SS";
    let system =
        if is_social { Some("http://hl7.org/fhir/sid/us-ssn".into()) } else { authority.uri() };
    Ok((system, field.text()?))
}

/// An identifier that somebody who places or fills an order gave (EI); nothing when there is none.
pub(crate) fn identifier(field: Field<'_>, kind: &str) -> Result<Option<Value>, ReadError> {
    let value = field.text()?;
    if value.is_empty() {
        return Ok(None);
    }
    let mut identifier = json!({ "value": value });
    if !kind.is_empty() {
        let system = "http://terminology.hl7.org/CodeSystem/v2-0203";
        identifier["type"] = json!({ "coding": [{ "system": system, "code": kind }] });
    }
    if let Some(system) = Authority::after(field, 2)?.uri() {
        identifier["system"] = system.into();
    }
    Ok(Some(identifier))
}

/// An identifier in a component (one of EIP's two).
pub(crate) fn identifier_within(component: Component<'_>) -> Result<Option<Value>, ReadError> {
    let value = component.subcomponent(1)?;
    if value.is_empty() {
        return Ok(None);
    }
    let mut identifier = json!({ "value": value });
    let authority = Authority {
        namespace: component.subcomponent(2)?,
        universal: component.subcomponent(3)?,
        kind: component.subcomponent(4)?,
    };
    if let Some(system) = authority.uri() {
        identifier["system"] = system.into();
    }
    Ok(Some(identifier))
}

/// Who examined something (XCN), as a reference by number and name; nothing when nobody is named.
pub(crate) fn person(field: Field<'_>) -> Result<Option<Value>, ReadError> {
    let (value, family) = (field.text()?, field.component(2).text()?);
    let given = field.component(3).text()?;
    let display = format!("{given} {family}").trim().to_owned();
    let mut reference = json!({ "type": "Practitioner" });
    if !value.is_empty() {
        let mut identifier = json!({ "value": value });
        if let Some(system) = Authority::within(field.component(9))?.uri() {
            identifier["system"] = system.into();
        }
        reference["identifier"] = identifier;
    }
    if !display.is_empty() {
        reference["display"] = display.clone().into();
    }
    Ok((!value.is_empty() || !display.is_empty()).then_some(reference))
}

fn is_oid(text: &str) -> bool {
    text.contains('.')
        && text
            .split('.')
            .all(|arc| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()))
        && text.starts_with(['0', '1', '2'])
}

fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    matches!(scheme, Some("http" | "https" | "urn"))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A text as a part of a URN.
fn encoded(text: &str) -> String {
    let mut written = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            written.push(char::from(byte));
        } else {
            written += &format!("%{byte:02X}");
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn with_field<T>(raw: &str, look: impl FnOnce(Field<'_>) -> T) -> T {
        let text = format!("MSH|^~\\&|A|B|C|D|1||ORU^R01|1|P|2.5.1\rOBX|{raw}");
        let message = Message::parse(text.as_bytes()).unwrap();
        let segment = message.segments().nth(1).unwrap();
        look(segment.field(1))
    }

    #[track_caller]
    fn check(raw: &str, expected: &Value) {
        let found = with_field(raw, |field| concept(field, "Lab 1").unwrap());
        assert_eq!(found.unwrap_or_default(), *expected, "{raw}");
    }

    #[test]
    fn codes_keep_their_systems() {
        check(
            "718-7^Hemoglobin^LN^HB^Haemoglobin^L^2.78^^Hb",
            &json!({
                "coding": [
                    { "code": "718-7", "system": "http://loinc.org", "version": "2.78", "display": "Hemoglobin" },
                    { "code": "HB", "system": "urn:salus:hl7v2:code-system:Lab%201:L", "display": "Haemoglobin" },
                ],
                "text": "Hb",
            }),
        );
        check(
            "X^Y^99LAB^^^^^^^^^^^1.2.840.1",
            &json!({ "coding": [{ "code": "X", "system": "urn:oid:1.2.840.1", "display": "Y" }], "text": "Y" }),
        );
        check("E", &json!({ "coding": [{ "code": "E" }] }));
        check("^in words", &json!({ "text": "in words" }));
        check("two  spaces", &json!({ "text": "two  spaces" }));
        check("^^", &Value::Null);
    }

    #[track_caller]
    fn numbered(raw: &str, system: Option<&str>, value: &str) {
        let found = with_field(raw, |field| number(field).unwrap());
        assert_eq!((found.0.as_deref(), &*found.1), (system, value), "{raw}");
    }

    #[test]
    fn numbers_have_the_system_of_their_authority() {
        numbered("17^^^WARD&1.2.3&ISO^MR", Some("urn:oid:1.2.3"), "17");
        numbered("17^^^&https://h.example/mrn&URI^MR", Some("https://h.example/mrn"), "17");
        numbered("17^^^urn:salus:account", Some("urn:salus:account"), "17");
        numbered("17^^^Ward 5^MR", Some("urn:salus:hl7v2:authority:Ward%205"), "17");
        numbered("17^^^^SS", Some("http://hl7.org/fhir/sid/us-ssn"), "17");
        numbered("17", None, "17");
    }

    #[test]
    fn people_are_numbers_and_names() {
        let found = with_field("9^Example^Ada^^^^^^LAB&1.2.3&ISO", |field| person(field).unwrap());
        let identifier = json!({ "value": "9", "system": "urn:oid:1.2.3" });
        assert_eq!(
            found.unwrap(),
            json!({ "type": "Practitioner", "identifier": identifier, "display": "Ada Example" })
        );
        assert_eq!(with_field("^^", |field| person(field).unwrap()), None);
    }
}
