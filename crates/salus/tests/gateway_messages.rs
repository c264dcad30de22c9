//! HL7 v2 messages over HTTP, as a laboratory's own system sends them.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use support::{Answer, Serving, bad, good, send};

/// A consortium with an order whose specimen was taken, for a patient whom the laboratory registered.
struct Laboratory {
    serving: Serving,
    data: std::path::PathBuf,
    order: String,
    _dir: tempfile::TempDir,
}

impl Laboratory {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let mut command = support::salus(&data);
        command.args(["up", "--no-story", "--rpc", "127.0.0.1:0", "--fhir-port-base", "0"]);
        command.env("SALUS_LOG", "debug");
        let serving = Serving::start(command);
        good(&data, &["relate", "P001", "laboratory"]);
        good(&data, &["lab", "register", "P001", "urn:oid:1.2.3.4", "A-17"]);
        let ordered = good(&data, &["lab", "order", "P001", "potassium"]);
        let order = ordered.split_once("order ").unwrap().1.split_whitespace().next().unwrap();
        good(&data, &["lab", "collect", order]);
        Self { serving, order: order.into(), data, _dir: dir }
    }

    fn token(&self, who: &str, at: &str) -> String {
        good(&self.data, &["token", who, "--at", at]).trim().to_owned()
    }

    fn post(&self, token: &str, media_type: &str, message: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("content-type", media_type)];
        send(&self.serving.address("laboratory"), "POST", "/hl7v2", &headers, message)
    }

    fn message(&self, control: &str, number: &str, value: &str) -> String {
        let order = &self.order;
        format!(
            "MSH|^~\\&|LIS|LAB|SALUS|LAB|20261123090000+0100||ORU^R01|{control}|P|2.4\r\
             PID|1||{number}^^^&1.2.3.4&ISO||Planted^Name\r\
             OBR|1|{order}|F-1|2823-3^Potassium^LN|||202611230815||||||||||||||||||F\r\
             OBX|1|NM|2823-3^Potassium^LN||{value}|mmol/L^^UCUM|3.5-5.0|LL|||F\r"
        )
    }
}

const ER7: &str = "application/hl7-v2";

#[test]
fn a_laboratorys_own_system_sends_results() {
    let laboratory = Laboratory::start();
    let own = laboratory.token("laboratory", "laboratory");
    let message = laboratory.message("1", "A-17", "1.90");

    // Only for those whose results these are, as messages and nothing else.
    assert_eq!(laboratory.post("planted", ER7, &message).status, 401);
    for stranger in ["physician", "P001", "hospital"] {
        let token = laboratory.token(stranger, "laboratory");
        assert_eq!(laboratory.post(&token, ER7, &message).status, 403, "{stranger}");
    }
    assert_eq!(laboratory.post(&own, "text/plain", &message).status, 415);
    assert_eq!(laboratory.post(&own, ER7, "planted").status, 400);
    assert_eq!(laboratory.post(&own, ER7, &message.repeat(2)).status, 400);
    let long = format!("{message}NTE|1||{}", "x".repeat(hl7v2::MESSAGE_BYTES_MAX));
    assert_eq!(laboratory.post(&own, ER7, &long).status, 413);
    let hospital = laboratory.serving.address("hospital");
    assert_eq!(send(&hospital, "POST", "/hl7v2", &[("content-type", ER7)], &message).status, 404);

    // What is wrong with a message is told as its acknowledgement.
    let refused = laboratory.post(&own, ER7, &laboratory.message("1", "A-18", "1.90"));
    assert_eq!(refused.status, 200, "{refused:?}");
    assert!(refused.body.contains("\rMSA|AE|1|PID[1]-3 does not name the patient"), "{refused:?}");
    let refused = laboratory.post(&own, ER7, &laboratory.message("1", "A-17", "planted"));
    assert!(refused.body.contains("OBX[1]-5 is no number"), "{refused:?}");

    let taken = laboratory.post(&own, "x-application/hl7-v2+er7; charset=utf-8", &message);
    assert_eq!(taken.status, 200, "{taken:?}");
    assert!(taken.head.contains("content-type: x-application/hl7-v2+er7"), "{taken:?}");
    assert!(taken.body.starts_with("MSH|^~\\&|SALUS|LAB|LIS|LAB|"), "{taken:?}");
    assert!(taken.body.ends_with("\rMSA|AA|1\r"), "{taken:?}");
    // Once, also in a frame; and the scientist may send, who reports it.
    let again = laboratory.post(&own, ER7, &format!("\u{b}{message}\u{1c}\r"));
    assert!(again.body.ends_with("\rMSA|AA|1\r"), "{again:?}");
    let scientist = laboratory.token("scientist", "laboratory");
    let late = laboratory.post(&scientist, ER7, &laboratory.message("2", "A-17", "4.10"));
    assert!(late.body.contains("\rMSA|AE|2|OBR[1]-25 does not follow"), "{late:?}");

    let shown = good(&laboratory.data, &["lab", "show", &laboratory.order]);
    assert!(shown.contains(": resulted") && shown.contains("P001"), "{shown}");
    assert!(shown.contains("final, critical, by scientist"), "{shown}");
    let bearer = format!("Bearer {own}");
    let headers = [("authorization", &*bearer)];
    let acts = send(&laboratory.serving.address("laboratory"), "GET", "/api/acts", &headers, "");
    let acts = acts.json()["acts"].as_array().unwrap().clone();
    let of_messages = acts.iter().filter(|act| act["act"] == "hl7v2");
    let outcomes: Vec<_> = of_messages.map(|act| act["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["refused", "taken", "taken", "refused", "refused"]);
    assert!(bad(&laboratory.data, &["lab", "import-hl7", "nowhere.hl7"]).contains("nowhere.hl7"));
    let log = laboratory.serving.stop();
    assert!(log.contains("/hl7v2") && !log.to_lowercase().contains("planted"), "{log}");
}
