//! Whole messages and what becomes of them: FHIR as committed, valid by R4, and refusals that tell nothing.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use hl7v2::{Code, LabReport, Message, Number, ReadError, References, Stage, messages};
use serde_json::Value;

const PERFORMERS: &[&str] = &["Practitioner/example", "Organization/example"];

const REFERENCES: References<'_> = References {
    subject: "Patient/example",
    order: "ServiceRequest/example",
    performers: PERFORMERS,
    offset: None,
};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/messages").join(name)
}

fn message(name: &str) -> Message {
    let bytes = std::fs::read(path(name)).unwrap();
    let found = messages(&bytes).unwrap();
    assert_eq!(found.len(), 1, "{name}");
    Message::parse(found[0]).unwrap()
}

/// The resource is what is committed, and valid. With `SALUS_WRITE_FHIR` it is committed anew.
#[track_caller]
fn check(name: &str) -> (String, Value) {
    let message = message(&format!("{name}.hl7"));
    let report = LabReport::of(&message).unwrap();
    let text = report.to_fhir(&REFERENCES).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let issues = r4::validate(&value);
    assert!(issues.is_empty(), "{name}: {issues:?}");
    let expected = path(&format!("{name}.json"));
    if std::env::var_os("SALUS_WRITE_FHIR").is_some() {
        let pretty = serde_json::to_string_pretty(&value).unwrap() + "\n";
        std::fs::write(&expected, pretty).unwrap();
    }
    let expected: Value = serde_json::from_slice(&std::fs::read(expected).unwrap()).unwrap();
    assert_eq!(value, expected, "{name}");
    (text, value)
}

#[test]
fn chemistry_of_version_2_5_1() {
    let (text, value) = check("chemistry");
    // Digits are kept as they came.
    assert!(text.contains(r#""value":5.10"#), "{text}");
    assert_eq!(value["contained"].as_array().unwrap().len(), 7);
    let message = message("chemistry.hl7");
    let report = LabReport::of(&message).unwrap();
    assert_eq!(report.stage(), Ok(Stage::Final));
    assert_eq!(report.is_critical(), Ok(true));
    assert_eq!(report.order().unwrap(), format!("0x{}", "ab".repeat(32)));
    let number = |system: &str, value: &str| Number { system: system.into(), value: value.into() };
    assert_eq!(
        report.patient_numbers().unwrap(),
        [number("urn:oid:1.2.3.4", "A-17"), number("https://hospital.example/mrn", "17")]
    );
}

#[test]
fn microbiology_of_version_2_3() {
    let (_, value) = check("culture");
    assert_eq!(value["status"], "preliminary");
    let message = message("culture.hl7");
    let report = LabReport::of(&message).unwrap();
    assert_eq!((report.stage(), report.is_critical()), (Ok(Stage::Preliminary), Ok(false)));
}

#[test]
fn several_examinations_of_version_2_8_are_panels() {
    let (_, value) = check("panels");
    assert_eq!(value["status"], "corrected");
    assert_eq!(value["result"].as_array().unwrap().len(), 2);
    let message = message("panels.hl7");
    assert_eq!(LabReport::of(&message).unwrap().stage(), Ok(Stage::Corrected));
}

/// A message whose result is `rest`.
fn refused(rest: &str) -> ReadError {
    let head = "MSH|^~\\&|LIS|LAB|SALUS|LAB|20261123||ORU^R01|1|P|2.5.1\rPID|1||17^^^&1.2.3&ISO\r";
    let message = Message::parse(format!("{head}{rest}").as_bytes()).unwrap();
    let outcome = LabReport::of(&message).and_then(|report| {
        report.order()?;
        report.patient_numbers()?;
        report.stage()?;
        report.is_critical()?;
        report.to_fhir(&REFERENCES)
    });
    outcome.unwrap_err()
}

#[track_caller]
fn check_refused(rest: &str, expected: &str, code: Code) {
    let error = refused(rest);
    assert_eq!((error.to_string().as_str(), error.code), (expected, code));
}

const REQUEST: &str = "OBR|1|7||HB|||20261123||||||||||||||||||F\r";

#[test]
fn what_is_not_understood_is_refused_by_its_place() {
    let with = |rest: &str| format!("{REQUEST}{rest}");
    check_refused(&with("OBX|1|NM|HB||planted||||||F"), "OBX[1]-5 is no number", Code::Type);
    check_refused(&with("OBX|1|NM|||5||||||F"), "OBX[1]-3 is empty", Code::Missing);
    check_refused(&with("OBX|1|NM|HB||5"), "OBX[1]-11 is empty", Code::Missing);
    check_refused(
        &with("OBX|1|NM|HB||5||||||Q"),
        "OBX[1]-11 is no status of table 0085",
        Code::Table,
    );
    check_refused(
        &with("OBX|1|NM|HB||5||||||F|||202611231705"),
        "OBX[1]-14.1 has a time without an offset from UTC, and MSH-7 has none either",
        Code::Type,
    );
    check_refused("OBR|1|||HB|||||||||||||||||||||F", "OBR[1]-2 is empty", Code::Missing);
    check_refused("OBR|1|7||HB", "OBR[1]-25 is empty", Code::Missing);
    let status = |status: &str| format!("OBR|1|7||HB|||||||||||||||||||||{status}");
    check_refused(&status("Y"), "OBR[1]-25 is no status of a result in table 0123", Code::Table);
    check_refused(&status("I"), "OBR[1]-25 says that there is no result yet", Code::Table);
    check_refused(
        &status("X"),
        "OBR[1]-25 says that it was cancelled, which is for who ordered it",
        Code::Table,
    );
    check_refused(
        &with("OBR|2|8||HB|||||||||||||||||||||F"),
        "OBR[2]-2 names another order than what stands before",
        Code::UnknownKey,
    );
    check_refused(
        &format!("ORC|RE|8\r{REQUEST}"),
        "OBR[1]-2 names another order than what stands before",
        Code::UnknownKey,
    );
}

#[test]
fn a_patient_without_number_is_nobody() {
    let text = "MSH|^~\\&|L|L|S|L|20261123||ORU^R01|1|P|2.5.1\rPID|1||17\rOBR|1|7||HB|||||||||||||||||||||F";
    let message = Message::parse(text.as_bytes()).unwrap();
    let error = LabReport::of(&message).unwrap().patient_numbers().unwrap_err();
    assert_eq!(error.to_string(), "PID[1]-3 has no number with its authority");
}

#[test]
fn what_was_withdrawn_is_not_critical() {
    let of = |status: &str| {
        let text = format!(
            "MSH|^~\\&|L|L|S|L|20261123||ORU^R01|1|P|2.5.1\rPID|1||17^^^&1.2.3&ISO\r{REQUEST}\
             OBX|1|NM|HB||5|||HH|||{status}"
        );
        let message = Message::parse(text.as_bytes()).unwrap();
        LabReport::of(&message).unwrap().is_critical()
    };
    assert_eq!((of("F"), of("W"), of("X")), (Ok(true), Ok(false), Ok(false)));
}
