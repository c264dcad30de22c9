//! What the chain says, as resources: consents both ways, and the provenance of records.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bindings::Contract;
use common::{BASE, Fhir, consortium, observation};
use domain::{InstitutionRole, Kind, ProfessionalRole, Purpose, Reader};
use serde_json::{Value, json};
use workflows::{PatientActor, consent};

/// A hospital with two patients, of whom Anna has a laboratory result.
struct Setting {
    fhir: Fhir,
    anna: PatientActor,
    patient: String,
    result: String,
}

impl Setting {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let (anna, patient) = fhir.patient("anna").await;
        fhir.patient("ben").await;
        let hospital = fhir.world.gateway("hospital").member();
        let reader = Reader::Institution { member: hospital, role: InstitutionRole::Hospital };
        fhir.admit("hospital", reader, Purpose::Treatment);
        let role = ProfessionalRole::PrivacyOfficer;
        let member = consortium::address("own officer");
        let reader = Reader::Professional { member, role, institution: hospital };
        fhir.admit("own officer", reader, Purpose::Operations);
        let new = observation(&patient, "2345-7", 5.1);
        let result = fhir.post("physician", "/Observation", &new).await.expect(201).id();
        Self { fhir, anna, patient, result }
    }

    /// A consent to the emergency department, as a client writes it.
    fn consent(&self) -> Value {
        let code = |system: &str, code: &str| json!({ "system": system, "code": code });
        let concept = |system: &str, of: &str| json!({ "coding": [code(system, of)] });
        json!({
            "resourceType": "Consent",
            "status": "active",
            "scope": concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
            "category": [concept("http://loinc.org", "59284-0")],
            "patient": { "reference": format!("Patient/{}", self.patient) },
            "policyRule": concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
            "provision": {
                "type": "permit",
                "period": { "end": "2028-01-31" },
                "actor": [{
                    "role": concept(
                        "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP"),
                    "reference": { "identifier": {
                        "system": fhir::MEMBER_SYSTEM,
                        "value": consortium::address("emergency").to_string(),
                    } },
                }],
                "action": [concept("http://terminology.hl7.org/CodeSystem/consentaction", "access")],
                "purpose": [code("http://terminology.hl7.org/CodeSystem/v3-ActReason", "TREAT")],
                "class": [code("urn:salus:record-kind", "laboratory")],
            },
        })
    }

    /// Signs what waits, as Anna's wallet does.
    async fn sign(&self, token: &str, id: &str) -> common::Answer {
        sign_as(&self.fhir, &self.anna, token, id).await
    }

    /// Whether the emergency department's consultant reads the result.
    async fn is_open(&self) -> bool {
        let path = format!("/Observation/{}", self.result);
        self.fhir.get("consultant", &path).await.status == 200
    }

    async fn status(&self, id: &str) -> String {
        let consent = self.fhir.get("patient:anna", &format!("/Consent/{id}")).await.expect(200);
        consent.json()["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn assert_valid(checked: &common::Answer) {
        assert!(!checked.text.contains("\"error\""), "{}", checked.text);
    }
}

/// Signs what waits, as a patient's device does.
async fn sign_as(fhir: &Fhir, patient: &PatientActor, token: &str, id: &str) -> common::Answer {
    let path = format!("/Consent/{id}/$sign");
    let asked = fhir.get(token, &path).await.expect(200).json();
    let given = |name: &str| {
        let parameters = asked["parameter"].as_array().unwrap();
        let found = parameters.iter().find(|one| one["name"] == name).unwrap();
        found["valueString"].as_str().unwrap().to_owned()
    };
    let key = patient.patient.key().unwrap();
    let signature = key.sign(given("digest").parse().unwrap()).to_string();
    let signer = key.signer(fhir.world.at(Contract::WebAuthnVerifier)).to_string();
    fhir.post(token, &path, &signed(&given, &signer, &signature)).await
}

fn signed(given: &dyn Fn(&str) -> String, signer: &str, signature: &str) -> Value {
    let text = |name: &str, value: &str| json!({ "name": name, "valueString": value });
    json!({
        "resourceType": "Parameters",
        "parameter": [
            text("nonce", &given("nonce")),
            text("deadline", &given("deadline")),
            text("signer", signer),
            text("signature", signature),
        ],
    })
}

