//! Gateways as clients meet them: started by `salus up` and by themselves, asked, measured, stopped.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{Arc, LazyLock},
};

use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing, ServerHandle, ServerLimits};
use serde_json::{Value, json};
use support::{Answer, Serving, bad, configure, copy, fhir, gateway, get, good, send};

/// One directory that was set up once; each test works on a copy of its own.
fn set_up() -> tempfile::TempDir {
    static TEMPLATE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        Serving::up(&dir.path().join("data")).stop();
        dir
    });
    let dir = tempfile::tempdir().unwrap();
    copy(&TEMPLATE.path().join("data"), dir.path());
    dir
}

/// The account of a patient, as `salus who` lists it.
fn account(data: &Path, patient: &str) -> String {
    let listed = good(data, &["who"]);
    let line = listed.lines().find(|line| line.contains(patient)).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

fn patient(account: &str, name: &str) -> String {
    json!({
        "resourceType": "Patient",
        "identifier": [{ "system": "urn:salus:account", "value": account }],
        "name": [{ "family": name }],
    })
    .to_string()
}

fn observation(patient: &str, text: &str) -> String {
    json!({
        "resourceType": "Observation",
        "status": "final",
        "code": { "text": text },
        "subject": { "reference": format!("Patient/{patient}") },
    })
    .to_string()
}

#[test]
fn up_serves_a_gateway_for_each_institution() {
    let dir = set_up();
    let data = dir.path().join("data");
    assert!(bad(&data, &["token", "physician"]).contains("salus up"));
    let mut command = support::salus(&data);
    command.args(["up", "--no-story", "--rpc", "127.0.0.1:0", "--fhir-port-base", "0"]);
    command.env("SALUS_LOG", "debug");
    let serving = Serving::start(command);
    let hospital = serving.address("hospital");
    let pharmacy = serving.address("pharmacy");
    assert_ne!(hospital, pharmacy);

    // What everybody may know.
    assert_eq!(get(&hospital, "/fhir/metadata").json()["resourceType"], "CapabilityStatement");
    for path in ["/.well-known/smart-configuration", "/fhir/.well-known/smart-configuration"] {
        let document = get(&hospital, path).json();
        let endpoint = document["token_endpoint"].as_str().unwrap();
        assert_eq!(endpoint, format!("http://{hospital}/auth/token"), "{path}");
    }
    assert!(get(&hospital, "/auth").body.contains("Development issuer"));
    assert_eq!(get(&hospital, "/planted-path").status, 404);

    // Nobody else gets in without a token for this very gateway.
    let refused = get(&hospital, "/fhir/Patient?name=planted-query");
    assert_eq!(
        (refused.status, &refused.json()["resourceType"]),
        (401, &"OperationOutcome".into())
    );
    assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    assert_eq!(fhir(&hospital, "GET", "Patient/1", "planted-token", "").status, 401);
    let token = |who: &str| good(&data, &["token", who]).trim().to_owned();
    let physician = token("physician");
    assert_eq!(fhir(&pharmacy, "GET", "Patient/1", &physician, "").status, 401);
    assert!(bad(&data, &["token", "nobody"]).contains("salus who"));
    assert!(bad(&data, &["token", "physician", "--at", "nowhere"]).contains("salus who"));

    // A record, from the physician to the patient and to nobody else.
    let account = account(&data, "P001");
    // Whose records were imported is cared for by nobody yet.
    for patient in ["P001", "P002"] {
        good(&data, &["care", "join", patient, "physician"]);
    }
    let made = fhir(&hospital, "POST", "Patient", &physician, &patient(&account, "Planted-Name"));
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let body = observation(&id, "planted-finding");
    let made = fhir(&hospital, "POST", "Observation", &physician, &body);
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("Observation/{}", made.json()["id"].as_str().unwrap());
    let read = |who: &str| fhir(&hospital, "GET", &path, &token(who), "").status;
    assert_eq!(read("physician"), 200);
    assert_eq!(read("p001"), 200);
    assert_eq!(read("P002"), 404);
    assert_eq!(read("consultant"), 404);
    // Whose account it is not, or who has no relationship, is nobody here.
    let stranger = patient(&format!("0x{}", "11".repeat(20)), "Planted-Stranger");
    assert_eq!(fhir(&hospital, "POST", "Patient", &physician, &stranger).status, 422);
    // A number is nobody's name here: trying them by writing tells nothing.
    let numbered = include_str!("../demo/patient-2.json");
    let numbered: Value = serde_json::from_str(numbered).unwrap();
    let entries = numbered["entry"].as_array().unwrap();
    let mut person = entries.iter().map(|entry| &entry["resource"]);
    let person = person.find(|resource| resource["resourceType"] == "Patient").unwrap();
    let mut person = person.clone();
    person.as_object_mut().unwrap().remove("id");
    let made = fhir(&hospital, "POST", "Patient", &physician, &person.to_string());
    assert_eq!(made.status, 422, "{made:?}");

    // Why somebody asks must be one of the reasons that there are.
    let bearer = format!("Bearer {physician}");
    let asked = |purpose: &str| {
        let headers = [("authorization", &*bearer), ("x-purpose-of-use", purpose)];
        send(&hospital, "GET", &format!("/fhir/{path}"), &headers, "").status
    };
    assert_eq!((asked("TREAT"), asked("planted-purpose")), (200, 400));
    assert_eq!(asked("HRESCH"), 403);

    // Too long a body is refused before it is read.
    let headers = [("authorization", &*bearer), ("content-length", "99999999999")];
    let refused = send(&hospital, "POST", "/fhir/Patient", &headers, "");
    assert_eq!(
        (refused.status, &refused.json()["resourceType"]),
        (413, &"OperationOutcome".into())
    );

    let figures = get(&hospital, "/metrics");
    assert!(figures.head.contains("text/plain; version=0.0.4"), "{}", figures.head);
    for line in [
        "salus_http_requests_total{gateway=\"hospital\",method=\"POST\",route=\"/fhir/{type}\",status=\"201\"} 2",
        "salus_http_requests_total{gateway=\"pharmacy\"",
        "salus_http_request_duration_seconds_bucket{gateway=\"hospital\",method=\"GET\",route=\"/fhir/{type}/{id}\",le=\"0.001\"}",
        "salus_refused_reads_total{gateway=\"hospital\"} ",
        "salus_receipts_total{gateway=\"hospital\"} ",
        "salus_records{gateway=\"hospital\"} ",
        "salus_chain_head{gateway=\"hospital\"} ",
        "salus_chain_head_age_seconds{gateway=\"hospital\"} ",
        "salus_projection_block{gateway=\"hospital\"} ",
    ] {
        assert!(figures.body.contains(line), "{line}\n{}", figures.body);
    }
    let refusals = figures
        .body
        .lines()
        .find(|line| line.starts_with("salus_refused_reads_total{gateway=\"hospital\"}"));
    assert!(refusals.unwrap().rsplit(' ').next().unwrap().parse::<u32>().unwrap() >= 3);

    // S1: nothing of anybody is in a log or a figure, at the most talkative level.
    let log = serving.stop().to_lowercase();
    assert!(log.contains("\"route\":\"/fhir/{type}/{id}\""), "{log}");
    let account = account.to_lowercase();
    for word in ["planted", &*account, &*id, &*physician.to_lowercase(), "ssn", "us-ssn"] {
        assert!(!log.contains(word), "{word} is logged: {log}");
        assert!(!figures.body.to_lowercase().contains(word), "{word}: {}", figures.body);
    }
    assert!(good(&data, &["reconcile"]).contains("nothing differs"));
}

const BODY: &str = "grant_type=none";

/// A request that the gateway is working at, because its body, [`BODY`], has not come yet.
fn half_sent(address: &str) -> TcpStream {
    let head = format!(
        "POST /auth/token HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn a_gateway_alone_serves_its_institution_and_stops_gracefully() {
    let dir = set_up();
    configure(dir.path(), "hospital", "[limits]\nrequests = 1\nrequest_timeout_s = 3");
    let serving = Serving::start(gateway(dir.path()));
    let address = serving.address("127.0.0.1");
    assert_eq!(get(&address, "/healthz").json(), json!({ "alive": true }));
    let ready = get(&address, "/readyz");
    assert_eq!(ready.status, 200, "{ready:?}");
    for part in ["database", "chain", "projection", "member"] {
        assert_eq!(ready.json()[part]["ok"], true, "{ready:?}");
    }
    // One process at a time.
    let second = gateway(dir.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(support::text(&second.stderr).contains("another process"));

    // While one request is in work, which is all that there may be here, others are sent away.
    let mut first = half_sent(&address);
    let refused = get(&address, "/fhir/metadata");
    assert_eq!(
        (refused.status, &refused.json()["resourceType"]),
        (503, &"OperationOutcome".into())
    );
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(get(&address, "/readyz").status, 200);
    first.write_all(BODY.as_bytes()).unwrap();
    let mut status = [0; 12];
    first.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 400");
    drop(first);
    // One that takes too long is told so, and makes room.
    let late = Answer::read(&mut half_sent(&address));
    assert_eq!((late.status, &late.json()["error"].is_string()), (504, &true));
    while get(&address, "/fhir/metadata").status == 503 {
        std::thread::yield_now();
    }

    // A request that is being sent when the gateway is told to stop is answered all the same.
    let mut stream = half_sent(&address);
    serving.ask_to_stop();
    // The listener is closed first: whoever comes now is not let in.
    while TcpStream::connect(&address).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(BODY.as_bytes()).unwrap();
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.status, &answer.json()["error"]), (400, &"unsupported_grant_type".into()));

    let log = serving.wait();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let noted = |route: &str, status: u64| {
        lines.iter().any(|line| {
            let fields = &line["fields"];
            fields["route"] == route && fields["status"] == status && fields["duration_ms"].is_u64()
        })
    };
    assert!(noted("/healthz", 200) && noted("/readyz", 200) && noted("/auth/token", 400), "{log}");
    assert!(dir.path().join("data/hospital/projection").exists());
}

#[test]
fn dawdlers_are_cut_off_and_others_wait_for_their_place() {
    let dir = set_up();
    configure(dir.path(), "pharmacy", "[limits]\nconnections = 1\nheader_timeout_s = 1");
    let serving = Serving::start(gateway(dir.path()));
    let address = serving.address("127.0.0.1");
    let mut dawdler = TcpStream::connect(&address).unwrap();
    dawdler.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").unwrap();
    // There is one place, which is free once the first was cut off.
    assert_eq!(get(&address, "/healthz").status, 200);
    let mut rest = Vec::new();
    let _ = dawdler.read_to_end(&mut rest);
    assert!(!support::text(&rest).contains("200"), "{}", support::text(&rest));
}

/// The chain of a consortium's directory, behind JSON-RPC.
struct ServedChain {
    chain: Chain,
    server: Option<ServerHandle>,
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl ServedChain {
    fn start(data: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let dir = data.join("chain");
        let genesis = Genesis::of_chain_in(&dir).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let chain = Chain::open(ChainConfig::new(dir, genesis, Arc::new(move || time))).unwrap();
        let server = runtime.block_on(async {
            chain.run_solo(Sealing::Instant);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            Rpc::new(chain.clone()).serve(listener, ServerLimits::default()).unwrap()
        });
        let url = format!("http://{}", server.address());
        Self { chain, server: Some(server), runtime, url }
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

impl Drop for ServedChain {
    fn drop(&mut self) {
        self.stop();
        self.chain.close();
        let _ = &self.runtime;
    }
}

#[test]
fn a_gateway_works_over_rpc_and_is_not_ready_without_it() {
    let dir = set_up();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::DirBuilder::new().create(&data).unwrap();
    assert!(std::process::Command::new("chmod").arg("700").arg(&data).status().unwrap().success());
    for name in ["laboratory", "passphrase"] {
        copy(&dir.path().join("data").join(name), &data);
    }
    let contracts = dir.path().join("data/deployments/72587.json");
    let contracts: Value = serde_json::from_slice(&std::fs::read(contracts).unwrap()).unwrap();
    let mut chain = ServedChain::start(&dir.path().join("data"));
    let ledger =
        |registry: &Value| format!("[ledger]\nrpc = \"{}\"\nregistry = {registry}", chain.url);

    // Some other contract is no registry.
    configure(home.path(), "laboratory", &ledger(&contracts["Records"]));
    let wrong = gateway(home.path()).output().unwrap();
    let told = support::text(&wrong.stderr);
    assert!(told.contains("is no registry"), "{told}");

    configure(home.path(), "laboratory", &ledger(&contracts["Registry"]));
    let serving = Serving::start(gateway(home.path()));
    let address = serving.address("127.0.0.1");
    let ready = get(&address, "/readyz");
    assert_eq!(ready.status, 200, "{ready:?}");
    chain.stop();
    let state = loop {
        let answer = get(&address, "/readyz");
        if answer.status == 503 {
            break answer.json();
        }
        std::thread::yield_now();
    };
    assert_eq!((&state["ready"], &state["database"]["ok"]), (&json!(false), &json!(true)));
    assert_eq!(state["chain"]["ok"], false, "{state}");
    // It is alive, and stops without the chain.
    assert_eq!(get(&address, "/healthz").status, 200);
    let log = serving.stop();
    assert!(log.contains("the access log waits"), "{log}");
}
