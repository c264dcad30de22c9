//! The institution's own interface beside FHIR, as its people, systems and patients meet it.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{LazyLock, mpsc},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Timestamp;
use notify::webhook::WebhookSecret;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Answer, Serving, copy, fhir, get, good, send};

/// A running consortium of its own for each test, and tokens for its hospital.
struct Hospital {
    serving: Serving,
    address: String,
    data: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Hospital {
    fn start() -> Self {
        static TEMPLATE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
            let dir = tempfile::tempdir().unwrap();
            Serving::up(&dir.path().join("data")).stop();
            dir
        });
        let dir = tempfile::tempdir().unwrap();
        copy(&TEMPLATE.path().join("data"), dir.path());
        let data = dir.path().join("data");
        let mut command = support::salus(&data);
        command.args(["up", "--no-story", "--rpc", "127.0.0.1:0", "--fhir-port-base", "0"]);
        command.env("SALUS_LOG", "debug");
        let serving = Serving::start(command);
        let address = serving.address("hospital");
        Self { serving, address, data, _dir: dir }
    }

    fn token(&self, who: &str) -> String {
        good(&self.data, &["token", who]).trim().to_owned()
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        send(&self.address, method, &format!("/api/{path}"), &headers, body)
    }

    /// An inbox, once there is something in it: the outbox follows the chain beside the server.
    fn inbox(&self, token: &str) -> Value {
        loop {
            let inbox = self.ask(token, "GET", "inbox", "");
            assert_eq!(inbox.status, 200, "{inbox:?}");
            if inbox.json()["unread"] != 0 {
                return inbox.json();
            }
            std::thread::yield_now();
        }
    }

    /// A token with these scopes only, by the steps that an app takes.
    fn narrow_token(&self, who: &str, scope: &str) -> String {
        let verifier = "v".repeat(64);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let audience = format!("http://{}/fhir", self.address);
        let own = [("client_id", "salus"), ("redirect_uri", "http://localhost/salus")];
        let picked = [
            ("response_type", "code"),
            ("scope", scope),
            ("state", "0123456789abcdef"),
            ("aud", &audience),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("person", who),
        ];
        let head = self.post_form("/auth/authorize", &[&own[..], &picked[..]].concat()).0;
        let location = url::Url::parse(&header(&head, "location")).unwrap();
        let code = location.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
        let exchanged =
            [("grant_type", "authorization_code"), ("code", &code), ("code_verifier", &verifier)];
        let body = self.post_form("/auth/token", &[&own[..], &exchanged[..]].concat()).1;
        let body: Value = serde_json::from_str(&body).unwrap();
        body["access_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    }

    /// Sends a form; returns head and body as they came.
    fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> (String, String) {
        let form =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The account or member address of somebody, as `salus who` lists it.
    fn who(&self, name: &str) -> String {
        who(&self.data, name)
    }
}

fn who(data: &Path, name: &str) -> String {
    let listed = good(data, &["who"]);
    let line = listed.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

#[track_caller]
fn problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("application/problem+json"), "{answer:?}");
    assert_eq!(answer.json()["status"], status);
    assert!(!answer.json()["detail"].as_str().unwrap().is_empty());
}

fn sequences(page: &Value) -> Vec<u64> {
    let all = page["notifications"].as_array().unwrap();
    all.iter().map(|one| one["sequence"].as_u64().unwrap()).collect()
}

#[test]
fn inboxes_are_their_owners() {
    let hospital = Hospital::start();
    problem(&get(&hospital.address, "/api/inbox"), 401);
    problem(&get(&hospital.address, "/api/planted"), 404);
    let (patient, system) = (hospital.token("P001"), hospital.token("hospital"));
    let physician = hospital.token("physician");
    problem(&hospital.ask(&patient, "POST", "inbox", ""), 405);

    let inbox = hospital.inbox(&patient);
    assert_eq!(inbox["recipient"], hospital.who("P001"));
    let own = inbox["notifications"].as_array().unwrap();
    assert!(own.iter().all(|one| one["recipient"] == own[0]["recipient"]));
    assert!(own.iter().any(|one| one["topic"] == "relationship-proposed"));
    problem(&hospital.ask(&patient, "GET", "inbox?of=institution", ""), 403);
    problem(&hospital.ask(&physician, "GET", "inbox?of=institution", ""), 403);
    for wrong in ["limit=0", "limit=9999", "after=planted", "unknown=1", "after=1&before=2"] {
        problem(&hospital.ask(&patient, "GET", &format!("inbox?{wrong}"), ""), 400);
    }

    // From cursor to cursor everything comes once, in order.
    let theirs = hospital.inbox(&system);
    let newest = sequences(&theirs);
    assert!(newest.len() >= 2, "{theirs}");
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = hospital.ask(&system, "GET", &format!("inbox?after={after}&limit=1"), "").json();
        let found = sequences(&page);
        after = page["next"].as_u64().unwrap();
        if found.is_empty() {
            break;
        }
        all.extend(found);
    }
    all.reverse();
    assert_eq!(all[..newest.len()], newest[..]);

    let read =
        |token: &str, body: Value| hospital.ask(token, "POST", "inbox/read", &body.to_string());
    problem(&read(&system, json!({})), 400);
    problem(&read(&system, json!({ "planted": 1 })), 400);
    let one = read(&system, json!({ "sequences": [newest[0], newest[0]] }));
    assert_eq!(one.json()["marked"], 1, "{one:?}");
    // Nobody marks what is somebody else's.
    assert_eq!(read(&patient, json!({ "sequences": [newest[1]] })).json()["marked"], 0);
    let rest = read(&system, json!({ "up_to": newest[0] })).json();
    assert_eq!(rest["unread"], 0, "{rest}");

    let figures = get(&hospital.address, "/metrics").body;
    assert!(figures.contains("salus_notifications_total{gateway=\"hospital\"} "), "{figures}");
    assert_eq!(get(&hospital.address, "/readyz").json()["notifications"]["ok"], true);
    let log = hospital.serving.stop();
    assert!(log.contains("\"route\":\"/api/inbox\""), "{log}");
    assert!(!log.contains("planted"), "{log}");
}