#[tokio::test]
async fn a_grant_on_chain_is_a_consent_with_its_history() {
    let setting = Setting::found().await;
    let (fhir, world) = (&setting.fhir, &setting.fhir.world);
    let hospital = world.gateway("hospital");
    let emergency = world.gateway("emergency").member();
    let terms = world.terms(&[Kind::Laboratory]);
    consent::grant(hospital, &setting.anna, emergency, None, &terms, world.now()).await.unwrap();
    let search = format!("/Consent?patient=Patient/{}", setting.patient);
    let found = fhir.get("patient:anna", &search).await.expect(200).json();
    assert_eq!(found["total"], 1);
    let one = &found["entry"][0]["resource"];
    let id = one["id"].as_str().unwrap().to_owned();
    assert_eq!((&one["status"], &one["meta"]["versionId"]), (&json!("active"), &json!("1")));
    assert_eq!(one["provision"]["class"][0]["code"], "laboratory");
    assert_eq!(one["provision"]["purpose"][0]["code"], "TREAT");
    let actor = &one["provision"]["actor"][0]["reference"]["identifier"]["value"];
    assert_eq!(actor, &emergency.to_string());
    Setting::assert_valid(&fhir.post("physician", "/Consent/$validate", one).await.expect(200));
    for query in ["status=active", "purpose=TREAT", &format!("_id={id}"), "period=ge2020-01-01"] {
        let found = fhir.get("patient:anna", &format!("{search}&{query}")).await.expect(200);
        assert_eq!(found.names(), [format!("Consent/{id}")], "{query}");
    }
    let none = fhir.get("patient:anna", &format!("{search}&status=rejected")).await.expect(200);
    assert_eq!(none.json()["total"], 0);

    consent::revoke(hospital, &setting.anna, emergency, None, world.now()).await.unwrap();
    assert_eq!(setting.status(&id).await, "inactive");
    let history = fhir.get("patient:anna", &format!("/Consent/{id}/_history")).await.expect(200);
    let history = history.json();
    assert_eq!(history["total"], 2);
    assert_eq!(history["entry"][1]["resource"]["status"], "active");
    let first = fhir.get("patient:anna", &format!("/Consent/{id}/_history/1")).await.expect(200);
    assert_eq!(first.json()["status"], "active");
    fhir.get("patient:anna", &format!("/Consent/{id}/_history/3")).await.expect(404);
}

/// Who sees a consent to the emergency department, on each path.
#[tokio::test]
async fn each_reader_sees_their_part_of_the_consents() {
    let setting = Setting::found().await;
    let (fhir, world) = (&setting.fhir, &setting.fhir.world);
    let hospital = world.gateway("hospital");
    let emergency = world.gateway("emergency").member();
    let terms = world.terms(&[Kind::Laboratory]);
    consent::grant(hospital, &setting.anna, emergency, None, &terms, world.now()).await.unwrap();
    let search = format!("/Consent?patient=Patient/{}", setting.patient);
    let id = fhir.get("patient:anna", &search).await.json()["entry"][0]["resource"]["id"].clone();
    let id = id.as_str().unwrap();
    for (reader, sees) in [
        ("patient:anna", true),
        ("physician", true),
        ("hospital", true),
        ("own officer", true),
        // The reader whom it names, and who acts for them.
        ("consultant", true),
        ("paramedic", true),
        ("patient:ben", false),
        ("nurse", false),
        ("scientist", false),
        ("pharmacist", false),
    ] {
        for path in [
            format!("/Consent/{id}"),
            format!("/Consent/{id}/_history"),
            format!("/Consent/{id}/_history/1"),
        ] {
            let answer = fhir.get(reader, &path).await;
            assert_eq!(answer.status == 200, sees, "{reader} {path}: {}", answer.text);
        }
        for path in [search.clone(), "/Consent".into(), format!("/Consent?_id={id}")] {
            let answer = fhir.get(reader, &path).await.expect(200);
            assert_eq!(answer.text.contains("urn:salus:grant"), sees, "{reader} {path}");
            assert_eq!(answer.json()["total"] != 0, sees, "{reader} {path}");
        }
        let counted = fhir.get(reader, &format!("{search}&_summary=count")).await.expect(200);
        assert_eq!(counted.json()["total"] != 0, sees, "{reader} counts");
        // Only the patient and those who act for them change it.
        let may_change = matches!(reader, "patient:anna" | "physician" | "hospital");
        let deleted = fhir.delete(reader, &format!("/Consent/{id}")).await;
        assert_eq!(deleted.status == 202, may_change, "{reader}: {}", deleted.text);
        let asked = fhir.get(reader, &format!("/Consent/{id}/$sign")).await;
        assert_eq!(asked.status == 200, may_change, "{reader}: {}", asked.text);
    }
}

