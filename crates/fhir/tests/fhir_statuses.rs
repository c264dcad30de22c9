//! Documents of workflows over FHIR: the status is the contract's, whichever way one asks, and the sealed
//! text stays what it was.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use common::{
    Fhir,
    consortium::{DAY, HOUR, address, secret},
};
use domain::{
    Anchor, B256, InstitutionRole, Kind, KindSet, Period, ProfessionalRole, Purpose, PurposeSet,
    Reader,
};
use fhir::WorkflowCatalogue;
use gatekeeper::Entropy;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use workflows::{
    Gateway, PatientActor, Person,
    claim::{self, Cents},
    consent,
    device::{self, Described, Machine, Model},
    laboratory,
    prescription::{self, Known, Order, Product},
    record::{self, Verdict},
    surgery::{self, Phase},
    trial::{self, Agreement, Criterion, Endpoint, Nonce, Protocol, Rank},
    waiting_list,
};

/// A hospital with a patient, whose gateway enters in the catalogue what it seals.
struct Scene {
    fhir: Fhir,
    hospital: Gateway,
    anna: PatientActor,
}

/// A document at an institution, and as whom it is asked for.
struct Watched<'a> {
    router: &'a Router,
    reader: &'a str,
    /// Type and id.
    name: String,
}

/// A gateway that enters in its catalogue what it seals.
async fn catalogued(gateway: &Gateway) -> Gateway {
    let database = gateway.gatekeeper.vault().database();
    let catalogue = WorkflowCatalogue::open(database, secret("index").0).await.unwrap();
    let entropy = Entropy::from_seed(secret(&format!("catalogue of {}", gateway.name)).0);
    let catalogue = catalogue.with_directory(secret("directory").0, entropy);
    Gateway { catalogue: Some(Arc::new(catalogue)), ..gateway.clone() }
}