#[test]
fn a_token_narrows_what_its_holder_does() {
    let hospital = Hospital::start();
    let account = hospital.who("P001");
    let place = json!({ "patient": account, "member": hospital.who("physician") }).to_string();
    let number = json!({ "system": "https://salus.example/demo-number", "value": "DEMO-1074" });
    let refused = |token: &str, method: &str, path: &str, body: &str| {
        problem(&hospital.ask(token, method, path, body), 403);
    };
    // Whoever may only read changes nothing.
    let reader = hospital.narrow_token("hospital", "user/*.rs");
    assert_eq!(hospital.ask(&reader, "GET", "inbox", "").status, 200);
    refused(&reader, "POST", "inbox/read", "{\"up_to\":1}");
    refused(&reader, "POST", "webhooks", "{\"url\":\"https://receiver.example/\"}");
    refused(&reader, "PUT", "care-team", &place);
    // Whoever may see laboratory results learns nothing else.
    let results = hospital.narrow_token("physician", "user/Observation.rs");
    refused(&results, "GET", "inbox", "");
    refused(&results, "GET", "events", "");
    refused(&results, "POST", "resolve", &number.to_string());
    refused(&results, "GET", &format!("care-team?patient={account}"), "");
    let patient = hospital.narrow_token("P001", "patient/Observation.rs");
    refused(&patient, "GET", "access-log", "");
}

/// A stream of events, as it comes.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(hospital: &Hospital, token: &str, query: &str, last: Option<u64>) -> Self {
        let (events, status) = Self::ask(hospital, token, query, last);
        assert!(status.contains("200"), "{status}");
        events
    }

    /// A stream, and the first line of the answer.
    fn ask(hospital: &Hospital, token: &str, query: &str, last: Option<u64>) -> (Self, String) {
        let mut request = format!(
            "GET /api/events{query} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
        );
        if let Some(last) = last {
            request += &format!("last-event-id: {last}\r\n");
        }
        let mut stream = TcpStream::connect(&hospital.address).unwrap();
        stream.write_all((request + "\r\n").as_bytes()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let mut events = Self(BufReader::new(stream));
        let mut status = String::new();
        events.0.read_line(&mut status).unwrap();
        (events, status)
    }

    /// The number of the next event.
    fn next(&mut self) -> u64 {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(number) = line.strip_prefix("id: ") {
                return number.trim().parse().unwrap();
            }
        }
    }
}

