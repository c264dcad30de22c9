//! Consents, records and who looked: over `/api` as patients' own systems meet them, and over the portal as people do.

use serde_json::{Value, json};

use crate::support::{Answer, Serving, fhir, good, send};

/// A demonstration that is served.
struct Demonstration {
    address: String,
    data: std::path::PathBuf,
    _serving: Serving,
    _dir: tempfile::TempDir,
}

impl Demonstration {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let serving = Serving::up(&data);
        let address = serving.address("hospital");
        Self { address, data, _serving: serving, _dir: dir }
    }

    fn token(&self, who: &str) -> String {
        good(&self.data, &["token", who, "--at", "hospital"]).trim().to_owned()
    }

    /// Somebody's address.
    fn who(&self, name: &str) -> String {
        let everybody = good(&self.data, &["who"]);
        let mut lines = everybody.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.first() == Some(&name));
        line.and_then(|words| words.last().copied())
            .unwrap_or_else(|| panic!("{everybody}"))
            .to_owned()
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        send(&self.address, method, &format!("/api/{path}"), &headers, body)
    }

    /// Takes a step as `who`, who signs whatever it waits for.
    fn step(&self, who: &str, wanted: &Value) -> Answer {
        let token = self.token(who);
        let mut answer = self.ask(&token, "POST", "steps", &wanted.to_string());
        while answer.status == 202 {
            let said = answer.json();
            let digest = said["sign"]["digest"].as_str().unwrap_or_else(|| panic!("{said}"));
            let signed = good(&self.data, &["sign", who, digest]);
            let path = format!("steps/{}", said["id"].as_str().unwrap());
            answer = self.ask(&token, "POST", &path, &signed);
        }
        answer
    }

    /// How many observations of a patient somebody is given.
    fn observations(&self, who: &str, patient: &str) -> u64 {
        let path = format!("Observation?patient=Patient/{patient}&_count=1");
        let found = fhir(&self.address, "GET", &path, &self.token(who), "").json();
        found["entry"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| entry["search"]["mode"] == "match")
            .count() as u64
    }

    /// Proposes a record about a patient.
    fn propose(&self, patient: &str) {
        let resource = self.data.join("resource.json");
        let record = json!({
            "resourceType": "Observation", "status": "final", "code": { "text": "<script>planted</script>" },
            "subject": { "reference": format!("Patient/{}", self.who(patient)) },
        });
        std::fs::write(&resource, record.to_string()).unwrap();
        good(&self.data, &["records", "propose", patient, resource.to_str().unwrap()]);
    }

    fn proposed(&self, token: &str) -> Vec<Value> {
        let found = self.ask(token, "GET", "records?state=proposed", "").json();
        found["records"].as_array().cloned().unwrap_or_else(|| panic!("{found}"))
    }
}

