//! Who may read what, as a table that people can read: role by record kind, for each state of consent
//! and each purpose. A change of any rule changes the table, and so has to be looked at.
//!
//! Run with `INSTA_UPDATE=always` to write the table anew.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::fmt::Write as _;

use domain::{
    Address, B256, Basis, Countersignature, Facts, Grant, InstitutionRole, Kind, KindSet, Opening,
    Period, ProfessionalRole, Purpose, PurposeSet, Reader, RecordId, Refusal, RelationshipState,
    Request, Terms, Timestamp, WorkflowGrant, decide,
};

const PATIENT: Address = Address::repeat_byte(1);
const STEWARD: Address = Address::repeat_byte(2);
const OTHER: Address = Address::repeat_byte(3);
const PERSON: Address = Address::repeat_byte(4);
const RECORD: RecordId = RecordId(B256::repeat_byte(5));
const NOW: Timestamp = Timestamp(1_000);

fn terms() -> Terms {
    Terms {
        period: Period::new(Timestamp(900), Timestamp(1_100)).unwrap(),
        kinds: KindSet::ALL,
        purposes: PurposeSet::ALL,
    }
}

fn granted(record: Option<RecordId>, terms: Terms) -> Facts {
    let grant = Grant { reader: OTHER, record, terms, version: 1 };
    Facts { grants: vec![grant], ..Facts::default() }
}

fn countersigned(version: u32) -> Facts {
    let signature = Countersignature { reader: OTHER, record: None, version };
    let relationship = Some(RelationshipState::Active);
    let countersignatures = vec![signature];
    Facts { countersigning: true, countersignatures, relationship, ..granted(None, terms()) }
}

fn opened(restricted_kinds: KindSet) -> Facts {
    let opening = Opening {
        id: B256::repeat_byte(9),
        professional: PERSON,
        institution: OTHER,
        kinds: KindSet::ALL,
        period: terms().period,
    };
    Facts { openings: vec![opening], restricted_kinds, ..Facts::default() }
}

/// A state of consent: its name, whether the readers work at the steward, and the facts.
fn states() -> Vec<(&'static str, bool, Facts)> {
    let over = Terms { period: Period::new(Timestamp(1), Timestamp(999)).unwrap(), ..terms() };
    let one_kind = Terms { kinds: KindSet::of(&[Kind::Allergy]), ..terms() };
    let care = |relationship| Facts {
        in_care_team: true,
        relationship: Some(relationship),
        ..Facts::default()
    };
    let workflow =
        WorkflowGrant { workflow: B256::repeat_byte(8), institution: OTHER, record: RECORD };
    vec![
        ("nothing", false, Facts::default()),
        ("consent to everything", false, granted(None, terms())),
        ("consent to allergies only", false, granted(None, one_kind)),
        ("consent to this record", false, granted(Some(RECORD), terms())),
        ("consent to another record", false, granted(Some(RecordId(B256::ZERO)), terms())),
        ("consent that has ended", false, granted(None, over)),
        (
            "dual consent, not countersigned",
            false,
            Facts { countersignatures: vec![], ..countersigned(1) },
        ),
        ("dual consent, countersigned", false, countersigned(1)),
        ("dual consent, another version countersigned", false, countersigned(2)),
        ("care team at the steward", true, care(RelationshipState::Active)),
        ("care team, relationship ended", true, care(RelationshipState::Ended)),
        (
            "steward's staff outside the care team",
            true,
            Facts { in_care_team: false, ..care(RelationshipState::Active) },
        ),
        (
            "workflow names this record",
            false,
            Facts { workflow_grants: vec![workflow], ..Facts::default() },
        ),
        ("glass broken", false, opened(KindSet::EMPTY)),
        ("glass broken, laboratory restricted", false, opened(KindSet::of(&[Kind::Laboratory]))),
        (
            "consent to everything, record erased",
            false,
            Facts { erased: true, ..granted(None, terms()) },
        ),
    ]
}

fn readers(institution: Address) -> Vec<(String, Reader)> {
    let patient = ("patient".into(), Reader::Patient { account: PATIENT });
    let stranger = ("another patient".into(), Reader::Patient { account: PERSON });
    let people = ProfessionalRole::ALL.iter().map(|&role| {
        (role.to_string(), Reader::Professional { member: PERSON, role, institution })
    });
    let institutions = InstitutionRole::ALL
        .iter()
        .map(|&role| (format!("({role})"), Reader::Institution { member: institution, role }));
    [patient, stranger].into_iter().chain(people).chain(institutions).collect()
}

/// One letter for what comes of a request.
const fn letter(outcome: Result<Basis, Refusal>) -> char {
    match outcome {
        Ok(Basis::OwnRecord) => 'O',
        Ok(Basis::CareTeam) => 'T',
        Ok(Basis::Consent { .. }) => 'C',
        Ok(Basis::Workflow { .. }) => 'W',
        Ok(Basis::Emergency { .. }) => 'E',
        Err(Refusal::BeyondRole) => ' ',
        Err(Refusal::NoConsent) => '.',
        Err(Refusal::NotCovered) => 'n',
        Err(Refusal::OutsidePeriod) => 'p',
        Err(Refusal::NotCountersigned) => 's',
        Err(Refusal::NoOpening) => 'g',
        Err(Refusal::RestrictedByPatient) => 'r',
        Err(Refusal::Erased) => 'x',
    }
}

const LEGEND: &str = "\
Allowed: O own record, T care team, C consent, W workflow, E emergency.
Refused: blank beyond the role, . no consent, n not covered, p outside the period,
         s not countersigned, g no opening, r restricted by the patient, x erased.
Purposes and roles for which every cell is blank are left out. In brackets: the
institution's own key.
";

#[test]
fn access_matrix() {
    let mut table = LEGEND.to_owned();
    for (name, at_steward, facts) in states() {
        let institution = if at_steward { STEWARD } else { OTHER };
        for &purpose in Purpose::ALL {
            let mut rows = String::new();
            for (reader_name, reader) in readers(institution) {
                let row: String = Kind::ALL
                    .iter()
                    .map(|&kind| {
                        let (patient, steward, record, time) = (PATIENT, STEWARD, RECORD, NOW);
                        let request =
                            Request { reader, patient, steward, record, kind, purpose, time };
                        letter(decide(&request, &facts).map(|permit| permit.basis()))
                    })
                    .flat_map(|cell| [cell, ' ', ' ', ' '])
                    .collect();
                if !row.trim().is_empty() {
                    writeln!(rows, "{reader_name:<24}{}", row.trim_end()).unwrap();
                }
            }
            if !rows.is_empty() {
                let kinds: String =
                    Kind::ALL.iter().map(|kind| &kind.name()[..3]).collect::<Vec<_>>().join(" ");
                writeln!(table, "\n{name} — for {purpose}\n{:<24}{kinds}\n{rows}", "").unwrap();
            }
        }
    }
    insta::assert_snapshot!(table);
}