#[tokio::test]
async fn a_posted_consent_is_a_grant_once_the_patient_signed() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let made = fhir.post("patient:anna", "/Consent", &setting.consent()).await.expect(201);
    let id = made.id();
    assert_eq!(made.json()["status"], "proposed");
    assert!(!setting.is_open().await, "nothing counts before it is signed");
    // The department learns nothing of what was only thought about.
    fhir.get("consultant", &format!("/Consent/{id}")).await.expect(404);

    let sign = format!("/Consent/{id}/$sign");
    let asked = fhir.get("patient:anna", &sign).await.expect(200).json();
    let typed = asked["parameter"].as_array().unwrap().iter();
    let typed =
        typed.clone().find(|one| one["name"] == "typedData").unwrap()["valueString"].clone();
    let typed: Value = serde_json::from_str(typed.as_str().unwrap()).unwrap();
    assert_eq!(typed["domain"]["verifyingContract"], setting.anna.account().to_string());
    let given = |name: &str| {
        let parameters = asked["parameter"].as_array().unwrap();
        let found = parameters.iter().find(|one| one["name"] == name).unwrap();
        found["valueString"].as_str().unwrap().to_owned()
    };
    // Somebody else's signature, and one under something else.
    let other = ledger::PatientKey::Wallet(consortium::wallet("physician"));
    let digest = given("digest").parse().unwrap();
    let verifier = fhir.world.at(Contract::WebAuthnVerifier);
    let (signer, signature) = (other.signer(verifier).to_string(), other.sign(digest).to_string());
    let forged = signed(&given, &signer, &signature);
    fhir.post("patient:anna", &sign, &forged).await.expect(422);
    let own = setting.anna.patient.key().unwrap();
    let elsewhere = own.sign(domain::B256::repeat_byte(1)).to_string();
    let forged = signed(&given, &own.signer(verifier).to_string(), &elsewhere);
    fhir.post("patient:anna", &sign, &forged).await.expect(422);
    assert!(!setting.is_open().await);

    let granted = setting.sign("patient:anna", &id).await.expect(200).json();
    assert_eq!((&granted["status"], &granted["id"]), (&json!("active"), &json!(id)));
    assert!(setting.is_open().await);
    assert_eq!(fhir.get("consultant", &format!("/Consent/{id}")).await.expect(200).id(), id);
    fhir.get("patient:anna", &sign).await.expect(409);

    // Whoever changes it says which version they mean, if they like.
    let path = format!("/Consent/{id}");
    let outdated = [("if-match", "W/\"7\"")];
    let send =
        fhir.send("patient:anna", axum::http::Method::DELETE, &path, &outdated, String::new());
    send.await.expect(412);
    // Taking it back waits for the signature too, and says so meanwhile.
    fhir.delete("patient:anna", &format!("/Consent/{id}")).await.expect(202);
    let waiting = fhir.get("patient:anna", &format!("/Consent/{id}")).await.expect(200);
    assert_eq!(waiting.json()["status"], "active");
    assert!(waiting.text.contains("revocation"), "{}", waiting.text);
    assert!(setting.is_open().await);
    let ended = setting.sign("patient:anna", &id).await.expect(200).json();
    assert_eq!(ended["status"], "inactive");
    assert!(!setting.is_open().await);
}

