//! A clinical trial, over the interface and from the command line.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, path::Path};

use alloy_primitives::{B256, keccak256};
use serde_json::{Value, json};
use support::{Answer, Serving, good, run, send, text};

/// Begins a step at an institution, and signs whatever it waits for as `who`, until it is over.
fn step(serving: &Serving, data: &Path, (who, at): (&str, &str), wanted: &Value) -> Answer {
    let token = good(data, &["token", who, "--at", at]);
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let address = serving.address(at);
    let ask =
        |path: &str, body: &str| send(&address, "POST", &format!("/api/{path}"), &headers, body);
    let mut answer = ask("steps", &wanted.to_string());
    while answer.status == 202 {
        let said = answer.json();
        assert_eq!(said["state"], "waiting", "{said}");
        let signed = good(data, &["sign", who, said["sign"]["digest"].as_str().unwrap()]);
        answer = ask(&format!("steps/{}", said["id"].as_str().unwrap()), &signed);
    }
    answer
}

#[track_caller]
fn done(serving: &Serving, data: &Path, who: (&str, &str), wanted: &Value) -> Value {
    let answer = step(serving, data, who, wanted);
    assert_eq!(answer.status, 200, "{wanted} {answer:?}");
    answer.json()["result"].clone()
}

fn address_of(data: &Path, name: &str) -> String {
    let listed = good(data, &["who"]);
    let line = listed.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn a_trial_goes_over_the_interface_and_is_checked_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let serving = Serving::up(&data);
    let (sponsor, site) = (("researcher", "institute"), ("physician", "hospital"));
    let (auditor, patient) = (("auditor", "regulator"), ("P001", "hospital"));
    let take = |who, wanted: &Value| done(&serving, &data, who, wanted);
    let refused = |who, wanted: &Value, status| {
        let answer = step(&serving, &data, who, wanted);
        assert_eq!(answer.status, status, "{answer:?}");
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    let protocol: Value = serde_json::from_str(&good(&data, &["trial", "example"])).unwrap();
    let register = json!({ "step": "trial.register", "protocol": protocol });
    assert!(refused(("physician", "hospital"), &register, 422).contains("NotAllowed"));
    assert!(refused(patient, &register, 403).contains("about themselves"));
    let registered = take(sponsor, &register);
    let (id, document) = (registered["trial"].as_str().unwrap(), &registered["document"]);
    let approve = json!({ "step": "trial.approve", "document": document });
    take(auditor, &approve);
    let invite = json!({ "step": "trial.invite", "id": id, "site": address_of(&data, "hospital") });
    take(sponsor, &invite);
    good(&data, &["trial", "join", id]);

    // The patient's nonce stays with the patient.
    let nonce = B256::repeat_byte(7);
    let subject = address_of(&data, "P001");
    let consent = json!({
        "step": "trial.consent", "patient": subject, "id": id, "version": 1,
        "site": address_of(&data, "hospital"), "commitment": keccak256(nonce),
    });
    refused(("P002", "hospital"), &consent, 403);
    take(patient, &consent);
    let screen = json!({
        "step": "trial.screen", "patient": subject, "document": document,
        "answers": { "adult": true, "pregnant": false },
    });
    assert!(refused(("nurse", "hospital"), &screen, 422).contains("NotAllowed"));
    assert_eq!(take(site, &screen)["eligible"], true);
    take(patient, &json!({ "step": "trial.open", "patient": subject, "id": id, "nonce": nonce }));
    good(&data, &["trial", "allocate", "P001", id]);
    let visit = json!({
        "step": "trial.visit", "patient": subject, "id": id, "items": [
            { "key": "systolic", "question": "blood pressure", "value": 131.5, "unit": "mmHg" },
            { "key": "remarks", "question": "anything else", "text": "planted words" },
        ],
    });
    let entered = take(("nurse", "hospital"), &visit);
    assert_eq!(entered["steps"][1]["operation"], "trial.enter-first");

    // The rest from the command line, with the document as a file.
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (kept, results) = (file("document.json"), file("results.json"));
    fs::write(&kept, document.to_string()).unwrap();
    let code = |arguments: &[&str]| {
        let output = run(&data, arguments);
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(code(&["trial", "check", &kept]).0, Some(0));
    // A nonce that follows from the patient's key is written down nowhere.
    good(&data, &["trial", "consent", "P002", &kept]);
    let answers = ["--answer", "adult=yes", "--answer", "pregnant=no"];
    good(&data, &[&["trial", "screen", "P002", &kept], &answers[..]].concat());
    good(&data, &["trial", "open", "P002", id]);
    // No seed is taken to an endpoint before the lock, or for anybody on staff: the contract is not asked.
    let reveal = json!({ "step": "trial.reveal", "id": id });
    assert!(refused(sponsor, &reveal, 422).contains("once the data is locked"));
    good(&data, &["trial", "lock", id]);
    assert!(refused(("nurse", "hospital"), &reveal, 422).contains("reveal seeds"));
    let unblinding = ["trial", "unblind", "P001", id, "--reason", "planted words"];
    assert!(good(&data, &unblinding).contains("the dispenser tells physician: arm "));
    good(&data, &["trial", "reveal", id, "--as", "researcher"]);
    good(&data, &["trial", "reveal", id, "--as", "auditor"]);
    let publish =
        ["trial", "publish", &kept, "--outcome", "lower", "--outcome", "none", "--out", &results];
    let mut onto = publish;
    onto[8] = &kept;
    assert_ne!(code(&onto).0, Some(0), "the document with its salts is not written over");
    assert_eq!(fs::read_to_string(&kept).unwrap(), document.to_string());
    good(&data, &publish);
    // Whoever loses the results has them again.
    let first = fs::read_to_string(&results).unwrap();
    fs::remove_file(&results).unwrap();
    assert!(good(&data, &publish).contains("published before"));
    assert_eq!(fs::read_to_string(&results).unwrap(), first);
    assert_eq!(code(&["trial", "check", &kept, "--results", &results]).0, Some(0));

    // An endpoint that was changed after the lock is found.
    let mut moved: Value = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    moved["study"]["objective"][0]["name"] = json!("quality of life");
    let other = file("other.json");
    fs::write(&other, moved.to_string()).unwrap();
    let (status, said) = code(&["trial", "check", &other, "--results", &results]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the endpoints are not those that were registered"), "{said}");
    let better = fs::read_to_string(&results).unwrap().replace("lower", "much lower");
    fs::write(&other, better).unwrap();
    let (status, said) = code(&["trial", "check", &kept, "--results", &other]);
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(said, "DIFFERS: the results are not those that were published\n");

    let shown = good(&data, &["trial", "show", id]);
    assert!(shown.starts_with("published: 2 arms, version 1"), "{shown}");
    assert!(shown.contains("P001 enrolled at hospital") && shown.contains("unblinded"), "{shown}");
    let timeline = good(&data, &["timeline", id]);
    for said in ["trial registered", "enrolled P001 in a trial", "results of the trial published"] {
        assert!(timeline.contains(said), "{timeline}");
    }
    assert!(!timeline.contains("planted"), "{timeline}");
    assert!(!timeline.contains("NO"), "every step is borne out by its block: {timeline}");
    serving.stop();
}
