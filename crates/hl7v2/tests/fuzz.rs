//! Whatever comes: no panic, no end without an answer, nothing of it in an error, and only valid FHIR.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use hl7v2::{
    Answer, Header, LabReport, Message, Offset, ReadError, References, acknowledge, messages,
};
use proptest::prelude::*;

const CHEMISTRY: &str = include_str!("messages/chemistry.hl7");
const CULTURE: &str = include_str!("messages/culture.hl7");
const PANELS: &str = include_str!("messages/panels.hl7");

/// All that is done with a message; what became of it.
fn take(bytes: &[u8], offset: &Offset) -> Result<String, ReadError> {
    let mut last = None;
    for one in messages(bytes)? {
        let message = Message::parse(one)?;
        let report = LabReport::of(&message)?;
        report.order()?;
        report.patient_numbers()?;
        report.is_critical()?;
        last = Some(report.to_fhir(&References {
            subject: "Patient/example",
            order: "ServiceRequest/example",
            performers: &["Organization/example"],
            offset: Some(offset),
        })?);
    }
    Ok(last.expect("there is a message where there is no error"))
}

fn check(bytes: &[u8]) {
    match take(bytes, &"+01:00".parse().unwrap()) {
        Ok(text) => {
            let value = serde_json::from_str(&text).unwrap();
            let issues = r4::validate(&value);
            assert!(issues.is_empty(), "{issues:?}");
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.to_lowercase().contains("planted"), "{said}");
            let header = Header { version: "2.5.1".into(), ..Header::default() };
            let answer = acknowledge(&header, Answer::Refused(&error), "1", "20261123");
            assert!(Message::parse(answer.as_bytes()).is_ok(), "{answer}");
        }
    }
}

/// Pieces that mean something to HL7, and some that mean nothing.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "|",
            "^",
            "~",
            "&",
            "\\",
            "\r",
            "\n",
            "\"\"",
            "\\X41\\",
            "\\.br\\",
            "\\Z",
            "OBX|",
            "OBR|",
            "PID|",
            "MSH|^~\\&|",
            "SPM|",
            "NTE|",
            "|F",
            "|P",
            "NM",
            "SN",
            "ED",
            "^1^-^0",
            "5.1",
            "20261123",
            "+0100",
            "\u{b}",
            "\u{1c}",
            "BTS|9",
            "#x",
            "0",
            "-",
            "  ",
            "LN",
            "UCUM",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
        Just("planted".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(piece(), 0..60)) {
        check(pieces.concat().as_bytes());
        check(format!("MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5.1\r{}", pieces.concat()).as_bytes());
    }

    #[test]
    fn good_messages_with_something_else_in_them(
        which in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize, piece()), 1..4),
    ) {
        let mut text: Vec<char> = [CHEMISTRY, CULTURE, PANELS][which].chars().collect();
        for (at, length, piece) in changes {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, piece.chars());
        }
        check(text.into_iter().collect::<String>().as_bytes());
    }
}

#[test]
fn the_messages_themselves_are_good() {
    for text in [CHEMISTRY, CULTURE, PANELS] {
        assert!(take(text.as_bytes(), &"+00:00".parse().unwrap()).is_ok());
    }
}