#[tokio::test]
async fn a_passkey_signs_as_well() {
    let setting = Setting::found().await;
    let (fhir, world) = (&setting.fhir, &setting.fhir.world);
    let dora = world.patient("dora", consortium::passkey("dora")).await;
    world.relate("hospital", &dora, false).await;
    let own = Reader::Patient { account: dora.account() };
    fhir.admit("patient:dora", own, Purpose::PatientRequest);
    world.gateway("hospital").gatekeeper.refresh(world.now()).await.unwrap();
    let patient = json!({
        "resourceType": "Patient",
        "identifier": [{ "system": fhir::ACCOUNT_SYSTEM, "value": dora.account().to_string() }],
    });
    let patient = fhir.post("physician", "/Patient", &patient).await.expect(201).id();
    let mut consent = setting.consent();
    consent["patient"]["reference"] = format!("Patient/{patient}").into();
    let id = fhir.post("patient:dora", "/Consent", &consent).await.expect(201).id();
    // Another patient's signature is none.
    sign_as(fhir, &setting.anna, "patient:dora", &id).await.expect(422);
    let granted = sign_as(fhir, &dora, "patient:dora", &id).await.expect(200).json();
    assert_eq!(granted["status"], "active");
    // Whoever has no part in it cannot relay, not even what is signed.
    sign_refused(fhir, &id).await;
}

async fn sign_refused(fhir: &Fhir, id: &str) {
    let path = format!("/Consent/{id}/$sign");
    let nothing = json!({ "resourceType": "Parameters" });
    for stranger in ["patient:ben", "nurse", "scientist"] {
        fhir.post(stranger, &path, &nothing).await.expect(404);
    }
}

#[tokio::test]
async fn staff_file_for_their_patient_and_nobody_else_does() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    for stranger in ["nurse", "consultant", "patient:ben", "own officer"] {
        fhir.post(stranger, "/Consent", &setting.consent()).await.expect(403);
    }
    let id = fhir.post("physician", "/Consent", &setting.consent()).await.expect(201).id();
    assert_eq!(setting.status(&id).await, "proposed");
    // An update to `inactive` drops what was only filed.
    let mut ended = fhir.get("physician", &format!("/Consent/{id}")).await.json();
    ended["status"] = "inactive".into();
    ended.as_object_mut().unwrap().remove("extension");
    fhir.put("physician", &format!("/Consent/{id}"), &ended).await.expect(204);
    fhir.get("patient:anna", &format!("/Consent/{id}")).await.expect(404);
    // By the directory.
    let practitioner = json!({
        "resourceType": "Practitioner",
        "identifier": [{
            "system": fhir::MEMBER_SYSTEM,
            "value": consortium::address("consultant").to_string(),
        }],
    });
    let known = fhir.post("physician", "/Practitioner", &practitioner).await.expect(201).id();
    let mut consent = setting.consent();
    let reference = format!("{BASE}/Practitioner/{known}");
    consent["provision"]["actor"][0]["reference"] = json!({ "reference": reference });
    consent["provision"]["data"] = json!([{
        "meaning": "instance",
        "reference": { "reference": format!("Observation/{}", setting.result) },
    }]);
    let made = fhir.post("physician", "/Consent", &consent).await.expect(201);
    let name = format!("Practitioner/{known}");
    assert_eq!(made.json()["provision"]["actor"][0]["reference"]["reference"], name.as_str());
    assert!(!setting.is_open().await);
    setting.sign("physician", &made.id()).await.expect(200);
    assert!(setting.is_open().await);
    let found = fhir.get("patient:anna", &format!("/Consent?actor={name}")).await.expect(200);
    assert_eq!(found.names(), [format!("Consent/{}", made.id())]);
}

