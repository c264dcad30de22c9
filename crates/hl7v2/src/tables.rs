//! Codes of HL7 v2, and what they are in FHIR.

/// The status of an observation, by `OBX-11`; `None` when the table has no such code.
///
/// # Source
///
/// v2-to-FHIR, table 0085 to ObservationStatus. Where it maps nothing: `B` (appended) is an amendment, `R`
/// and `S` are not verified yet, `U` and `V` are final, `I` and `O` are registered, and what was not asked
/// (`N`) or cannot be obtained (`X`) was cancelled.
pub(crate) fn observation_status(code: &str) -> Option<&'static str> {
    Some(match code {
        "A" | "B" => "amended",
        "C" => "corrected",
        "D" | "W" => "entered-in-error",
        "F" | "U" | "V" => "final",
        "I" | "O" => "registered",
        "N" | "X" => "cancelled",
        "P" | "R" | "S" => "preliminary",
        _ => return None,
    })
}

/// The status of a report, by `OBR-25`; `None` when the table has no such code, or it answers a query.
///
/// # Source
///
/// v2-to-FHIR, table 0123 to DiagnosticReportStatus.
pub(crate) fn report_status(code: &str) -> Option<&'static str> {
    Some(match code {
        "O" | "I" | "S" => "registered",
        "A" => "partial",
        "P" | "R" => "preliminary",
        "F" => "final",
        "C" => "corrected",
        "X" => "cancelled",
        _ => return None,
    })
}

/// The codes of table 0078 that stand in `v3-ObservationInterpretation` under the same name.
///
/// # Source
///
/// v2-to-FHIR, table 0078 to ObservationInterpretation.
const INTERPRETATIONS: &[&str] = &[
    "<", ">", "A", "AA", "AC", "B", "CAR", "D", "DET", "E", "EX", "EXP", "H", "H>", "HH", "HM",
    "HU", "HX", "I", "IE", "IND", "L", "L<", "LL", "LU", "LX", "MS", "N", "NCL", "ND", "NEG", "NR",
    "NS", "POS", "QCF", "R", "RR", "S", "SDD", "SYN-R", "SYN-S", "TOX", "U", "UNE", "VS", "W",
    "WR",
];

/// The system of an interpretation (`OBX-8`).
pub(crate) fn interpretation_system(code: &str) -> &'static str {
    if INTERPRETATIONS.contains(&code) {
        "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
    } else {
        "http://terminology.hl7.org/CodeSystem/v2-0078"
    }
}

/// Whether an interpretation says that somebody must know at once: the values for panic of table 0078.
pub(crate) fn is_critical(code: &str) -> bool {
    matches!(code, "HH" | "LL" | "AA")
}

/// The FHIR system of a coding system, by its name in HL7 v2; `None` for others.
///
/// # Source
///
/// HL7 table 0396, and [FHIR R4, terminologies](https://hl7.org/fhir/R4/terminologies-systems.html).
pub(crate) fn system(name: &str) -> Option<String> {
    if let Some(table) = name.strip_prefix("HL7")
        && table.len() == 4
        && table.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(format!("http://terminology.hl7.org/CodeSystem/v2-{table}"));
    }
    let url = match name {
        "LN" => "http://loinc.org",
        "SCT" | "SNOMED-CT" => "http://snomed.info/sct",
        "UCUM" => UCUM,
        "I10" => "http://hl7.org/fhir/sid/icd-10",
        "I10C" => "http://hl7.org/fhir/sid/icd-10-cm",
        "I9C" | "I9CDX" => "http://hl7.org/fhir/sid/icd-9-cm",
        "C4" | "CPT" => "http://www.ama-assn.org/go/cpt",
        "CVX" => "http://hl7.org/fhir/sid/cvx",
        "NDC" => "http://hl7.org/fhir/sid/ndc",
        "RXNORM" => "http://www.nlm.nih.gov/research/umls/rxnorm",
        "ATC" => "http://www.whocc.no/atc",
        _ => return None,
    };
    Some(url.into())
}

/// Units of measure.
pub(crate) const UCUM: &str = "http://unitsofmeasure.org";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_an_observation_has_one_in_fhir() {
        let all = "ABCDFINOPRSUVWX";
        assert!(all.chars().all(|code| observation_status(&code.to_string()).is_some()));
        assert_eq!(observation_status("Y"), None);
        assert_eq!(observation_status(""), None);
    }

    #[test]
    fn answers_to_queries_are_no_reports() {
        for (code, expected) in
            [("F", Some("final")), ("A", Some("partial")), ("Y", None), ("Z", None)]
        {
            assert_eq!(report_status(code), expected, "{code}");
        }
    }

    #[test]
    fn panic_is_critical_and_abnormal_is_not() {
        for (code, expected) in
            [("HH", true), ("LL", true), ("AA", true), ("H", false), ("A", false)]
        {
            assert_eq!(is_critical(code), expected, "{code}");
        }
    }

    #[test]
    fn tables_are_systems() {
        assert_eq!(system("HL70487").unwrap(), "http://terminology.hl7.org/CodeSystem/v2-0487");
        assert_eq!(system("HL7x"), None);
        assert_eq!(system("L"), None);
    }
}