#[test]
fn streams_go_on_where_they_stood_and_end_with_the_gateway() {
    let hospital = Hospital::start();
    let system = hospital.token("hospital");
    let mut expected = sequences(&hospital.inbox(&system));
    expected.reverse();
    let mut events = Events::open(&hospital, &system, "?after=0", None);
    let first = events.next();
    drop(events);
    let mut events = Events::open(&hospital, &system, "", Some(first));
    let second = events.next();
    assert!(expected.is_empty() || first <= expected[0]);
    assert!(second > first);

    // What happens while it is open comes as it happens.
    let newest = sequences(&hospital.ask(&system, "GET", "inbox", "").json())[0];
    let mut events = Events::open(&hospital, &system, "", Some(newest));
    let account = hospital.who("P001");
    let resource = hospital.data.join("resource.json");
    let record = json!({
        "resourceType": "Observation", "status": "final", "code": { "text": "planted" },
        "subject": { "reference": format!("Patient/{account}") },
    });
    std::fs::write(&resource, record.to_string()).unwrap();
    let proposed =
        good(&hospital.data, &["records", "propose", "P001", resource.to_str().unwrap()]);
    let id = proposed.split_whitespace().find(|word| word.len() == 66 && word.starts_with("0x"));
    good(
        &hospital.data,
        &["records", "accept", "P001", id.unwrap_or_else(|| panic!("{proposed}"))],
    );
    assert!(events.next() > newest);
    let asked = get(&hospital.address, "/metrics").body;
    assert!(asked.contains("salus_event_streams{gateway=\"hospital\"} "), "{asked}");

    // Nobody takes all the places.
    let mut held = Vec::new();
    let refused = (0..9).any(|_| {
        let (stream, status) = Events::ask(&hospital, &system, "", Some(newest));
        held.push(stream);
        status.contains("503")
    });
    assert!(refused, "a ninth stream is one too many");
    drop(held);

    let headers = [("authorization", &*format!("Bearer {system}")), ("last-event-id", "planted")];
    problem(&send(&hospital.address, "GET", "/api/events", &headers, ""), 400);
    // Stopping does not wait for those who listen.
    let log = hospital.serving.stop();
    let mut rest = Vec::new();
    let _ = events.0.read_to_end(&mut rest);
    assert!(!log.contains("were cut off"), "{log}");
}