#[tokio::test]
async fn what_the_chain_cannot_hold_is_refused() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let code = |system: &str, code: &str| json!({ "system": system, "code": code });
    let changes: Vec<(&str, Value)> = vec![
        ("/provision/type", json!("deny")),
        ("/provision/provision", json!([{ "type": "deny" }])),
        ("/provision/securityLabel", json!([code("urn:x", "R")])),
        ("/provision/dataPeriod", json!({ "start": "2020-01-01" })),
        ("/provision/class", json!([code("http://hl7.org/fhir/resource-types", "Observation")])),
        ("/provision/class", json!([code("urn:salus:record-kind", "everything")])),
        ("/provision/class", Value::Null),
        ("/provision/purpose", json!([code("urn:x", "TREAT")])),
        (
            "/provision/purpose",
            json!([code("http://terminology.hl7.org/CodeSystem/v3-ActReason", "CAREMGT")]),
        ),
        ("/provision/purpose", Value::Null),
        ("/provision/period", Value::Null),
        ("/provision/period", json!({ "end": "2020-01-01" })),
        ("/provision/period", json!({ "end": "2060-01-01" })),
        (
            "/provision/action",
            json!([{ "coding": [code(
                "http://terminology.hl7.org/CodeSystem/consentaction", "correct")] }]),
        ),
        (
            "/provision/data",
            json!([{ "meaning": "instance", "reference": { "reference": "Observation/other" } }]),
        ),
        (
            "/provision/data",
            json!([{ "meaning": "related", "reference": {
                "reference": format!("Observation/{}", setting.result) } }]),
        ),
        ("/sourceReference", json!({ "reference": "DocumentReference/1" })),
    ];
    for (path, value) in changes {
        let mut consent = setting.consent();
        let (parent, member) = path.rsplit_once('/').unwrap();
        let parent = consent.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        let text = value.to_string();
        match value {
            Value::Null => parent.remove(member),
            value => parent.insert(member.into(), value),
        };
        let refused = fhir.post("patient:anna", "/Consent", &consent).await;
        assert_eq!(refused.status, 422, "{path} {text}: {}", refused.text);
    }
    let found = fhir.get("patient:anna", "/Consent").await.expect(200);
    assert_eq!(found.json()["total"], 0, "nothing of it was filed");
    // Neither is one that could only half be done.
    let mut two = setting.consent();
    let actor = two["provision"]["actor"][0].clone();
    two["provision"]["actor"].as_array_mut().unwrap().push(actor);
    fhir.post("patient:anna", "/Consent", &two).await.expect(422);
    let bundle = json!({
        "resourceType": "Bundle", "type": "transaction",
        "entry": [{
            "request": { "method": "POST", "url": "Consent" },
            "resource": setting.consent(),
        }],
    });
    fhir.post("hospital", "/", &bundle).await.expect(422);
    // Neither is a record under the name of a grant.
    let mut record = setting.consent();
    record["scope"]["coding"][0]["code"] = "adr".into();
    record["id"] = format!("grant-{}", "0".repeat(40)).into();
    let name = format!("Consent/grant-{}", "0".repeat(40));
    fhir.put("hospital", &format!("/{name}"), &record).await.expect(422);
    let bundle = json!({
        "resourceType": "Bundle", "type": "transaction",
        "entry": [{ "request": { "method": "PUT", "url": name }, "resource": record }],
    });
    fhir.post("hospital", "/", &bundle).await.expect(422);
    let mut elsewhere = setting.consent();
    elsewhere["id"] = "mine".into();
    fhir.put("hospital", "/Consent/mine", &elsewhere).await.expect(422);
}

#[tokio::test]
async fn every_other_consent_is_a_record() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let mut outside = setting.consent();
    outside["provision"]["actor"][0]["reference"] = json!({ "display": "a friend" });
    let outside = fhir.post("hospital", "/Consent", &outside).await.expect(201);
    let mut directive = setting.consent();
    directive["scope"]["coding"][0]["code"] = "adr".into();
    let directive = fhir.post("hospital", "/Consent", &directive).await.expect(201);
    for made in [&outside, &directive] {
        assert_eq!(made.json()["status"], "active");
        assert!(!made.id().starts_with("grant-"), "{}", made.text);
    }
    fhir.post("patient:anna", "/Consent", &setting.consent()).await.expect(201);
    // Both sorts are found together, page by page, each once.
    let mut path = format!("/Consent?patient=Patient/{}&_count=1", setting.patient);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let page = fhir.get("patient:anna", &path).await.expect(200);
        assert!(page.names().len() <= 1);
        seen.extend(page.names());
        let links = page.json()["link"].as_array().cloned().unwrap_or_default();
        let next = links.iter().find(|link| link["relation"] == "next").cloned();
        let Some(next) = next else { break };
        path = next["url"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned();
    }
    seen.sort();
    let count = seen.len();
    seen.dedup();
    assert_eq!((count, seen.len()), (3, 3), "{seen:?}");
    assert!(!setting.is_open().await);
}

