//! A study as people type it, and as they sign it over the interface.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, path::Path};

use serde_json::{Value, json};
use support::{Answer, Serving, bad, good, run, send};

/// The word after `label` in what was printed.
fn word_after(printed: &str, label: &str) -> String {
    let (_, rest) = printed.split_once(label).unwrap_or_else(|| panic!("no {label}: {printed}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

fn who(data: &Path, name: &str) -> String {
    let listed = good(data, &["who"]);
    let line = listed.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn a_study_is_typed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _serving = Serving::up(&data);
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (terms, protocol, question) = (place("terms"), place("protocol"), place("question"));
    let good = |words: &[&str]| good(&data, &[&["research"], words].concat());
    let bad = |words: &[&str]| bad(&data, &[&["research"], words].concat());

    let offered = good(&[
        "offer",
        "Diagnoses",
        "--about",
        "codes and years",
        "--term",
        "told to nobody",
        "--price",
        "1000",
        "--dataset",
        &place("dataset"),
        "--out",
        &terms,
    ]);
    let offer = word_after(&offered, "offer ");
    let proposed = good(&[
        "propose",
        "Conditions",
        "--purpose",
        "planted words",
        "--kinds",
        "condition",
        "--out",
        &protocol,
    ]);
    let study = word_after(&proposed, "study ");
    assert!(fs::read_to_string(&protocol).unwrap().contains("ResearchStudy"));
    assert!(bad(&["consent", "P001", &study, &protocol]).contains("WrongStanding"));
    for by in ["keeper", "auditor"] {
        good(&["approve", &study, &protocol, "--opinion", "sound", "--as", by]);
    }
    assert!(good(&["show", &study]).starts_with("Approved study of the institute"));
    for patient in ["P001", "P002", "P003"] {
        good(&["consent", patient, &study, &protocol]);
    }
    let asked = place("asked");
    let counted = good(&["count", &study, &protocol, "--out", &asked]);
    assert!(counted.starts_with("fewer than 5"));
    assert!(fs::read_to_string(&asked).unwrap().contains("Group"));
    let again = bad(&["count", &study, &protocol, "--again", &asked]);
    assert!(again.contains("AlreadyAnswered"), "{again}");
    let code = ["--code", "!http://snomed.info/sct|1", "--out", &asked];
    let few = good(&[&["count", &study, &protocol], code.as_slice()].concat());
    assert!(few.starts_with("fewer than 5"), "{few}");
    assert!(good(&["money", "5000"]).contains("pays 5000 in"));
    let ordered = good(&["order", &study, &offer, &terms, "--out", &question]);
    let order = word_after(&ordered, "order ");
    let delivered = bad(&["deliver", &order, &protocol, &question, "--out", &place("extract")]);
    assert!(delivered.contains("fewer than 5"), "{delivered}");
    assert!(good(&["show", &order]).starts_with("Placed order of the institute for 1000"));
    // Nothing that was not delivered is the extract, and the exit code says so.
    let verified = run(&data, &["research", "verify", &order, &terms]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(bad(&["use", &order, "--purpose", "analysis"]).contains("--withdrawals"));
    let unused = bad(&["use", &order, "--purpose", "analysis", "--withdrawals", "0"]);
    assert!(unused.contains("WrongState"), "{unused}");
    assert!(bad(&["claim", "P001", &order]).contains("not known"));
    assert!(bad(&["fetch", &order, "--out", &place("extract")]).contains("not known"));
    assert!(bad(&["tell", &order]).contains("not known"));
    good(&["withdraw", "P002", &study]);
    assert!(good(&["show", &study]).contains("withdrawals: 1"));
    assert!(good(&["withdraw", "P002", &study]).contains("withdrew already"));
    assert!(good(&["show", &study]).contains("withdrawals: 1"));
    assert!(bad(&["money", "0"]).contains("an amount is from 1"));
    good(&["close-offer", &offer]);
    assert!(good(&["show", &offer]).starts_with("closed offer of hospital"));
    good(&["end", &study, "--reason", "enough"]);
    let timeline = support::good(&data, &["timeline", &study]);
    assert!(timeline.contains("study ended") && !timeline.contains("planted"), "{timeline}");
}

/// The whole of it, as the guide has it for whoever has no patients but the demonstration's three.
#[test]
fn volunteers_make_a_study_that_is_told_something() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _serving = Serving::up(&data);
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (terms, protocol, question) = (place("terms"), place("protocol"), place("question"));
    let good = |words: &str, more: &[&str]| {
        let words: Vec<&str> = words.split(' ').chain(more.iter().copied()).collect();
        support::good(&data, &[&["research"], &words[..]].concat())
    };
    let came = good("volunteers", &[]);
    assert!(came.contains("P004") && came.contains("P014") && !came.contains("P015"), "{came}");
    let again = good("volunteers", &[]);
    assert!(again.contains("P014") && !again.contains("transaction"), "{again}");

    let offered = good(
        "offer Diagnoses --about codes --term deleted --price 1100 --dataset",
        &[&place("dataset"), "--out", &terms],
    );
    let offer = word_after(&offered, "offer ");
    let proposed =
        good("propose Conditions --purpose analysis --kinds condition --out", &[&protocol]);
    let study = word_after(&proposed, "study ");
    for by in ["keeper", "auditor"] {
        good("approve", &[&study, &protocol, "--opinion", "sound", "--as", by]);
    }
    for number in 4..=14 {
        good("consent", &[&format!("P{number:03}"), &study, &protocol]);
    }
    let count = |codes: &[&str]| {
        let asked = place("asked");
        let codes = codes.iter().flat_map(|code| ["--code", *code]);
        let more: Vec<&str> =
            [&*study, &*protocol, "--out", &*asked].into_iter().chain(codes).collect();
        good("count", &more)
    };
    assert!(count(&[]).starts_with("at least 10"));
    assert!(count(&["http://snomed.info/sct|38341003"]).starts_with("at least 5"));
    good("money 5000", &[]);
    let ordered = good("order", &[&study, &offer, &terms, "--out", &question]);
    let order = word_after(&ordered, "order ");
    let (sealed, extract) = (place("sealed"), place("extract"));
    let delivered = good("deliver", &[&order, &protocol, &question, "--out", &sealed]);
    assert!(delivered.contains("an extract of 11 patients"), "{delivered}");
    assert!(good("verify", &[&order, &sealed]).contains("the one that was delivered"));
    good("open", &[&order, &sealed, "--out", &extract]);
    let extract: Value = serde_json::from_slice(&fs::read(extract).unwrap()).unwrap();
    assert_eq!(extract["entry"].as_array().unwrap().len(), 11, "the one with diabetes is not told");
    good("settle", &[&order]);
    assert!(good("claim P004", &[&order]).contains("takes a share of the price: 50"));
}

/// Takes a step over an institution's interface, signing what it asks for.
fn step(serving: &Serving, data: &Path, (at, who): (&str, &str), wanted: &Value) -> Answer {
    let address = serving.address(at);
    let token = good(data, &["token", who, "--at", at]);
    let bearer = format!("Bearer {}", token.trim());
    let ask = |path: &str, body: &str| {
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        send(&address, "POST", &format!("/api/{path}"), &headers, body)
    };
    let mut answer = ask("steps", &wanted.to_string());
    while answer.status == 202 {
        let said = answer.json();
        let digest = said["sign"]["digest"].as_str().unwrap();
        let signed = good(data, &["sign", who, digest]);
        answer = ask(&format!("steps/{}", said["id"].as_str().unwrap()), &signed);
    }
    answer
}

#[test]
fn a_study_is_signed_over_the_interface() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let serving = Serving::up(&data);
    let take = |by, wanted: &Value| step(&serving, &data, by, wanted);
    let researcher = ("institute", "researcher");
    let propose = json!({
        "step": "research.propose", "title": "Conditions", "purpose": "planted words",
        "kinds": ["condition"], "until": 4_000_000_000_u64,
    });
    assert_eq!(take(researcher, &propose).status, 422, "a study is not for ever");
    let until = good(&data, &["timeline", "P001"]);
    assert!(!until.is_empty());
    let mut propose = propose;
    propose["until"] = json!(1_900_000_000_u64);
    let proposed = take(researcher, &propose);
    assert_eq!(proposed.status, 200, "{proposed:?}");
    let result = proposed.json()["result"].clone();
    let (study, protocol) = (&result["study"], &result["protocol"]);
    let approve = json!({
        "step": "research.approve", "id": study, "protocol": protocol, "opinion": "sound",
    });
    assert_eq!(take(researcher, &approve).status, 422);
    for by in [("hospital", "keeper"), ("regulator", "auditor")] {
        let approved = take(by, &approve);
        assert_eq!(approved.status, 200, "{approved:?}");
        assert!(approved.json()["result"]["salt"].is_string());
    }
    let patient = who(&data, "P001");
    let consent = json!({
        "step": "research.consent", "patient": patient, "id": study, "protocol": protocol,
    });
    assert_eq!(take(("hospital", "P002"), &consent).status, 403);
    let mut other = consent.clone();
    other["protocol"] = json!(protocol.as_str().unwrap().replace("planted", "other"));
    assert_eq!(take(("hospital", "P001"), &other).status, 422);
    let consented = take(("hospital", "P001"), &consent);
    assert_eq!(consented.status, 200, "{consented:?}");
    let withdraw = json!({ "step": "research.withdraw", "patient": patient, "id": study });
    assert_eq!(take(("hospital", "P001"), &withdraw).status, 200);
    let study = study.as_str().unwrap();
    assert!(good(&data, &["research", "show", study]).contains("withdrawals: 1"));
}
