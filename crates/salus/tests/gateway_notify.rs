//! `kill -9` at any instant: a running gateway loses no notification of a FHIR subscription, and what it
//! delivers again is marked (S6).
//!
//! The gateway is started, written to, and killed at a moment that follows from the round's number, again
//! and again over the same directory; this process is the receiver. Set `SALUS_CRASH_ROUNDS` for more.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Serving, fhir, good};

/// Which messages are not taken.
const REFUSED_EVERY: usize = 7;

/// How long the last deliveries may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A message as it came.
#[derive(Clone, Debug)]
struct Received {
    id: String,
    attempt: u64,
    /// The number of its event, and the resource that it is about; nothing in a handshake.
    event: Option<(u64, String)>,
}

type Receiver = Arc<Mutex<Vec<Received>>>;

/// Takes messages, and says no to some of them.
fn receive(listener: TcpListener, receiver: Receiver) {
    for stream in listener.incoming().map_while(Result::ok) {
        let receiver = Arc::clone(&receiver);
        std::thread::spawn(move || converse(stream, &receiver));
    }
}

fn converse(mut stream: TcpStream, receiver: &Receiver) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
            head += &line;
            line.clear();
        }
        if head.is_empty() {
            return;
        }
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let length = header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        // A process that was killed sends half a message.
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let bundle: Value = serde_json::from_slice(&body).unwrap();
        let count = {
            let mut receiver = receiver.lock().unwrap();
            receiver.push(Received {
                id: header("webhook-id").unwrap(),
                attempt: header("webhook-attempt").unwrap().parse().unwrap(),
                event: event(&bundle),
            });
            receiver.len()
        };
        let status = if count % REFUSED_EVERY == 0 { "503 Busy" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn event(bundle: &Value) -> Option<(u64, String)> {
    let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    let event = parameters.iter().find(|one| one["name"] == "notification-event")?;
    let part = |name: &str| {
        event["part"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap()
    };
    let number = part("event-number")["valueString"].as_str().unwrap().parse().unwrap();
    let focus = part("focus")["valueReference"]["reference"].as_str().unwrap();
    let (_, name) = focus.split_once("/fhir/").unwrap();
    Some((number, name.to_owned()))
}

fn up(data: &Path) -> (Serving, String) {
    let serving = Serving::up(data);
    let address = serving.address("hospital");
    (serving, address)
}

#[test]
fn kill_9_loses_no_notification_of_a_subscription() {
    let rounds = std::env::var("SALUS_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let to = Arc::clone(&receiver);
    std::thread::spawn(move || receive(listener, to));

    let (serving, address) = up(&data);
    let token = |who: &str| good(&data, &["token", who]).trim().to_owned();
    let listed = good(&data, &["who"]);
    let line = listed.lines().find(|line| line.contains("P001")).unwrap();
    let account = line.split_whitespace().last().unwrap();
    good(&data, &["care", "join", "P001", "physician"]);
    let patient = json!({
        "resourceType": "Patient",
        "identifier": [{ "system": "urn:salus:account", "value": account }],
    });
    let made = fhir(&address, "POST", "Patient", &token("physician"), &patient.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    let patient = made.json()["id"].as_str().unwrap().to_owned();
    let subscription = json!({
        "resourceType": "Subscription", "status": "requested", "reason": "to know",
        "criteria": "urn:salus:topic:records",
        "channel": { "type": "rest-hook", "endpoint": url },
    });
    let made = fhir(&address, "POST", "Subscription", &token("P001"), &subscription.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("Subscription/{}", made.json()["id"].as_str().unwrap());
    until(|| fhir(&address, "GET", &path, &token("P001"), "").json()["status"] == "active");
    drop(serving);

    let mut written = BTreeSet::new();
    for round in 0..rounds.unwrap_or(4_u64) {
        let (serving, address) = up(&data);
        let seed = Sha256::digest(round.to_be_bytes());
        let physician = token("physician");
        for number in 0..=seed[0] % 6 {
            let observation = json!({
                "resourceType": "Observation", "status": "final",
                "code": { "text": format!("{round} {number}") },
                "subject": { "reference": format!("Patient/{patient}") },
            });
            let made = fhir(&address, "POST", "Observation", &physician, &observation.to_string());
            assert_eq!(made.status, 201, "{made:?}");
            written.insert(format!("Observation/{}", made.json()["id"].as_str().unwrap()));
        }
        std::thread::sleep(Duration::from_micros(u64::from(seed[1]) * 250));
        // Dropping it kills it.
        drop(serving);
    }

    let (serving, address) = up(&data);
    let told = || -> BTreeSet<String> {
        let received = receiver.lock().unwrap();
        received.iter().filter_map(|one| Some(one.event.clone()?.1)).collect()
    };
    until(|| {
        // What was refused waits for its time; whoever subscribed may ask at once.
        told().is_superset(&written)
    });
    let status = fhir(&address, "GET", &path, &token("P001"), "").json();
    assert_eq!(status["status"], "active", "{status}");
    let replay = fhir(&address, "GET", &format!("{path}/$events"), &token("P001"), "");
    assert_eq!(replay.status, 200, "{replay:?}");
    serving.stop();

    // Each first time in order and unmarked or marked as a repeat; each further time marked.
    let received = receiver.lock().unwrap().clone();
    let mut attempts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut last, mut repeats) = (0, 0);
    for Received { id, attempt, event } in &received {
        let Some((number, _)) = event else { continue };
        match attempts.insert(id, *attempt) {
            None => {
                assert_eq!(*number, last + 1, "events come in order, and none is left out");
                last = *number;
            }
            Some(before) => {
                assert!(*attempt > before, "an unmarked repeat");
                repeats += 1;
            }
        }
    }
    assert_eq!(usize::try_from(last).unwrap(), written.len());
    println!("{last} events, {repeats} repeats");
}

/// Waits until something is so.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "it does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}