#[tokio::test]
async fn under_a_policy_that_wants_both_the_steward_signs_too() {
    let setting = Setting::found().await;
    let (fhir, world) = (&setting.fhir, &setting.fhir.world);
    let key = ledger::PatientKey::Wallet(consortium::wallet("patient clara"));
    let clara = world.patient("clara", key).await;
    world.relate("hospital", &clara, true).await;
    fhir.patient("clara").await;
    let hospital = world.gateway("hospital");
    let emergency = world.gateway("emergency").member();
    let terms = world.terms(&[Kind::Laboratory]);
    let granting = consent::grant(hospital, &clara, emergency, None, &terms, world.now());
    let (version, _) = granting.await.unwrap();
    let first = fhir.get("patient:clara", "/Consent").await.expect(200).json();
    let first = &first["entry"][0]["resource"];
    assert_eq!(first["status"], "proposed");
    assert!(first.to_string().contains("awaited"), "{first}");
    consent::countersign(hospital, clara.account(), emergency, None, version).await.unwrap();
    let then = fhir.get("patient:clara", "/Consent").await.expect(200).json();
    let then = &then["entry"][0]["resource"];
    assert_eq!((&then["status"], &then["meta"]["versionId"]), (&json!("active"), &json!("2")));
    assert!(then.to_string().contains("given"), "{then}");
}

#[tokio::test]
async fn provenance_says_where_on_chain_a_version_is() {
    let setting = Setting::found().await;
    let (fhir, world) = (&setting.fhir, &setting.fhir.world);
    let target = format!("Observation/{}", setting.result);
    let search = format!("/Provenance?target={target}");
    let found = fhir.get("physician", &search).await.expect(200);
    let [name] = &found.names()[..] else { panic!("{}", found.text) };
    let one = &found.json()["entry"][0]["resource"];
    Setting::assert_valid(&fhir.post("physician", "/Provenance/$validate", one).await.expect(200));
    assert_eq!(one["target"][0]["reference"], format!("{target}/_history/1").as_str());
    let author = &one["agent"][0]["who"]["identifier"]["value"];
    assert_eq!(author, &consortium::address("physician").to_string());
    let part = |one: &Value, url: &str| {
        let parts = one["extension"][0]["extension"].as_array().unwrap().clone();
        let found = parts.iter().find(|part| part["url"] == url).unwrap().clone();
        found["valueString"].as_str().or(found["valueCode"].as_str()).unwrap().to_owned()
    };
    assert_eq!(part(one, "state"), "proposed");
    let hash = part(one, "transaction").parse().unwrap();
    let receipt = world.ledger.receipt(hash).await.unwrap().unwrap();
    assert_eq!(receipt.block_number.unwrap().to_string(), part(one, "block"));

    // The next version replaces it once the patient accepts.
    let mut next = fhir.get("physician", &format!("/{target}")).await.json();
    next["status"] = "amended".into();
    fhir.put("physician", &format!("/{target}"), &next).await.expect(200);
    let found = fhir.get("physician", &search).await.expect(200).json();
    assert_eq!(found["total"], 2);
    let second = &found["entry"][1]["resource"];
    assert_eq!(second["entity"][0]["what"]["reference"], format!("{target}/_history/1").as_str());
    // Its id and what it is of stay.
    let again = fhir.get("physician", &format!("/{name}")).await.expect(200).json();
    assert_eq!(again["id"], one["id"]);
    assert_eq!(part(&again, "digest"), part(one, "digest"));
    assert_eq!(part(&again, "state"), "withdrawn");
    assert!(!again.to_string().contains("verifier"), "the patient never accepted it");
}

