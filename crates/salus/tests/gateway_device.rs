//! A device at a patient, as staff and patient meet it over the interface, and from the command line.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Answer, Serving, bad, good, run, send, text};

/// A consortium of its own, with tokens for its hospital.
struct Hospital {
    serving: Serving,
    address: String,
    dir: tempfile::TempDir,
}

impl Hospital {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let serving = Serving::up(&dir.path().join("data"));
        let address = serving.address("hospital");
        Self { serving, address, dir }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn good(&self, arguments: &[&str]) -> String {
        good(&self.data(), arguments)
    }

    fn ask(&self, who: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.good(&["token", who]).trim());
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        send(&self.address, method, &format!("/api/{path}"), &headers, body)
    }

    /// The address of somebody, as `salus who` lists it.
    fn who(&self, name: &str) -> String {
        let listed = self.good(&["who"]);
        let line = listed.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap().split_whitespace().last().unwrap().to_owned()
    }

    /// Begins a step, and signs whatever it waits for as `who`, until it is over.
    fn step(&self, who: &str, wanted: &Value) -> Answer {
        let mut answer = self.ask(who, "POST", "steps", &wanted.to_string());
        while answer.status == 202 {
            let said = answer.json();
            assert_eq!(said["state"], "waiting", "{said}");
            let signed = self.good(&["sign", who, said["sign"]["digest"].as_str().unwrap()]);
            let path = format!("steps/{}", said["id"].as_str().unwrap());
            answer = self.ask(who, "POST", &path, &signed);
        }
        answer
    }

    fn done(&self, who: &str, wanted: &Value) -> Value {
        let answer = self.step(who, wanted);
        assert_eq!(answer.status, 200, "{wanted} {answer:?}");
        answer.json()["result"].clone()
    }
}