#[test]
fn patients_give_and_take_back_consent_over_the_interface() {
    let here = Demonstration::start();
    let (patient, consultant) = (here.who("P001"), here.who("consultant"));
    let token = here.token("P001");
    assert_eq!(here.observations("consultant", &patient), 0);
    let until = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 86_400;
    let grant = json!({
        "step": "consent.grant", "patient": patient, "reader": consultant,
        "kinds": ["laboratory", "vital-sign", "demographics"], "purposes": ["treatment"], "until": until,
    });
    // Nobody gives it for somebody else, and nothing that is over already is given.
    assert_eq!(here.step("physician", &grant).status, 422);
    assert_eq!(here.step("P002", &grant).status, 403);
    let mut over = grant.clone();
    over["until"] = json!(1);
    assert_eq!(here.step("P001", &over).status, 422);
    let given = here.step("P001", &grant);
    assert_eq!(given.status, 200, "{given:?}");
    let version = given.json()["result"]["version"].clone();

    let grants = here.ask(&token, "GET", "grants", "").json();
    let held = grants["grants"].as_array().unwrap().iter().find(|held| held["version"] == version);
    let held = held.unwrap_or_else(|| panic!("{grants}"));
    assert_eq!(held["reader"].as_str().unwrap().to_lowercase(), consultant.to_lowercase());
    assert_eq!(held["until"], until);
    assert!(here.observations("consultant", &patient) > 0);

    let revoke = json!({ "step": "consent.revoke", "patient": patient, "reader": consultant });
    assert_eq!(here.step("P001", &revoke).status, 200);
    assert_eq!(here.observations("consultant", &patient), 0);
    let left = here.ask(&token, "GET", "grants", "").json();
    assert!(!left.to_string().to_lowercase().contains(&consultant.to_lowercase()), "{left}");
    for (who, status) in [("physician", 403), ("keeper", 403), ("hospital", 403)] {
        for path in ["grants", "records", "relationships", "timeline"] {
            assert_eq!(here.ask(&here.token(who), "GET", path, "").status, status, "{who} {path}");
        }
    }
    // Both are on the timeline, borne out by their blocks.
    let timeline = here.ask(&token, "GET", "timeline?limit=2", "").json();
    let steps = timeline["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "{timeline}");
    assert!(
        steps.iter().all(|step| step["checked"] == true && step["contract"] == "Consents"),
        "{timeline}"
    );
    let before = timeline["before"].as_u64().unwrap();
    let older = here.ask(&token, "GET", &format!("timeline?limit=1&before={before}"), "").json();
    assert_eq!(older["steps"].as_array().map(Vec::len), Some(1), "{older}");
}

#[test]
fn patients_answer_the_version_that_they_saw() {
    let here = Demonstration::start();
    let patient = here.who("P001");
    let token = here.token("P001");
    here.propose("P001");
    let waiting = here.proposed(&token);
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(
        waiting[0]["resource"].is_null() || waiting[0]["resource"].as_str().unwrap().contains('/')
    );
    let answer = |who: &str, step: &str, patient: &str, digest: &Value| {
        let wanted = json!({ "step": step, "patient": patient, "record": waiting[0]["record"], "digest": digest });
        here.step(who, &wanted).status
    };
    let digest = &waiting[0]["digest"];
    let other = json!(format!("0x{}", "00".repeat(32)));
    assert_eq!(answer("P001", "record.accept", &patient, &other), 422, "another version");
    assert_eq!(answer("P002", "record.accept", &patient, digest), 403, "somebody else's");
    assert_eq!(
        answer("P002", "record.accept", &here.who("P002"), digest),
        422,
        "as if it were theirs"
    );
    assert_eq!(answer("P001", "record.accept", &patient, digest), 200);
    assert_eq!(answer("P001", "record.reject", &patient, digest), 422, "it is answered already");
    assert_eq!(answer("P001", "record.dispute", &patient, digest), 200);
    assert!(here.proposed(&token).is_empty());
    let end = json!({ "step": "relationship.end", "patient": patient });
    assert_eq!(here.step("P001", &end).status, 200);
    let held = here.ask(&token, "GET", "relationships", "").json();
    assert_eq!(held["relationship"]["state"], "ended", "{held}");
}

/// Somebody's browser at the portal.
struct Browser<'a> {
    address: &'a str,
    origin: String,
    cookie: String,
    csrf: String,
    page: String,
}

impl<'a> Browser<'a> {
    fn signed_in(here: &'a Demonstration, who: &str) -> Self {
        let port = here.address.rsplit(':').next().unwrap();
        let origin = format!("http://localhost:{port}");
        let mut browser = Self {
            address: &here.address,
            origin,
            cookie: String::new(),
            csrf: String::new(),
            page: String::new(),
        };
        browser.get(&format!("/sign-in?as={who}"));
        browser.post("/sign-in/demonstration", &format!("who={}", here.who(who)));
        browser
    }

    fn get(&mut self, path: &str) -> u16 {
        let answer = send(self.address, "GET", path, &self.headers(""), "");
        self.came(answer)
    }

    /// Sends a form, and goes where the answer leads.
    fn post(&mut self, path: &str, form: &str) -> u16 {
        let form = format!("csrf={}&{form}", self.csrf);
        let answer = send(self.address, "POST", path, &self.headers("form"), &form);
        let head = answer.raw_head.clone();
        let status = self.came(answer);
        let location = head.lines().find_map(|line| line.strip_prefix("location: "));
        match location.filter(|_| status == 303) {
            Some(location) => self.get(location),
            None => status,
        }
    }

