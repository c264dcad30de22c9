//! Claims on the command line, and the steps of them that go over the interface of the insurer's gateway.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Answer, Serving, bad, good, send};

/// A running consortium, and what somebody asks of its insurer's gateway.
struct Insurer {
    address: String,
    data: std::path::PathBuf,
    _serving: Serving,
    _dir: tempfile::TempDir,
}

impl Insurer {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let serving = Serving::up(&data);
        let address = serving.address("insurer");
        Self { address, data, _serving: serving, _dir: dir }
    }

    fn say(&self, arguments: &[&str]) -> String {
        good(&self.data, arguments)
    }

    fn refused(&self, arguments: &[&str], reason: &str) {
        let said = bad(&self.data, arguments);
        assert!(said.contains(reason), "{said}");
    }

    fn ask(&self, token: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        send(&self.address, "POST", &format!("/api/{path}"), &headers, body)
    }

    /// Takes a step, and signs whatever it waits for.
    fn step(&self, who: &str, wanted: &Value) -> Answer {
        let token = self.say(&["token", who, "--at", "insurer"]);
        let mut answer = self.ask(token.trim(), "steps", &wanted.to_string());
        while answer.status == 202 {
            let said = answer.json();
            assert_eq!(said["state"], "waiting", "{said}");
            let digest = said["sign"]["digest"].as_str().unwrap();
            let signed = self.say(&["sign", who, digest]);
            let path = format!("steps/{}", said["id"].as_str().unwrap());
            answer = self.ask(token.trim(), &path, &signed);
        }
        answer
    }

    #[track_caller]
    fn done(&self, who: &str, wanted: &Value) -> Value {
        let answer = self.step(who, wanted);
        assert_eq!(answer.status, 200, "{wanted} {answer:?}");
        answer.json()["result"].clone()
    }

    #[track_caller]
    fn not_done(&self, who: &str, wanted: &Value, status: u16, reason: &str) {
        let answer = self.step(who, wanted);
        assert_eq!(answer.status, status, "{wanted} {answer:?}");
        assert!(answer.body.contains(reason), "{answer:?}");
    }

    /// A fill that was dispensed.
    fn fill(&self) -> String {
        let issued = self.say(&["rx", "issue", "P002", "lisinopril 10 MG"]);
        let id = word_after(&issued, "prescription ");
        self.say(&["rx", "permit", "P002", &id]);
        self.say(&["rx", "claim", &id]);
        self.say(&["rx", "dispense", "P002", &id, "--batch", "B-1", "--expires", "2040-05-31"]);
        id
    }
}

fn word_after(printed: &str, label: &str) -> String {
    let (_, rest) = printed.split_once(label).unwrap_or_else(|| panic!("no {label}: {printed}"));
    rest.split_whitespace().next().unwrap().into()
}

#[test]
fn claims_go_over_the_command_line_and_the_interface() {
    let insurer = Insurer::start();
    for institution in ["pharmacy", "insurer"] {
        insurer.say(&["relate", "P002", institution]);
    }
    assert!(insurer.say(&["claim", "tariff"]).contains("own tariff"));
    insurer.say(&["claim", "pay-in", "insurer", "5000"]);
    insurer.say(&["claim", "give", "P002", "20"]);
    insurer.say(&["claim", "pay-in", "P002", "20"]);
    insurer.refused(&["claim", "offer", "P002", "--plan", "planted"], "no such plan");
    let offered = insurer.say(&["claim", "offer", "P002", "--limit", "500.50"]);
    let coverage = word_after(&offered, "coverage ");
    // The patient accepts where their key is.
    let accept = json!({ "step": "claim.accept-coverage", "id": coverage });
    insurer.not_done("P001", &accept, 403, "");
    insurer.not_done("adjudicator", &accept, 422, "the patient takes this step");
    insurer.done("P002", &accept);
    insurer.not_done("P002", &accept, 422, "WrongStanding");
    assert!(insurer.say(&["claim", "show", &coverage]).contains("0.00 of 500.50 used"));

    // The coverage runs from the second after that on.
    let accepted = std::time::Instant::now();
    while accepted.elapsed() < std::time::Duration::from_secs(2) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let service = insurer.fill();
    let items = ["--item", "RX-LISINOPRIL-10=30x0.20", "--item", "RX-DISPENSING-FEE=1x4.50"];
    let submit = [&["claim", "submit", &coverage, &service], &items[..]].concat();
    let id = word_after(&insurer.say(&submit), "claim ");
    insurer.refused(&submit, "AlreadyClaimed");
    let review = ["claim", "review", &id];
    insurer.refused(&review, "no consent in force");
    let adjudicate = json!({ "step": "claim.adjudicate", "id": id });
    insurer.not_done("adjudicator", &adjudicate, 422, "consent");
    let kinds = ["--kinds", "financial,medication", "--purposes", "payment"];
    insurer.say(&[&["consent", "grant", "P002", "insurer"], &kinds[..]].concat());
    let reviewed = insurer.say(&review);
    assert!(reviewed.contains("8.10 of 10.50 approved (excessive)"), "{reviewed}");
    insurer.not_done("physician", &adjudicate, 403, "");
    insurer.refused(&["claim", "decide", &id, "--as", "pharmacist"], "another insurer");
    assert!(insurer.say(&["claim", "decide", &id]).contains("at most 0.12 is paid for a unit"));

    let appeal = json!({ "step": "claim.appeal", "id": id, "reason": "planted words" });
    assert!(insurer.done("P002", &appeal)["salt"].is_string());
    insurer.refused(&["claim", "decide-appeal", &id, "--as", "adjudicator"], "SameAdjudicator");
    let grant = ["--grant", "9", "--reason", "planted words"];
    insurer.say(&[&["claim", "decide-appeal", &id], &grant[..]].concat());
    insurer.done("arbiter", &json!({ "step": "claim.pay", "id": id }));
    insurer.done("P002", &json!({ "step": "claim.pay-copayment", "id": id }));
    insurer.say(&["claim", "refund", &id, "--insurer", "1", "--patient", "0.10"]);
    let shown = insurer.say(&["claim", "show", &id]);
    assert!(shown.contains("claim final: 9.00 of 10.50"), "{shown}");
    assert!(shown.contains("insurer's share 8.10, paid 8.10"), "{shown}");
    assert!(shown.contains("co-payment paid 0.90, due 0.00"), "{shown}");
    let balance = insurer.say(&["claim", "balance"]);
    assert!(balance.contains("4992.90") && balance.contains("19.20"), "{balance}");
    let timeline = insurer.say(&["timeline", "P002"]);
    assert!(timeline.contains("co-payment of 0.90 paid"), "{timeline}");
    assert!(!timeline.contains("planted"), "{timeline}");

    let contest = json!({ "step": "claim.contest", "id": id, "reason": "planted words" });
    insurer.done("P002", &contest);
    assert!(insurer.say(&["claim", "show", &id]).contains("contested"));
    insurer.done("P002", &json!({ "step": "claim.end-coverage", "id": coverage }));
    assert!(insurer.say(&["reconcile"]).contains("nothing differs"));
}