#[test]
fn numbers_are_looked_up_sparingly_and_never_told() {
    let hospital = Hospital::start();
    let (physician, system) = (hospital.token("physician"), hospital.token("hospital"));
    let number = "https://salus.example/demo-number";
    let resolve = |token: &str, value: &str| {
        let body = json!({ "system": number, "value": value });
        hospital.ask(token, "POST", "resolve", &body.to_string())
    };
    let found = resolve(&physician, "DEMO-1074");
    assert_eq!(found.status, 200, "{found:?}");
    let account = found.json()["account"].as_str().unwrap().to_owned();
    assert!(good(&hospital.data, &["who"]).contains(&account));
    problem(&resolve(&physician, "DEMO-PLANTED"), 404);
    problem(&resolve(&physician, ""), 400);
    problem(&resolve(&hospital.token("P001"), "DEMO-1074"), 403);
    problem(&hospital.ask(&physician, "POST", "resolve", "{\"value\":"), 400);

    let refused =
        (0..200).map(|_| resolve(&physician, "DEMO-PLANTED")).find(|one| one.status == 429);
    let refused = refused.unwrap();
    problem(&refused, 429);
    assert!(refused.head.contains("retry-after: "), "{refused:?}");
    assert_eq!(resolve(&system, "DEMO-1074").status, 200, "everybody has a limit of their own");

    // Each leaves a line, and a number that was found is on its patient's access log.
    let acts = hospital.ask(&system, "GET", "acts?limit=200", "").json();
    let outcomes: Vec<&str> = acts["acts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|act| act["outcome"].as_str().unwrap())
        .collect();
    assert!(outcomes.contains(&"found") && outcomes.contains(&"unknown"), "{acts}");
    problem(&hospital.ask(&physician, "GET", "acts", ""), 403);
    let listed = good(&hospital.data, &["log", &account]);
    assert!(listed.contains("physician"), "{listed}");

    let log = hospital.serving.stop();
    for text in [log.to_lowercase(), acts.to_string().to_lowercase(), listed.to_lowercase()] {
        assert!(!text.contains("demo-"), "{text}");
    }
    assert!(!log.to_lowercase().contains(&account.to_lowercase()), "{log}");
}

#[test]
fn care_teams_open_and_close_and_patients_see_who_looked() {
    let hospital = Hospital::start();
    let (physician, system) = (hospital.token("physician"), hospital.token("hospital"));
    let (patient, other) = (hospital.token("P001"), hospital.token("P002"));
    let (account, member) = (hospital.who("P001"), hospital.who("physician"));
    let registered = json!({
        "resourceType": "Patient",
        "identifier": [{ "system": "urn:salus:account", "value": account }],
        "name": [{ "family": "Planted-Name" }],
    });
    let made = fhir(&hospital.address, "POST", "Patient", &system, &registered.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("Patient/{}", made.json()["id"].as_str().unwrap());
    let reads = || fhir(&hospital.address, "GET", &path, &physician, "").status;
    let team = format!("care-team?patient={account}");
    let members = || {
        let listed = hospital.ask(&system, "GET", &team, "").json();
        let members = listed["members"].as_array().unwrap().clone();
        members.iter().any(|one| one["member"] == *member)
    };
    let leave = format!("{team}&member={member}");
    assert_eq!(hospital.ask(&system, "DELETE", &leave, "").status, 204);
    assert_eq!((reads(), members()), (403, false));

    let place = json!({ "patient": account, "member": member }).to_string();
    problem(&hospital.ask(&physician, "PUT", "care-team", &place), 403);
    problem(&hospital.ask(&patient, "PUT", "care-team", &place), 403);
    let stranger = json!({ "patient": account, "member": hospital.who("pharmacist") });
    problem(&hospital.ask(&system, "PUT", "care-team", &stranger.to_string()), 422);
    let nobody = json!({ "patient": member, "member": member });
    problem(&hospital.ask(&system, "PUT", "care-team", &nobody.to_string()), 422);
    assert_eq!(hospital.ask(&system, "PUT", "care-team", &place).status, 204);
    assert_eq!((reads(), members()), (200, true));
    let listed = hospital.ask(&patient, "GET", &team, "");
    assert_eq!((listed.status, &listed.json()["in_force"]), (200, &json!(true)));
    assert_eq!(hospital.ask(&physician, "GET", &team, "").status, 200);
    problem(&hospital.ask(&other, "GET", &team, ""), 403);
    assert_eq!(hospital.ask(&system, "DELETE", &leave, "").status, 204);
    assert_eq!((reads(), members()), (403, false));

    // The same from the command line.
    assert!(good(&hospital.data, &["care", "join", "P001", "physician"]).contains("hospital"));
    assert!(good(&hospital.data, &["care", "list", "P001"]).contains("physician"));
    assert_eq!(reads(), 200);
    good(&hospital.data, &["care", "leave", "P001", "physician"]);
    assert_eq!(reads(), 403);
    let refused = support::bad(&hospital.data, &["care", "join", "P001", "pharmacist"]);
    assert!(refused.contains("salus relate"), "{refused}");

    let log = hospital.ask(&patient, "GET", "access-log", "");
    assert_eq!(log.status, 200, "{log:?}");
    let entries = log.json()["entries"].as_array().unwrap().clone();
    let of_physician: Vec<&Value> =
        entries.iter().filter(|entry| entry["who"]["address"] == *member).collect();
    for outcome in ["allowed", "refused"] {
        let found = of_physician.iter().find(|entry| entry["outcome"] == outcome).unwrap();
        assert_eq!(found["purpose"], "treatment", "{found}");
        assert_eq!(found["who"]["role"], "physician");
        assert_eq!(found["organisation"]["role"], "hospital");
        assert_eq!(found["kinds"], json!(["demographics"]));
        assert_eq!(found["records"].as_array().unwrap().is_empty(), outcome == "refused");
    }
    // Looking is logged too, and pages follow one another.
    let first = hospital.ask(&patient, "GET", "access-log?limit=1", "").json();
    assert_eq!(first["entries"][0]["who"]["role"], "patient", "{first}");
    let before = first["before"].as_u64().unwrap();
    let page = hospital.ask(&patient, "GET", &format!("access-log?before={before}"), "").json();
    assert!(page["entries"][0]["sequence"].as_u64().unwrap() < before);
    let other_log = format!("access-log?patient={account}");
    problem(&hospital.ask(&other, "GET", &other_log, ""), 403);
    problem(&hospital.ask(&physician, "GET", &other_log, ""), 403);
    let newest = hospital.ask(&patient, "GET", "access-log?limit=1", "").json();
    assert_eq!(newest["entries"][0]["outcome"], "refused", "{newest}");

    // Privacy officers appoint and look too, where the patient is known; and are seen.
    let officer = good(&hospital.data, &["token", "officer", "--at", "emergency"]);
    let bearer = format!("Bearer {}", officer.trim());
    let emergency = hospital.serving.address("emergency");
    let as_officer = |method: &str, path: &str, body: &str| {
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        send(&emergency, method, &format!("/api/{path}"), &headers, body)
    };
    problem(&as_officer("GET", &other_log, ""), 404);
    good(&hospital.data, &["relate", "P001", "emergency"]);
    assert_eq!(as_officer("GET", &other_log, "").json()["entries"], json!([]));
    let seen = as_officer("GET", &other_log, "").json();
    assert_eq!(seen["entries"][0]["who"]["role"], "privacy-officer", "{seen}");
    let place = json!({ "patient": account, "member": hospital.who("paramedic") });
    assert_eq!(as_officer("PUT", "care-team", &place.to_string()).status, 204);
    assert!(
        good(&hospital.data, &["care", "list", "P001", "--at", "emergency"]).contains("paramedic")
    );
    assert_eq!(as_officer("GET", "inbox?of=institution", "").status, 200);
    problem(&as_officer("GET", "webhooks", ""), 403);

    let acts = hospital.ask(&system, "GET", &format!("acts?patient={account}"), "").json();
    let names: Vec<&Value> =
        acts["acts"].as_array().unwrap().iter().map(|act| &act["act"]).collect();
    assert!(
        names.contains(&&json!("care-join")) && names.contains(&&json!("care-leave")),
        "{acts}"
    );
}

/// Takes one message and confirms it: its headers, in small letters, and its body.
fn take(listener: &TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        head += &line;
        line.clear();
    }
    let head = head;
    let length = header(&head, "content-length").parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
    (head, body)
}

fn header(head: &str, name: &str) -> String {
    let found = head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    found.unwrap_or_else(|| panic!("no {name} in {head}"))
}

#[test]
fn webhooks_are_signed_and_go_nowhere_they_should_not() {
    let hospital = Hospital::start();
    let (physician, system) = (hospital.token("physician"), hospital.token("hospital"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sending, came) = mpsc::channel();
    std::thread::spawn(move || while sending.send(take(&listener)).is_ok() {});
    let add = |token: &str, url: &str| {
        let body = json!({ "url": url, "topics": ["relationship-accepted"], "after": 0 });
        hospital.ask(token, "POST", "webhooks", &body.to_string())
    };
    problem(&add(&physician, &url), 403);
    problem(&add(&hospital.token("P001"), &url), 403);
    for forbidden in [
        "http://10.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "http://8.8.8.8/",
        "ftp://receiver.example/",
        "https://planted:planted@receiver.example/",
        "nothing",
    ] {
        problem(&add(&system, forbidden), 422);
    }
    // What was asked for is written down before it is done, so also what was then refused.
    let acts = || {
        let listed = hospital.ask(&system, "GET", "acts", "").json();
        let acts = listed["acts"].as_array().unwrap().clone();
        acts.iter().filter(|act| act["act"] == "webhook-add" && act["outcome"] == "asked").count()
    };
    assert_eq!(acts(), 7);
    let made = add(&system, &url);
    assert_eq!(acts(), 8);
    assert_eq!(made.status, 201, "{made:?}");
    let secret: WebhookSecret = made.json()["secret"].as_str().unwrap().parse().unwrap();
    let id = made.json()["id"].as_str().unwrap().to_owned();

    let (head, body) = came.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    let (name, time) = (header(&head, "webhook-id"), header(&head, "webhook-timestamp"));
    let (signature, time) = (header(&head, "webhook-signature"), Timestamp(time.parse().unwrap()));
    assert!(secret.verify(&name, time, &body, &signature, time), "{head}");
    assert!(!secret.verify(&name, time, b"{}", &signature, time));
    let message: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(message["type"], "relationship-accepted");

    let listed = hospital.ask(&system, "GET", "webhooks", "");
    assert_eq!(listed.json()["webhooks"][0]["id"], *id);
    assert!(!listed.body.contains("whsec_"), "{listed:?}");
    problem(&hospital.ask(&physician, "GET", "webhooks", ""), 403);
    let path = format!("webhooks/{id}");
    let paused = hospital.ask(&system, "PATCH", &path, "{\"state\":\"paused\"}").json();
    assert_eq!(paused["state"], "paused");
    let replayed = hospital.ask(&system, "PATCH", &path, "{\"after\":0}").json();
    assert_eq!(replayed["state"], "active");
    let again = loop {
        let (head, _) = came.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        if header(&head, "webhook-id") == name {
            break head;
        }
    };
    assert_ne!(header(&again, "webhook-attempt"), "1", "a repeat says that it is one");
    assert_eq!(hospital.ask(&system, "DELETE", &path, "").status, 204);
    problem(&hospital.ask(&system, "DELETE", &path, ""), 404);
    let figures = get(&hospital.address, "/metrics").body;
    assert!(figures.contains("salus_webhook_deliveries_total{gateway=\"hospital\"} "), "{figures}");
}

/// Begins a step, and signs whatever it waits for as `who`, until it is over.
fn step(hospital: &Hospital, who: &str, wanted: &Value) -> Answer {
    let token = hospital.token(who);
    let mut answer = hospital.ask(&token, "POST", "steps", &wanted.to_string());
    while answer.status == 202 {
        let said = answer.json();
        assert_eq!(said["state"], "waiting", "{said}");
        let digest = said["sign"]["digest"].as_str().unwrap();
        let signed = good(&hospital.data, &["sign", who, digest]);
        let path = format!("steps/{}", said["id"].as_str().unwrap());
        answer = hospital.ask(&token, "POST", &path, &signed);
    }
    answer
}

fn done(hospital: &Hospital, who: &str, wanted: &Value) -> Value {
    let answer = step(hospital, who, wanted);
    assert_eq!(answer.status, 200, "{wanted} {answer:?}");
    answer.json()["result"].clone()
}

#[test]
fn an_operation_goes_over_the_interface() {
    let hospital = Hospital::start();
    let who = |name: &str| hospital.who(name);
    let patient = who("P001");
    let refer = json!({
        "step": "surgery.refer", "patient": patient, "hospital": who("hospital"),
        "operation": "hip replacement", "reason": "planted words",
    });
    let referred = done(&hospital, "physician", &refer);
    let id = referred["record"].as_str().unwrap();
    let tomorrow = referred["steps"][1]["time"].as_u64().unwrap() + 86_400;
    let plan = json!({
        "step": "surgery.assess", "id": id,
        "operation": "hip replacement", "site": "left hip", "disclosed": "infection",
    });
    // What the contract refuses is not signed first, and leaves nothing behind.
    let refused = step(&hospital, "nurse", &plan);
    problem(&refused, 422);
    assert!(refused.json()["detail"].as_str().unwrap().contains("NotAllowed"), "{refused:?}");
    let plan = done(&hospital, "surgeon", &plan);
    // What was sealed is there over FHIR, under its id on chain.
    let physician = hospital.token("physician");
    let record = plan["record"].as_str().unwrap().trim_start_matches("0x");
    let sealed = fhir(&hospital.address, "GET", &format!("Procedure/{record}"), &physician, "");
    assert_eq!((sealed.status, &sealed.json()["id"]), (200, &json!(record)), "{sealed:?}");
    let query = format!("Procedure?patient=Patient/{patient}&_summary=count");
    let found = fhir(&hospital.address, "GET", &query, &physician, "");
    assert_eq!(found.json()["total"], 1, "{found:?}");
    let schedule = json!({
        "step": "surgery.schedule", "id": id, "surgeon": who("surgeon"),
        "anaesthetist": who("physician"), "nurse": who("nurse"),
        "at": tomorrow, "theatre": "theatre 1",
    });
    problem(&step(&hospital, "nurse", &schedule), 422);
    let consent = json!({ "step": "surgery.consent", "id": id, "plan": plan["record"] });
    problem(&step(&hospital, "surgeon", &consent), 422);
    problem(&step(&hospital, "P002", &consent), 403);
    let form = json!({ "step": "surgery.file-consent", "id": id, "plan": plan["record"] });
    problem(&step(&hospital, "surgeon", &form), 422);
    done(&hospital, "P001", &consent);
    problem(&step(&hospital, "nurse", &form), 422);
    done(&hospital, "surgeon", &form);
    done(&hospital, "nurse", &schedule);
    assert!(good(&hospital.data, &["surgery", "show", id]).starts_with("scheduled, round 1"));
    let timeline = good(&hospital.data, &["timeline", id]);
    assert!(timeline.contains("consent to surgery, round 1"), "{timeline}");
    assert!(!timeline.contains("planted"), "{timeline}");

    // Nobody signs in today what is scheduled for tomorrow, unless it is urgent.
    let answers = json!({
        "identity": "yes", "site-marked": "no: planted words", "anaesthesia": "yes",
        "pulse-oximeter": "yes", "allergy": "none", "airway": "no", "blood-loss": "no",
    });
    let fill_in = json!({
        "step": "surgery.fill-in", "id": id, "phase": "sign-in", "answers": answers,
    });
    let with = |step: &Value, field: &str, value: Value| {
        let mut step = step.clone();
        step[field] = value;
        step
    };
    let refused = |who: &str, wanted: &Value, why: &str| {
        let answer = step(&hospital, who, wanted);
        problem(&answer, 422);
        assert!(answer.json()["detail"].as_str().unwrap().contains(why), "{answer:?}");
    };
    refused("nurse", &fill_in, "schedule it anew");
    let urgent = with(&fill_in, "urgent", json!("planted words"));
    let filled_in = done(&hospital, "nurse", &urgent);
    assert_eq!(filled_in["complete"], false);
    // Others sign that, and not what is no checklist, or begins it anew without a word.
    let sign = json!({
        "step": "surgery.sign", "id": id, "phase": "sign-in", "digest": filled_in["digest"],
    });
    let other = with(&sign, "digest", plan["digest"].clone());
    refused("physician", &other, "begins anew");
    refused("physician", &with(&other, "anew", json!(true)), "not the sign-in");
    let without = hospital.narrow_token("physician", "user/Task.c user/Procedure.s");
    problem(&hospital.ask(&without, "POST", "steps", &sign.to_string()), 403);
    assert_eq!(done(&hospital, "physician", &sign)["complete"], true);
    let shown = good(&hospital.data, &["surgery", "show", id]);
    assert!(shown.contains("sign-in signed by nurse, physician, complete"), "{shown}");

    // What was done is in the log, without what was said.
    let acts = hospital.ask(&hospital.token("hospital"), "GET", "acts", "");
    assert!(acts.json().to_string().contains("step-surgery"), "{acts:?}");
    assert!(!acts.json().to_string().contains("planted"), "{acts:?}");
}

#[test]
fn a_step_is_its_owners_and_takes_their_signature_only() {
    let hospital = Hospital::start();
    let physician = hospital.token("physician");
    let refer = json!({
        "step": "waitlist.refer", "patient": hospital.who("P001"), "hospital": hospital.who("hospital"),
        "specialty": "Cardiology", "reason": "planted words",
    });
    let begin = || {
        let begun = hospital.ask(&physician, "POST", "steps", &refer.to_string());
        assert_eq!(begun.status, 202, "{begun:?}");
        begun.json()
    };
    let begun = begin();
    let path = format!("steps/{}", begun["id"].as_str().unwrap());
    let sign = &begun["sign"];
    assert_eq!(
        (&sign["kind"], &sign["from"]),
        (&json!("transaction"), &json!(hospital.who("physician").to_lowercase()))
    );
    assert!(sign["does"]["call"].as_str().unwrap().starts_with("list {"), "{sign}");
    assert!(!begun.to_string().contains("planted"), "{begun}");
    // Others do not even learn that it is there.
    problem(&hospital.ask(&hospital.token("nurse"), "GET", &path, ""), 404);
    let decline =
        |said: &Value| json!({ "digest": said["sign"]["digest"], "declined": true }).to_string();
    let declined = decline(&begun);
    problem(&hospital.ask(&hospital.token("nurse"), "POST", &path, &declined), 404);
    assert_eq!(hospital.ask(&physician, "GET", &path, "").json()["sign"], *sign);
    // Somebody else's signature is not taken, and the step is over.
    let digest = sign["digest"].as_str().unwrap();
    let forged = good(&hospital.data, &["sign", "nurse", digest]);
    problem(&hospital.ask(&physician, "POST", &path, &forged), 409);
    let own = good(&hospital.data, &["sign", "physician", digest]);
    problem(&hospital.ask(&physician, "POST", &path, &own), 409);

    let begun = begin();
    let path = format!("steps/{}", begun["id"].as_str().unwrap());
    // What answers another question is no answer.
    problem(&hospital.ask(&physician, "POST", &path, &declined), 409);
    problem(&hospital.ask(&physician, "POST", &path, &own), 409);
    problem(&hospital.ask(&physician, "POST", &path, &decline(&begun)), 409);
    let given_up = format!("steps/{}", begin()["id"].as_str().unwrap());
    assert_eq!(hospital.ask(&physician, "DELETE", &given_up, "").status, 204);
    problem(&hospital.ask(&physician, "GET", &given_up, ""), 404);

    // What names no step is a problem like any other.
    for method in ["GET", "POST", "DELETE"] {
        let unnamed = hospital.ask(&physician, method, "steps/abc", &own);
        problem(&unnamed, 400);
        assert!(unnamed.body.contains("64 hexadecimal digits"), "{unnamed:?}");
    }

    // Who may not, and what makes no sense.
    problem(&hospital.ask(&hospital.token("hospital"), "POST", "steps", &refer.to_string()), 403);
    for (wanted, expected) in [
        (json!({ "step": "planted" }), "names no step"),
        (json!({ "step": "surgery.planted" }), "unknown variant"),
        (json!({ "step": "surgery.incise" }), "missing field `id`"),
        (json!({ "step": "surgery.incise", "id": "planted words" }), "not of the kind"),
    ] {
        let refused = hospital.ask(&physician, "POST", "steps", &wanted.to_string());
        problem(&refused, 400);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(expected) && !detail.contains("planted words"), "{detail}");
    }
    // So many at once, and no more; what is over does not count.
    for _ in 0..16 {
        begin();
    }
    problem(&hospital.ask(&physician, "POST", "steps", &refer.to_string()), 429);
}

#[test]
fn what_the_checks_find_is_said_once() {
    let hospital = Hospital::start();
    let physician = hospital.token("physician");
    let issue = json!({
        "step": "rx.issue", "patient": hospital.who("P001"), "medicine": "lisinopril 100 mg",
        "dosage": "one a day", "quantity": 30, "days": 30, "milligrams": "100",
    });
    let found = hospital.ask(&physician, "POST", "steps", &issue.to_string());
    assert_eq!(found.status, 200, "{found:?}");
    let found = found.json();
    assert!(found["result"]["findings"].to_string().contains("80 mg a day"), "{found}");
    let path = format!("steps/{}", found["id"].as_str().unwrap());
    problem(&hospital.ask(&physician, "GET", &path, ""), 404);
}

#[test]
fn contacts_are_told_and_repeated_use_shows() {
    let hospital = Hospital::start();
    let (first, second) = (hospital.token("P001"), hospital.token("P002"));
    let contact = json!({ "contacts": [hospital.who("P002")] }).to_string();
    problem(&hospital.ask(&hospital.token("physician"), "PUT", "contacts", &contact), 403);
    let stranger = json!({ "contacts": [hospital.who("physician")] }).to_string();
    problem(&hospital.ask(&first, "PUT", "contacts", &stranger), 422);
    let own = json!({ "contacts": [hospital.who("P001")] }).to_string();
    problem(&hospital.ask(&first, "PUT", "contacts", &own), 422);
    assert_eq!(hospital.ask(&first, "PUT", "contacts", &contact).status, 204);
    let kept = hospital.ask(&first, "GET", "contacts", "").json();
    assert_eq!(kept["contacts"], json!([hospital.who("P002").to_lowercase()]));
    assert_eq!(hospital.ask(&second, "GET", "contacts", "").json()["contacts"], json!([]));

    for _ in 0..2 {
        let open = ["emergency", "open", "P001", "--reason", "planted words"];
        let opened = good(&hospital.data, &open);
        let id = opened.split_whitespace().nth(1).unwrap();
        good(&hospital.data, &["emergency", "end", "P001", id]);
    }
    let told = |inbox: &Value| {
        let all = inbox["notifications"].as_array().unwrap();
        all.iter().any(|one| one["topic"] == "emergency-opened")
    };
    while !told(&hospital.ask(&second, "GET", "inbox", "").json()) {
        std::thread::yield_now();
    }
    let report = good(&hospital.data, &["emergency", "report"]);
    assert!(report.contains("paramedic") && report.contains("repeated"), "{report}");

    let department = hospital.serving.address("emergency");
    let usage = |who: &str| {
        let token = good(&hospital.data, &["token", who, "--at", "emergency"]);
        let bearer = format!("Bearer {}", token.trim());
        send(&department, "GET", "/api/emergency-use", &[("authorization", &*bearer)], "")
    };
    problem(&usage("paramedic"), 403);
    let used = usage("officer").json()["professionals"][0].clone();
    assert_eq!(used["professional"], hospital.who("paramedic").to_lowercase());
    assert_eq!((&used["openings"], &used["patients"]), (&json!(2), &json!(1)));
    assert_eq!((&used["repeated"], &used["overdue"]), (&json!(true), &json!(0)));
}