    fn headers(&self, sent: &str) -> Vec<(&'static str, &str)> {
        let mut headers =
            vec![("accept", "text/html"), ("cookie", &*self.cookie), ("origin", &*self.origin)];
        if !sent.is_empty() {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        headers
    }

    fn came(&mut self, answer: Answer) -> u16 {
        let sets = answer.raw_head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        let own = sets
            .filter_map(|set| set.split(';').next())
            .find(|set| set.starts_with("__Host-salus="));
        if let Some(own) = own {
            own.clone_into(&mut self.cookie);
        }
        if let Some(csrf) = between(&answer.body, "name=\"salus-csrf\" content=\"", "\"") {
            csrf.clone_into(&mut self.csrf);
        }
        self.page = answer.body;
        answer.status
    }

    /// Signs what is shown, as the person's device would.
    fn sign(&mut self) {
        let step =
            between(&self.page, "data-step=\"", "\"").unwrap_or_else(|| panic!("{}", self.page));
        let digest = between(&self.page, "name=\"digest\" value=\"", "\"").unwrap();
        let (path, form) = (format!("/sign/{step}/demonstration"), format!("digest={digest}"));
        assert_eq!(self.post(&path, &form), 200, "{}", self.page);
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(found, _)| found)
}

#[test]
fn somebody_shares_sees_who_looked_takes_it_back_and_the_refusal_is_seen() {
    let here = Demonstration::start();
    let consultant = here.who("consultant");
    let mut patient = Browser::signed_in(&here, "P001");
    assert_eq!(patient.get("/patient"), 200, "{}", patient.page);
    let mut doctor = Browser::signed_in(&here, "consultant");
    assert_eq!(doctor.get("/clinician"), 200, "{}", doctor.page);
    assert!(doctor.page.contains("No patients yet"), "{}", doctor.page);

    // What a grant opens is seen before it is signed, and nothing is shared by looking at that.
    patient.get("/patient/sharing/new");
    let until = between(&patient.page, "name=\"until\" type=\"date\" value=\"", "\"").unwrap();
    let wanted = format!(
        "reader={consultant}&kinds=demographics&kinds=laboratory&purpose=treatment&until={until}"
    );
    assert_eq!(patient.post("/patient/sharing/preview", &wanted), 200, "{}", patient.page);
    assert!(patient.page.contains("Share these"), "{}", patient.page);
    assert_eq!(doctor.get("/clinician"), 200);
    assert!(doctor.page.contains("No patients yet"));
    assert_eq!(patient.post("/patient/sharing/grant", &wanted), 200);
    assert!(patient.page.contains("consultant may read Personal details"), "{}", patient.page);
    patient.sign();
    assert!(patient.page.contains("You shared your records."), "{}", patient.page);
    assert!(patient.page.contains("May read now"), "{}", patient.page);

    doctor.get("/clinician");
    let one = between(&doctor.page, "href=\"/clinician/patients/", "\"")
        .unwrap_or_else(|| panic!("{}", doctor.page));
    let one = format!("/clinician/patients/{one}");
    assert_eq!(doctor.get(&one), 200, "{}", doctor.page);
    assert!(!doctor.page.contains("No consent"), "{}", doctor.page);

    patient.get("/patient/looked");
    assert!(
        patient.page.contains("consultant") && patient.page.contains("you allowed it"),
        "{}",
        patient.page
    );
    let revoked = patient.post("/patient/sharing/revoke", &format!("reader={consultant}&record="));
    assert_eq!(revoked, 200, "{}", patient.page);
    patient.sign();
    assert!(patient.page.contains("You stopped sharing"), "{}", patient.page);

    assert_eq!(doctor.get(&one), 403);
    assert!(doctor.page.contains("No consent"), "{}", doctor.page);
    patient.get("/patient/looked?show=refused");
    assert!(
        patient.page.contains("consultant") && patient.page.contains("Was refused"),
        "{}",
        patient.page
    );
    assert_eq!(patient.get("/patient/timeline"), 200);
    assert_eq!(patient.get("/patient/inbox"), 200);
}

#[test]
fn a_record_is_checked_and_confirmed_in_the_portal() {
    let here = Demonstration::start();
    here.propose("P001");
    let mut patient = Browser::signed_in(&here, "P001");
    assert_eq!(patient.get("/patient/proposed"), 200, "{}", patient.page);
    assert!(!patient.page.contains("<script>planted"), "{}", patient.page);
    let field = |page: &str, name: &str| {
        between(page, &format!("name=\"{name}\" value=\""), "\"")
            .unwrap_or_else(|| panic!("{page}"))
            .to_owned()
    };
    let (record, digest) = (field(&patient.page, "record"), field(&patient.page, "digest"));
    let answer = format!("record={record}&digest={digest}&answer=accept");
    assert_eq!(patient.post("/patient/proposed", &answer), 200, "{}", patient.page);
    patient.sign();
    assert!(patient.page.contains("You confirmed the record."), "{}", patient.page);
    assert!(patient.page.contains("No records wait"), "{}", patient.page);
}