#[tokio::test]
async fn provenance_of_a_batch_has_the_proof() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let bundle = json!({
        "resourceType": "Bundle", "type": "transaction",
        "entry": (0..3).map(|value| json!({
            "request": { "method": "POST", "url": "Observation" },
            "resource": observation(&setting.patient, "1-1", f64::from(value)),
        })).collect::<Vec<_>>(),
    });
    let made = fhir.post("physician", "/", &bundle).await.expect(200).json();
    let location = made["entry"][0]["response"]["location"].as_str().unwrap();
    let target = location.split("/_history").next().unwrap();
    let found = fhir.get("physician", &format!("/Provenance?target={target}")).await.expect(200);
    let name = &found.names()[0];
    let one = fhir.get("physician", &format!("/{name}")).await.expect(200).json();
    let parts = one["extension"][0]["extension"].as_array().unwrap();
    let texts = |url: &str| -> Vec<&str> {
        let found = parts.iter().filter(|part| part["url"] == url);
        found.map(|part| part["valueString"].as_str().unwrap()).collect()
    };
    // Whoever has this can make the leaf and walk to the root that the contract holds.
    let anchor = domain::Anchor {
        record: texts("record")[0].parse().unwrap(),
        version: domain::RecordVersion::FIRST,
        base: 0,
        kind: Kind::Laboratory,
        patient: setting.anna.account(),
        steward: consortium::address("hospital"),
        digest: texts("digest")[0].parse().unwrap(),
    };
    let proof: Vec<domain::B256> =
        texts("proof").iter().map(|sibling| sibling.parse().unwrap()).collect();
    let root = texts("root")[0].parse().unwrap();
    assert!(domain::merkle::verify(root, anchor.leaf(), &proof));
}

/// Who sees the provenance of Anna's result, on each path.
#[tokio::test]
async fn whoever_reads_a_version_sees_its_provenance() {
    let setting = Setting::found().await;
    let (fhir, world) = (&setting.fhir, &setting.fhir.world);
    let target = format!("Observation/{}", setting.result);
    let found = fhir.get("physician", &format!("/Provenance?target={target}")).await.expect(200);
    let name = found.names().remove(0);
    let hospital = world.gateway("hospital");
    let emergency = world.gateway("emergency").member();
    let check = async |reader: &str, sees: bool| {
        for path in [format!("/{name}"), format!("/{name}/_history")] {
            let answer = fhir.get(reader, &path).await;
            assert_eq!(answer.status == 200, sees, "{reader} {path}: {}", answer.text);
        }
        for path in [
            format!("/Provenance?target={target}"),
            format!("/Provenance?patient=Patient/{}", setting.patient),
            format!("/Provenance?_id={}", name.split_once('/').unwrap().1),
            "/Provenance".into(),
            format!("/Observation?_id={}&_revinclude=Provenance:target", setting.result),
        ] {
            let answer = fhir.get(reader, &path).await.expect(200);
            assert_eq!(answer.names().contains(&name), sees, "{reader} {path}: {}", answer.text);
        }
    };
    for (reader, sees) in [
        ("physician", true),
        ("patient:anna", true),
        ("patient:ben", false),
        ("nurse", false),
        ("consultant", false),
        ("own officer", false),
    ] {
        check(reader, sees).await;
    }
    let terms = world.terms(&[Kind::Laboratory]);
    consent::grant(hospital, &setting.anna, emergency, None, &terms, world.now()).await.unwrap();
    check("consultant", true).await;
    consent::revoke(hospital, &setting.anna, emergency, None, world.now()).await.unwrap();
    check("consultant", false).await;
}

#[tokio::test]
async fn provenance_comes_along_on_every_page() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    for value in 0..3 {
        let new = observation(&setting.patient, "2345-7", f64::from(value));
        fhir.post("physician", "/Observation", &new).await.expect(201);
    }
    let mut path = "/Observation?code=2345-7&_count=2&_revinclude=Provenance:target".to_owned();
    for is_last in [false, true] {
        let page = fhir.get("physician", &path).await.expect(200);
        let names = page.names();
        let provenance = names.iter().filter(|name| name.starts_with("Provenance/")).count();
        assert_eq!((names.len(), provenance), (4, 2), "{names:?}");
        let links = page.json()["link"].as_array().cloned().unwrap();
        let next = links.iter().find(|link| link["relation"] == "next");
        assert_eq!(next.is_none(), is_last);
        if let Some(next) = next {
            path = next["url"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned();
        }
    }
}