#[test]
fn a_device_is_ordered_accepted_and_read_over_the_interface() {
    let hospital = Hospital::start();
    let data = hospital.data();
    let enrol = ["device", "enrol", "patch-1", "--serial", "SN-1"];
    let refused = bad(&data, &enrol);
    assert!(refused.contains("FirmwareRefused"), "{refused}");
    // What is tried is noted before it is tried: nothing that comes of it is unknown here.
    let noted = || std::fs::read_to_string(data.join("devices.json")).unwrap();
    assert!(noted().contains("patch-1"));
    hospital.good(&["device", "firmware", "accept", "1.0"]);
    let enrolled = hospital.good(&enrol);
    let device = enrolled.split_whitespace().nth(1).unwrap();
    assert!(bad(&data, &enrol).contains("already"));

    let (patient, soon) = (hospital.who("P001"), u64::from(u32::MAX));
    let order = |metric: &str, until: u64| {
        json!({
            "step": "device.order", "patient": patient, "device": device, "period": 1,
            "metrics": [{ "metric": metric, "range": ["55", "100"] }], "until": until,
            "gap": 3_600,
        })
    };
    assert_eq!(hospital.step("physician", &order("planted", soon)).status, 422);
    assert_eq!(hospital.step("P001", &order("heart-rate", soon)).status, 422);
    let refused = hospital.step("nurse", &order("heart-rate", soon));
    assert!(matches!(refused.status, 403 | 422), "{refused:?}");
    // Nobody is measured for longer than a year without being asked again, and not until yesterday.
    assert_eq!(hospital.step("physician", &order("heart-rate", soon)).status, 422);
    let refer = json!({
        "step": "waitlist.refer", "patient": patient, "hospital": hospital.who("hospital"),
        "specialty": "Cardiology", "reason": "palpitations",
    });
    let referred = hospital.done("physician", &refer);
    let tomorrow = referred["steps"][1]["time"].as_u64().unwrap() + 86_400;
    let ordered = hospital.done("physician", &order("heart-rate", tomorrow));
    let accept = json!({
        "step": "device.accept", "patient": patient, "device": device,
        "binding": ordered["binding"],
    });
    assert_eq!(hospital.step("P002", &accept).status, 403);
    hospital.done("P001", &accept);
    let file = json!({
        "step": "device.file", "patient": patient, "device": device,
        "maker": hospital.who("maker"), "maker_name": "Example", "model": "Patch 1",
        "serial": "SN-1", "firmware": "1.0",
    });
    hospital.done("physician", &file);
    let shown = hospital.good(&["device", "show", "patch-1"]);
    let says = |line: &str| line.split_whitespace().take(2).eq(["measures", "P001"]);
    assert!(shown.lines().any(says), "{shown}");

    // The device measures for two seconds; what it signed is brought over the interface.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let (signed, proof) = (hospital.dir.path().join("signed.json"), "proof.json");
    let send = ["device", "send", "P001", "patch-1", "--values", "heart-rate=72,140"];
    hospital.good(&[&send[..], &["--out", signed.to_str().unwrap()]].concat());
    let batch: Value = serde_json::from_slice(&std::fs::read(&signed).unwrap()).unwrap();
    let readings = json!({ "step": "device.readings", "patient": patient, "batch": batch });
    let replayed = hospital.step("physician", &readings);
    assert_eq!(replayed.status, 422);
    assert!(replayed.body.contains("WrongSequence"), "{replayed:?}");
    let mut forged = readings.clone();
    forged["batch"]["series"][0]["values"][0] = json!("73");
    let refused = hospital.step("physician", &forged);
    assert_eq!(refused.status, 422);
    assert!(!refused.body.contains("73") && !refused.body.contains("140"), "{refused:?}");
    assert!(hospital.good(&["device", "alerts", "patch-1"]).contains("nobody yet"));
    let seen = json!({ "step": "device.acknowledge", "device": device, "sequence": 0 });
    assert_eq!(hospital.step("P001", &seen).status, 422);
    hospital.done("nurse", &seen);

    // The key in force signs, also when a rotation was begun that never came.
    hospital.good(&["device", "rotate", "patch-1"]);
    let (once, twice) = ("\"rotations\": 1", "\"rotations\": 2");
    assert!(noted().contains(once));
    std::fs::write(data.join("devices.json"), noted().replace(once, twice)).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    hospital.good(&["device", "send", "P001", "patch-1", "--values", "heart-rate=73"]);

    // A reading is proven, and another is not.
    let path = hospital.dir.path().join(proof);
    let path = path.to_str().unwrap();
    let listed = hospital.good(&["device", "prove", "P001", "patch-1", "0"]);
    assert!(listed.contains("140"), "{listed}");
    let prove = ["device", "prove", "P001", "patch-1", "0", "--reading", "2", "--out", path];
    hospital.good(&prove);
    assert!(hospital.good(&["device", "verify", path]).contains("in batch 0 of device patch-1"));
    let changed = std::fs::read_to_string(path).unwrap().replace("\"140\"", "\"90\"");
    std::fs::write(path, changed).unwrap();
    let output = run(&data, &["device", "verify", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("NOT in batch 0"));

    let unbind = json!({ "step": "device.unbind", "patient": patient, "device": device });
    hospital.done("P001", &unbind);
    // The device goes to somebody else, and whom the alert was about does not change.
    hospital.good(&["device", "order", "P002", "patch-1"]);
    hospital.good(&["device", "accept", "P002", "patch-1"]);
    assert_eq!(hospital.step("P002", &seen).status, 403);
    assert_eq!(hospital.step("P001", &seen).status, 422);
    let none = json!({ "step": "device.acknowledge", "device": device, "sequence": 7 });
    let unknown = hospital.step("nurse", &none);
    assert!(unknown.status == 422 && unknown.body.contains("alert of a device"), "{unknown:?}");
    let timeline = hospital.good(&["timeline", "patch-1"]);
    for step in ["device entered", "device enrolled", "2 readings anchored", "acknowledged"] {
        assert!(timeline.contains(step), "{step}: {timeline}");
    }
    let inbox = hospital.ask("P001", "GET", "inbox", "").json();
    let topics: Vec<&Value> =
        inbox["notifications"].as_array().unwrap().iter().map(|one| &one["topic"]).collect();
    assert!(topics.contains(&&json!("device-offered")), "{topics:?}");
    let fleet = ["device", "simulate", "--devices", "6", "--rounds", "1", "--samples", "1"];
    let simulated = hospital.good(&fleet);
    assert!(simulated.contains("6 devices at 3 patients"), "{simulated}");
    assert!(hospital.good(&["reconcile"]).contains("nothing differs"));
    let log = hospital.serving.stop();
    assert!(!log.contains("planted"), "{log}");
}