async fn get(router: &Router, reader: &str, path: &str) -> (u16, Value) {
    let request =
        Request::builder().uri(path).header(header::AUTHORIZATION, format!("Bearer {reader}"));
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

impl Watched<'_> {
    async fn get(&self, path: &str) -> Value {
        let (status, value) = get(self.router, self.reader, path).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// What a search finds, by name.
    async fn found(&self, query: &str) -> Vec<String> {
        let (resource_type, id) = self.name.split_once('/').unwrap();
        let found = self.get(&format!("/{resource_type}?_id={id}&{query}")).await;
        let entries = found["entry"].as_array().cloned().unwrap_or_default();
        let name = |entry: &Value| {
            let resource = &entry["resource"];
            let text = |name: &str| resource[name].as_str().unwrap().to_owned();
            format!("{}/{}", text("resourceType"), text("id"))
        };
        entries.iter().map(name).collect()
    }

    /// The document had these statuses, the first as it was sealed and the last now: by read, by version, in
    /// its history and in searches.
    async fn had(&self, statuses: &[&str]) {
        let Self { name, .. } = self;
        let now = self.get(&format!("/{name}")).await;
        let history = self.get(&format!("/{name}/_history")).await;
        let entries = history["entry"].as_array().cloned().unwrap_or_default();
        let versions: Vec<Value> =
            entries.iter().rev().map(|entry| entry["resource"].clone()).collect();
        let said: Vec<&str> = versions.iter().map(|one| one["status"].as_str().unwrap()).collect();
        assert_eq!(said, statuses, "{name}");
        assert_eq!(history["total"], statuses.len(), "{name}");
        assert_eq!(now, *versions.last().unwrap(), "{name}");
        for (index, version) in versions.iter().enumerate() {
            let id = if index == 0 { "1".to_owned() } else { format!("1.{index}") };
            assert_eq!(version["meta"]["versionId"], id, "{name}");
            assert_eq!(self.get(&format!("/{name}/_history/{id}")).await, *version);
            let source = &version["meta"]["tag"][0]["code"];
            assert_eq!(source.is_null(), index == 0, "{name} {id}: {source}");
            if source == "contract" {
                let parts = &version["meta"]["extension"][0]["extension"];
                assert_eq!(parts[1]["valueString"].as_str().unwrap().len(), 66, "{parts}");
            }
        }
        let (last, before) = statuses.split_last().unwrap();
        assert_eq!(self.found(&format!("status={last}")).await, std::slice::from_ref(name));
        for other in before.iter().filter(|other| *other != last) {
            assert!(self.found(&format!("status={other}")).await.is_empty(), "{name} {other}");
            assert_eq!(
                self.found(&format!("status:not={other}")).await,
                std::slice::from_ref(name)
            );
        }
        let beyond = format!("/{name}/_history/1.{}", statuses.len());
        assert_eq!(get(self.router, self.reader, &beyond).await.0, 404);
        assert!(r4::validate(&now).iter().all(|issue| issue.severity != r4::Severity::Error));
    }
}

impl Scene {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let (anna, _) = fhir.patient("anna").await;
        let hospital = catalogued(fhir.world.gateway("hospital")).await;
        for steward in ["pharmacy", "laboratory"] {
            fhir.world.relate(steward, &anna, false).await;
        }
        Self { fhir, hospital, anna }
    }

    /// A document of the hospital's, as its physician sees it.
    fn of(&self, resource_type: &str, record: B256) -> Watched<'_> {
        let name = format!("{resource_type}/{record:x}");
        Watched { router: &self.fhir.router, reader: "physician", name }
    }

    /// One that doctors do not read, as the patient sees it once they have accepted it.
    async fn accepted(&self, at: &Gateway, resource_type: &str, of: &Anchor) -> Watched<'_> {
        let now = self.fhir.world.now();
        record::answer(at, &self.anna, of, Verdict::Accept, now).await.unwrap();
        Watched { reader: "patient:anna", ..self.of(resource_type, of.record.0) }
    }

    fn physician(&self) -> &Person {
        self.fhir.world.person("physician")
    }

    async fn issue(&self, fills: u8, controlled: bool) -> Anchor {
        let (now, physician) = (self.fhir.world.now(), self.physician());
        let order = Order {
            medication: (String::new(), String::new(), "lisinopril 10 MG".into()),
            dosage: "one a day".into(),
            dose: None,
            quantity: 30,
            fills,
            valid_for: 30 * DAY,
            controlled,
            as_written: false,
        };
        let account = self.anna.account();
        let known = Known::read(&self.hospital, physician.member, account, now).await.unwrap();
        let checked = prescription::check(&order, &known, Some("it was weighed")).unwrap();
        let issued = prescription::issue(&self.hospital, physician, &self.anna, &checked, now);
        issued.await.unwrap().0
    }

    /// The pharmacy hands out one fill.
    async fn fill(&self, prescribed: &Anchor) {
        let world = &self.fhir.world;
        let (pharmacy, pharmacist) = (world.gateway("pharmacy"), world.person("pharmacist"));
        let (id, now) = (prescribed.record.0, world.now());
        let (hospital, member) = (&self.hospital, pharmacy.member());
        let physician = self.physician();
        prescription::permit_by_prescriber(hospital, physician, id, member).await.unwrap();
        let permit = prescription::permit_by_patient(hospital, &self.anna, prescribed, member, now);
        permit.await.unwrap();
        prescription::claim(pharmacy, pharmacist, id).await.unwrap();
        let product = Product { quantity: 30, batch: "B-1".into(), expires: now.after(400 * DAY) };
        let dispensed = prescription::dispense(pharmacy, pharmacist, &self.anna, id, &product, now);
        dispensed.await.unwrap();
    }

    async fn order_test(&self) -> B256 {
        let (now, laboratory) = (self.fhir.world.now(), address("laboratory"));
        let code = json!({ "coding": [{ "system": "http://loinc.org", "code": "600-7" }] });
        let ordered =
            laboratory::order(&self.hospital, self.physician(), &self.anna, laboratory, &code, now);
        ordered.await.unwrap().0.record.0
    }

    async fn refer(&self) -> B256 {
        let (hospital, now) = (&self.hospital, self.fhir.world.now());
        let referral = waiting_list::Referral::new(hospital, "Cardiology", "palpitations");
        let (physician, place) = (self.physician(), hospital.member());
        let referred = waiting_list::refer(hospital, physician, &self.anna, place, &referral, now);
        let id = referred.await.unwrap().0.record.0;
        waiting_list::prioritise(hospital, physician, id, 2).await.unwrap();
        id
    }

    /// An appointment in an hour.
    async fn schedule(&self, id: B256) -> B256 {
        let now = self.fhir.world.now();
        let (hospital, physician, at) = (&self.hospital, self.physician(), now.after(HOUR));
        let scheduled = waiting_list::schedule(hospital, physician, &self.anna, id, at, now);
        scheduled.await.unwrap().0.record.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prescription_stands_as_its_contract_says() {
    let scene = Scene::found().await;
    let (hospital, physician) = (&scene.hospital, scene.physician());
    let of = |anchor: &Anchor| scene.of("MedicationRequest", anchor.record.0);
    let dispensed = scene.issue(1, false).await;
    of(&dispensed).had(&["active"]).await;
    scene.fill(&dispensed).await;
    of(&dispensed).had(&["active", "completed"]).await;

    let cancelled = scene.issue(1, false).await;
    prescription::cancel(hospital, physician, cancelled.record.0).await.unwrap();
    of(&cancelled).had(&["active", "cancelled"]).await;

    // What was handed out before cannot be undone.
    let stopped = scene.issue(2, false).await;
    scene.fill(&stopped).await;
    of(&stopped).had(&["active"]).await;
    prescription::cancel(hospital, physician, stopped.record.0).await.unwrap();
    of(&stopped).had(&["active", "stopped"]).await;

    let controlled = scene.issue(1, true).await;
    of(&controlled).had(&["active", "draft"]).await;
    let world = &scene.fhir.world;
    let surgeon = world.engage("surgeon", "hospital", ProfessionalRole::Surgeon).await;
    prescription::countersign(hospital, &surgeon, controlled.record.0).await.unwrap();
    of(&controlled).had(&["active", "draft", "active"]).await;

    // Time alone ends it, to the second, and ends nothing that has ended.
    scene.fhir.advance(30 * DAY - std::time::Duration::from_secs(1));
    of(&controlled).had(&["active", "draft", "active"]).await;
    scene.fhir.advance(std::time::Duration::from_secs(1));
    let over = of(&controlled);
    over.had(&["active", "draft", "active", "stopped"]).await;
    assert_eq!(over.get(&format!("/{}", over.name)).await["meta"]["tag"][0]["code"], "clock");
    of(&dispensed).had(&["active", "completed"]).await;
    of(&cancelled).had(&["active", "cancelled"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sealed_version_is_the_one_that_the_chain_has() {
    let scene = Scene::found().await;
    let id = scene.order_test().await;
    laboratory::cancel(&scene.hospital, scene.physician(), id).await.unwrap();
    let order = scene.of("ServiceRequest", id);
    order.had(&["active", "revoked"]).await;
    // What the vault opens is the text of version 1, and its digest the contract's.
    let keeper = &scene.hospital.gatekeeper;
    let versions = keeper.vault().versions_of(&[domain::RecordId(id)]).await.unwrap();
    let [sealed] = versions.as_slice() else { panic!("{versions:?}") };
    keeper.refresh(scene.fhir.world.now()).await.unwrap();
    let projection = keeper.projection().await;
    assert_eq!(projection.workflows.lab_order(&id).unwrap().digest, sealed.digest);
    drop(projection);
    // There is one Provenance: nobody made anything else.
    let target = format!("/Provenance?target={}", order.name);
    let found = scene.fhir.get("physician", &target).await.expect(200);
    assert_eq!(found.json()["entry"].as_array().unwrap().len(), 1);
    let along = format!("/ServiceRequest?_id={id:x}&_revinclude=Provenance:target");
    let along = scene.fhir.get("physician", &along).await.expect(200);
    assert_eq!(along.names().len(), 2, "{}", along.text);
    // A client that has the sealed version is given the newer one, and one that has that one nothing.
    let path = format!("/{}", order.name);
    for (tag, expected) in [("W/\"1\"", 200), ("W/\"1.1\"", 304)] {
        let headers = [("if-none-match", tag)];
        let get = axum::http::Method::GET;
        let answer = scene.fhir.send("physician", get, &path, &headers, String::new()).await;
        assert_eq!(answer.status.as_u16(), expected);
        assert_eq!(answer.header("etag"), "W/\"1.1\"");
    }
    // Nobody writes what a contract says.
    let body = scene.fhir.get("physician", &path).await.json();
    scene.fhir.put("physician", &path, &body).await.expect(403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_what_is_new_and_whoever_exports_gets_it() {
    let scene = Scene::found().await;
    let fhir = &scene.fhir;
    let id = scene.order_test().await;
    let order = scene.of("ServiceRequest", id);
    order.had(&["active"]).await;
    let begun = [("prefer", "respond-async")];
    let (get, path) = (axum::http::Method::GET, "/$export?_type=ServiceRequest");
    let job = fhir.send("physician", get, path, &begun, String::new()).await.expect(202);
    let job = job.header("content-location").replace(common::BASE, "");
    let manifest = loop {
        let answer = fhir.get("physician", &job).await;
        if answer.status != 202 {
            break answer.expect(200).json();
        }
        tokio::task::yield_now().await;
    };
    // The first is not new any more; what the contract says of it is.
    fhir.advance(HOUR);
    let since = fhir.world.now().to_string();
    let new = format!("/ServiceRequest?_lastUpdated=ge{since}");
    assert_eq!(fhir.get("physician", &new).await.expect(200).json()["total"], 0);
    laboratory::cancel(&scene.hospital, scene.physician(), id).await.unwrap();
    let found = fhir.get("physician", &new).await.expect(200).json();
    assert_eq!(found["entry"][0]["resource"]["status"], "revoked");
    let history = format!("/ServiceRequest/_history?_since={since}");
    let history = fhir.get("physician", &history).await.expect(200).json();
    assert_eq!(history["total"], 1);
    assert_eq!(history["entry"][0]["resource"]["meta"]["versionId"], "1.1");
    assert_eq!(history["entry"][0]["request"]["method"], "PUT");
    let everything = format!("/Patient/{}/$everything?_type=ServiceRequest", scene.anna.account());
    let everything = fhir.get("physician", &everything).await.expect(200).json();
    assert_eq!(everything["entry"][0]["resource"]["status"], "revoked");
    // A file that was listed before is given out as it stands when it is fetched.
    let file = manifest["output"][0]["url"].as_str().unwrap().replace(common::BASE, "");
    let lines = fhir.get("physician", &file).await.expect(200).text;
    let line: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&line["status"], &line["meta"]["versionId"]), (&json!("revoked"), &json!("1.1")));
    // One page of a history goes on with the next, and the sealed version is opened once for both.
    let paged = format!("/ServiceRequest/{id:x}/_history?_count=1");
    let first = fhir.get("physician", &paged).await.expect(200).json();
    assert_eq!(first["entry"][0]["resource"]["meta"]["versionId"], "1.1");
    let links = first["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next").unwrap();
    let next = next["url"].as_str().unwrap().replace(common::BASE, "");
    let second = fhir.get("physician", &next).await.expect(200).json();
    assert_eq!(second["entry"].as_array().unwrap().len(), 1);
    assert_eq!(second["entry"][0]["resource"]["meta"]["versionId"], "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_read_learns_no_status() {
    let scene = Scene::found().await;
    let id = scene.order_test().await;
    laboratory::cancel(&scene.hospital, scene.physician(), id).await.unwrap();
    scene.of("ServiceRequest", id).had(&["active", "revoked"]).await;
    let stranger =
        Reader::Institution { member: address("other-pharmacy"), role: InstitutionRole::Pharmacy };
    scene.fhir.admit("stranger", stranger, Purpose::Treatment);
    for path in ["", "/_history", "/_history/1", "/_history/1.1", "/_history/1.2"] {
        scene.fhir.get("stranger", &format!("/ServiceRequest/{id:x}{path}")).await.expect(404);
    }
    for query in ["status=revoked", "_tag=contract"] {
        let found = scene.fhir.get("stranger", &format!("/ServiceRequest?{query}")).await;
        assert_eq!(found.expect(200).json()["total"], 0, "{query}");
        let found = scene.fhir.get("physician", &format!("/ServiceRequest?{query}")).await;
        assert_eq!(found.expect(200).json()["total"], 1, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_a_test_stands_as_its_contract_says() {
    let scene = Scene::found().await;
    let world = &scene.fhir.world;
    let (laboratory, scientist) = (world.gateway("laboratory"), world.person("scientist"));
    let id = scene.order_test().await;
    let order = scene.of("ServiceRequest", id);
    order.had(&["active"]).await;
    laboratory::collect(laboratory, scientist, id, B256::repeat_byte(1)).await.unwrap();
    order.had(&["active"]).await;
    let result = json!({
        "code": { "coding": [{ "system": "http://loinc.org", "code": "600-7" }] },
        "valueString": "none",
    });
    let now = world.now();
    let reported = laboratory::report(laboratory, scientist, &scene.anna, id, &result, false, now);
    reported.await.unwrap();
    order.had(&["active", "completed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_and_its_appointments_stand_as_the_contract_says() {
    let scene = Scene::found().await;
    let (hospital, physician) = (&scene.hospital, scene.physician());
    let id = scene.refer().await;
    let referral = scene.of("ServiceRequest", id);
    let first = scene.schedule(id).await;
    scene.of("Appointment", first).had(&["booked"]).await;
    scene.fhir.advance(HOUR / 2);
    let second = scene.schedule(id).await;
    scene.of("Appointment", first).had(&["booked", "cancelled"]).await;
    scene.of("Appointment", second).had(&["booked"]).await;
    scene.fhir.advance(2 * HOUR);
    waiting_list::miss(hospital, physician, id).await.unwrap();
    scene.of("Appointment", second).had(&["booked", "noshow"]).await;
    referral.had(&["active"]).await;
    let third = scene.schedule(id).await;
    scene.fhir.advance(2 * HOUR);
    waiting_list::attend(hospital, physician, id).await.unwrap();
    scene.of("Appointment", third).had(&["booked", "fulfilled"]).await;
    scene.of("Appointment", second).had(&["booked", "noshow"]).await;
    referral.had(&["active", "completed"]).await;

    let removed = scene.refer().await;
    let appointment = scene.schedule(removed).await;
    let now = scene.fhir.world.now();
    let reason = "no longer needed";
    waiting_list::remove(hospital, physician, &scene.anna, removed, reason, now).await.unwrap();
    scene.of("ServiceRequest", removed).had(&["active", "revoked"]).await;
    scene.of("Appointment", appointment).had(&["booked", "cancelled"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_the_interface_was_down_is_caught_up() {
    let scene = Scene::found().await;
    let (hospital, physician) = (&scene.hospital, scene.physician());
    let order = scene.order_test().await;
    scene.of("ServiceRequest", order).had(&["active"]).await;
    // The interface is down: nobody follows while all this happens.
    let listing = scene.refer().await;
    let first = scene.schedule(listing).await;
    scene.fhir.advance(2 * HOUR);
    waiting_list::miss(hospital, physician, listing).await.unwrap();
    scene.fhir.advance(HOUR);
    let second = scene.schedule(listing).await;
    laboratory::cancel(hospital, physician, order).await.unwrap();
    let prescribed = scene.issue(1, false).await;
    prescription::cancel(hospital, physician, prescribed.record.0).await.unwrap();

    let (resources, router) = scene.fhir.interface_of(hospital).await;
    resources.keep_up().await.unwrap();
    let of = |resource_type: &str, record: B256| Watched {
        router: &router,
        reader: "physician",
        name: format!("{resource_type}/{record:x}"),
    };
    let all = [
        (of("ServiceRequest", order), vec!["active", "revoked"]),
        (of("Appointment", first), vec!["booked", "noshow"]),
        (of("Appointment", second), vec!["booked"]),
        (of("MedicationRequest", prescribed.record.0), vec!["active", "cancelled"]),
    ];
    for (document, statuses) in &all {
        document.had(statuses).await;
    }
    // Another start does none of it again.
    let (resources, _) = scene.fhir.interface_of(hospital).await;
    resources.keep_up().await.unwrap();
    for (document, statuses) in &all {
        document.had(statuses).await;
    }
    // One that never followed, such as after an upgrade, comes to the same.
    let database = hospital.gatekeeper.vault().database();
    let mut transaction = database.begin().await.unwrap();
    sqlx::query("delete from fhir_statuses_cursor").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let (resources, _) = scene.fhir.interface_of(hospital).await;
    resources.keep_up().await.unwrap();
    for (document, statuses) in &all {
        document.had(statuses).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_stands_as_its_contract_says() {
    let scene = Scene::found().await;
    let world = &scene.fhir.world;
    let (hospital, anna) = (&scene.hospital, &scene.anna);
    let surgeon = world.engage("surgeon", "hospital", ProfessionalRole::Surgeon).await;
    let (physician, nurse, now) = (world.person("physician"), world.person("nurse"), world.now());
    for person in [&surgeon, nurse] {
        let joining = hospital.gatekeeper.join_care_team(anna.account(), person.member, now);
        joining.await.unwrap();
    }
    let referral = surgery::Referral {
        operation: "total replacement of the left hip".into(),
        reason: "osteoarthritis".into(),
    };
    let plan = surgery::Plan {
        operation: referral.operation.clone(),
        site: "left hip".into(),
        disclosed: "infection".into(),
    };
    let refer = async || {
        let place = hospital.member();
        let referred = surgery::refer(hospital, physician, anna, place, &referral, now).await;
        referred.unwrap().0.record.0
    };
    let assess =
        async |id: B256| surgery::assess(hospital, &surgeon, anna, id, &plan, now).await.unwrap().0;
    let id = refer().await;
    let replaced = assess(id).await;
    let planned = assess(id).await;
    scene.of("Procedure", replaced.record.0).had(&["preparation", "not-done"]).await;
    // A consent that is taken back is in force no more.
    let (form, _) = surgery::consent(hospital, &surgeon, anna, id, &planned, now).await.unwrap();
    let form = scene.accepted(hospital, "Consent", &form).await;
    form.had(&["active"]).await;
    surgery::withdraw_consent(hospital, anna, id, now).await.unwrap();
    form.had(&["active", "inactive"]).await;
    let (again, _) = surgery::consent(hospital, &surgeon, anna, id, &planned, now).await.unwrap();
    scene.accepted(hospital, "Consent", &again).await.had(&["active"]).await;
    form.had(&["active", "inactive"]).await;

    let team = surgery::Team {
        surgeon: surgeon.member,
        anaesthetist: physician.member,
        nurse: nurse.member,
    };
    let at = now.after(HOUR);
    surgery::schedule(hospital, nurse, id, &team, at, "theatre 2").await.unwrap();
    let answers = |phase: Phase| -> Vec<surgery::Answer<'static>> {
        let answer = |key| if ["airway", "blood-loss"].contains(&key) { "no" } else { "yes" };
        phase.items().iter().map(|item| (item.key, answer(item.key))).collect()
    };
    let sign = async |person: &Person, phase: Phase, digest: B256| {
        let signing = surgery::Signing { phase, digest, anew: false };
        surgery::sign(hospital, person, anna, id, &signing, now).await.unwrap();
    };
    for (phase, others) in [(Phase::SignIn, vec![nurse]), (Phase::TimeOut, vec![nurse, &surgeon])] {
        let given = answers(phase);
        let filled_in = surgery::FilledIn { phase, answers: &given, urgent: None, anew: false };
        let filled = surgery::fill_in(hospital, physician, anna, id, &filled_in, now).await;
        let digest = filled.unwrap().digest;
        for person in others {
            sign(person, phase, digest).await;
        }
    }
    let procedure = scene.of("Procedure", planned.record.0);
    procedure.had(&["preparation"]).await;
    surgery::incise(hospital, &surgeon, id, now).await.unwrap();
    procedure.had(&["preparation", "in-progress"]).await;
    let given = answers(Phase::SignOut);
    let report = surgery::Report { performed: "hip replaced", answers: &given, anew: false };
    let report = surgery::report(hospital, &surgeon, anna, id, &report, now).await.unwrap();
    for person in [physician, nurse] {
        procedure.had(&["preparation", "in-progress"]).await;
        sign(person, Phase::SignOut, report.digest).await;
    }
    procedure.had(&["preparation", "in-progress", "completed"]).await;
    scene.of("ServiceRequest", id).had(&["active", "completed"]).await;

    let id = refer().await;
    let planned = assess(id).await;
    surgery::cancel(hospital, &surgeon, anna, id, "unfit", now).await.unwrap();
    scene.of("Procedure", planned.record.0).had(&["preparation", "not-done"]).await;
    scene.of("ServiceRequest", id).had(&["active", "revoked"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_and_its_subjects_stand_as_the_contract_says() {
    use ProfessionalRole::{Auditor, Researcher};
    let scene = Scene::found().await;
    let world = &scene.fhir.world;
    let (site, physician, anna) = (&scene.hospital, scene.physician(), &scene.anna);
    let institute = catalogued(&world.admit("institute", InstitutionRole::Research).await).await;
    let regulator = world.admit("regulator", InstitutionRole::Regulator).await;
    let researcher = world.engage("researcher", "institute", Researcher).await;
    let auditor = world.engage("auditor", "regulator", Auditor).await;
    let now = world.now();
    let member = institute.member();
    let reader =
        Reader::Professional { member: researcher.member, role: Researcher, institution: member };
    scene.fhir.admit("researcher", reader, Purpose::Research);
    let (_, sponsor) = scene.fhir.interface_of(&institute).await;
    let protocol = Protocol {
        title: "Drug A against placebo".into(),
        description: "one tablet a day".into(),
        arms: vec!["drug A".into(), "placebo".into()],
        endpoints: vec![Endpoint { name: "death".into(), rank: Rank::Primary }],
        criteria: vec![Criterion {
            key: "adult".into(),
            text: "18 or older".into(),
            excludes: false,
        }],
    };
    let registered = trial::register(&institute, &researcher, &protocol, None).await;
    let dossier = registered.unwrap().0;
    let id = dossier.trial;
    let at_sponsor =
        Watched { router: &sponsor, reader: "researcher", name: format!("ResearchStudy/{id:x}") };
    at_sponsor.had(&["in-review"]).await;
    trial::approve(&regulator, &auditor, &dossier, None).await.unwrap();
    at_sponsor.had(&["in-review", "active"]).await;
    trial::invite(&institute, &researcher, id, site.member()).await.unwrap();
    trial::join(site, id).await.unwrap();
    scene.fhir.get("physician", &format!("/ResearchStudy/{id:x}")).await.expect(404);

    let enrol = async |patient: &PatientActor| {
        let nonce = Nonce::make(site.gatekeeper.entropy());
        let agreement = Agreement {
            site: site.member(),
            version: dossier.version,
            commitment: nonce.commitment(),
        };
        trial::consent(site, patient, id, &agreement, now).await.unwrap();
        let form = trial::file_consent(site, physician, patient, &dossier, now).await.unwrap().0;
        let answers = [("adult", true)];
        let screened = trial::screen(site, physician, patient, &dossier, &answers, now).await;
        let screened = screened.unwrap().record;
        for anchor in [&form, &screened] {
            record::answer(site, patient, anchor, Verdict::Accept, now).await.unwrap();
        }
        (form.record.0, screened.record.0)
    };
    let own = |reader: &'static str, resource_type: &str, record: B256| Watched {
        reader,
        ..scene.of(resource_type, record)
    };
    let (form, subject) = enrol(anna).await;
    let form = own("patient:anna", "Consent", form);
    let subject = own("patient:anna", "ResearchSubject", subject);
    subject.had(&["on-study"]).await;
    form.had(&["active"]).await;
    // What the subject refers to is there, and as far as the contract is, though it came after.
    let read = subject.get(&format!("/{}", subject.name)).await;
    let study = read["study"]["reference"].as_str().unwrap().to_owned();
    assert_eq!(study, format!("ResearchStudy/{id:x}"));
    scene.of("ResearchStudy", id).had(&["in-review", "active"]).await;
    // What is not published yet is the institution's own.
    scene.fhir.get("patient:anna", &format!("/{study}")).await.expect(404);
    let outsider =
        Reader::Institution { member: address("other-pharmacy"), role: InstitutionRole::Pharmacy };
    scene.fhir.admit("outsider", outsider, Purpose::Research);
    scene.fhir.get("outsider", &format!("/{study}")).await.expect(404);

    let (other, _) = scene.fhir.patient("berta").await;
    let (_, remaining) = enrol(&other).await;
    let remaining = own("patient:berta", "ResearchSubject", remaining);
    trial::withdraw(site, anna, id, false, now).await.unwrap();
    subject.had(&["on-study", "withdrawn"]).await;
    form.had(&["active", "inactive"]).await;
    remaining.had(&["on-study"]).await;
    trial::lock(&institute, &researcher, id).await.unwrap();
    let locked = "closed-to-accrual-and-intervention";
    at_sponsor.had(&["in-review", "active", locked]).await;
    scene.of("ResearchStudy", id).had(&["in-review", "active", locked]).await;
    remaining.had(&["on-study", "off-study"]).await;
    subject.had(&["on-study", "withdrawn"]).await;

    let stopped = trial::register(&institute, &researcher, &protocol, None).await.unwrap().0.trial;
    trial::stop(&institute, &researcher, stopped, "no funds").await.unwrap();
    let stopped = Watched { name: format!("ResearchStudy/{stopped:x}"), ..at_sponsor };
    stopped.had(&["in-review", "withdrawn"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_at_its_patient_stands_as_the_contract_says() {
    let scene = Scene::found().await;
    let world = &scene.fhir.world;
    let (hospital, anna) = (&scene.hospital, &scene.anna);
    let (physician, nurse) = (world.person("physician"), world.person("nurse"));
    let maker = world.admit("maker", InstitutionRole::DeviceMaker).await;
    let model = Model { maker: address("maker"), name: "Patch 1".into() };
    device::accept_firmware(&maker, &model, "1.0").await.unwrap();
    let plan = device::Plan::usual(&["heart-rate"], 60).unwrap();
    let bound = async |name: &str| {
        let now = world.now();
        let key = device::DeviceKey::from_secret(&secret(name).0).unwrap();
        let machine = Machine::new(key, model.clone(), format!("SN-{name}"), "1.0");
        device::register(hospital, &machine).await.unwrap();
        let attested = device::attest(&maker, &machine, now).await.unwrap();
        device::enrol(hospital, &machine, &attested).await.unwrap();
        let terms = device::Terms { until: now.after(30 * DAY), gap: 3_600 };
        let id = machine.member;
        let ordered = device::order(hospital, physician, anna, id, &plan, terms, now).await;
        let (binding, _) = device::offer(hospital, anna.account(), id, terms).await.unwrap();
        device::accept_binding(hospital, anna, id, binding, now).await.unwrap();
        let described = Described::of(&machine, "Maker of patches");
        device::file(hospital, nurse, anna, &described, &plan, now).await.unwrap();
        (id, ordered.unwrap().0.record.0, device::device_record(id, binding).0)
    };
    let metric = async |own: B256| {
        let query = format!("/DeviceMetric?source=Device/{own:x}");
        let found = scene.fhir.get("physician", &query).await.expect(200).json();
        found["entry"][0]["resource"]["operationalStatus"].clone()
    };
    let (taken, order, own) = bound("patch").await;
    let (_, other_order, other) = bound("other patch").await;
    scene.of("DeviceRequest", order).had(&["active"]).await;
    device::unbind(hospital, taken).await.unwrap();
    scene.of("DeviceRequest", order).had(&["active", "revoked"]).await;
    scene.of("Device", own).had(&["active", "inactive"]).await;
    assert_eq!((metric(own).await, metric(other).await), (json!("off"), json!("on")));
    scene.of("DeviceRequest", other_order).had(&["active"]).await;
    scene.fhir.advance(30 * DAY);
    scene.of("DeviceRequest", other_order).had(&["active", "completed"]).await;
    scene.of("Device", other).had(&["active", "inactive"]).await;
    assert_eq!(metric(other).await, json!("off"));
    scene.of("DeviceRequest", order).had(&["active", "revoked"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coverage_and_a_claim_stand_as_the_contract_says() {
    let scene = Scene::found().await;
    let world = &scene.fhir.world;
    let (hospital, anna) = (&scene.hospital, &scene.anna);
    let insurer = catalogued(&world.admit("payer", InstitutionRole::Insurer).await).await;
    let role = ProfessionalRole::Adjudicator;
    let adjudicator = world.engage("adjudicator of the payer", "payer", role).await;
    workflows::relationship::propose(&insurer, anna, false).await.unwrap();
    workflows::relationship::accept(&insurer, anna, false, world.now()).await.unwrap();
    let terms = domain::Terms {
        period: Period::new(world.now(), world.now().after(200 * DAY)).unwrap(),
        kinds: KindSet::of(&[Kind::Financial, Kind::Medication]),
        purposes: PurposeSet::of(&[Purpose::Payment]),
    };
    consent::grant(hospital, anna, insurer.member(), None, &terms, world.now()).await.unwrap();
    let (_, router) = scene.fhir.interface_of(&insurer).await;
    let of = |resource_type: &str, record: B256| Watched {
        router: &router,
        reader: "patient:anna",
        name: format!("{resource_type}/{record:x}"),
    };
    let offer = async || {
        let now = world.now();
        let terms = claim::Terms {
            plan: "plus".into(),
            from: now,
            until: now.after(300 * DAY),
            copayment: 1_000,
            limit: Cents(1_000_000),
        };
        let offered = claim::offer_coverage(&insurer, &adjudicator, anna, &terms, now).await;
        offered.unwrap().0
    };
    let coverage = offer().await;
    // The patient has not answered its record: they read it once they did.
    claim::accept_coverage(&insurer, anna, &coverage, world.now()).await.unwrap();
    of("Coverage", coverage.record.0).had(&["active", "draft", "active"]).await;
    let declined = offer().await;
    record::answer(&insurer, anna, &declined, Verdict::Accept, world.now()).await.unwrap();
    of("Coverage", declined.record.0).had(&["active", "draft"]).await;

    // A claim is withdrawn, another one decided, appealed and decided anew.
    let pharmacy = catalogued(world.gateway("pharmacy")).await;
    let (_, at_pharmacy) = scene.fhir.interface_of(&pharmacy).await;
    let pharmacist = world.person("pharmacist");
    claim::transfer(hospital, insurer.member(), Cents(2_000_000)).await.unwrap();
    claim::deposit(&insurer, insurer.member(), Cents(1_500_000)).await.unwrap();
    scene.fhir.advance(HOUR);
    let submit = async || {
        let prescribed = scene.issue(1, false).await;
        scene.fill(&prescribed).await;
        let filing = claim::Filing {
            coverage: coverage.record.0,
            source: claim::Source::Prescription,
            service: prescribed.record.0,
            part: 1,
            items: vec![claim::Item {
                code: "RX-LISINOPRIL-10".into(),
                quantity: 30,
                unit_price: Cents(40),
            }],
            authorisation: None,
        };
        let now = world.now();
        let submitted = claim::submit(&pharmacy, pharmacist, anna, &filing, now).await.unwrap().0;
        record::answer(&pharmacy, anna, &submitted, Verdict::Accept, now).await.unwrap();
        submitted.record.0
    };
    let claimed = |record: B256| Watched {
        router: &at_pharmacy,
        reader: "patient:anna",
        name: format!("Claim/{record:x}"),
    };
    let withdrawn = submit().await;
    claimed(withdrawn).had(&["active"]).await;
    claim::withdraw(&pharmacy, withdrawn).await.unwrap();
    claimed(withdrawn).had(&["active", "cancelled"]).await;
    let id = submit().await;
    let arbiter = world.engage("second adjudicator", "payer", role).await;
    let review = async |who: &Person| {
        let places = claim::Places { claim: &pharmacy.gatekeeper, order: &hospital.gatekeeper };
        claim::Reviewed::read(&insurer, who, places, id, world.now()).await.unwrap()
    };
    let rules = claim::Tariff::demonstration();
    let accept = async |decision: &claim::Decision| {
        for anchor in [&decision.explanation, &decision.response] {
            let now = world.now();
            record::answer(&insurer, anna, anchor, Verdict::Accept, now).await.unwrap();
        }
    };
    let reviewed = review(&adjudicator).await;
    let first =
        claim::adjudicate(&insurer, &adjudicator, anna, &reviewed, rules, world.now()).await;
    let first = first.unwrap();
    accept(&first).await;
    let explanation = of("ExplanationOfBenefit", first.explanation.record.0);
    explanation.had(&["active"]).await;
    claim::appeal_by_patient(&insurer, anna, id, "too little", world.now()).await.unwrap();
    explanation.had(&["active"]).await;
    let reviewed = review(&arbiter).await;
    let more = Some((Cents(1), "as before"));
    let second =
        claim::decide_appeal(&insurer, &arbiter, anna, &reviewed, (rules, more), world.now());
    let second = second.await.unwrap();
    accept(&second).await;
    explanation.had(&["active", "cancelled"]).await;
    of("ClaimResponse", first.response.record.0).had(&["active", "cancelled"]).await;
    of("ExplanationOfBenefit", second.explanation.record.0).had(&["active"]).await;
    of("ClaimResponse", second.response.record.0).had(&["active"]).await;
    claimed(id).had(&["active"]).await;
    claim::end_coverage_by_patient(&insurer, anna, coverage.record.0, world.now()).await.unwrap();
    of("Coverage", coverage.record.0).had(&["active", "draft", "active", "cancelled"]).await;
}
