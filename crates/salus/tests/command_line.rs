//! The binary as people use it: the main job, the commands from another terminal, and what goes wrong.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

fn salus(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salus"));
    command.arg("--data").arg(dir).env_remove("SALUS_PASSPHRASE");
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    salus(dir).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command prints when it works.
fn good(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    let (printed, failed) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {printed}{failed}");
    printed
}

/// What a command says when it fails, which must be with exit code 2.
fn bad(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

/// `salus up` that keeps serving until dropped.
struct Serving {
    process: Child,
    address: String,
}

impl Serving {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let mut command = salus(dir);
        command
            .args(["up", "--no-story", "--rpc", "127.0.0.1:0", "--fhir-port-base", "0"])
            .args(more);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.trim().strip_prefix("JSON-RPC on http://")?;
                Some(rest.split(' ').next()?.to_owned())
            })
            .expect("it says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()["result"].clone()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The word after `label` in what was printed.
fn word_after<'a>(printed: &'a str, label: &str) -> &'a str {
    let (_, rest) = printed.split_once(label).unwrap_or_else(|| panic!("no {label}: {printed}"));
    rest.split_whitespace().next().unwrap().trim_end_matches(',')
}

/// The longest hexadecimal word of a line that holds `part`.
fn hash_in_line(printed: &str, part: &str) -> String {
    let line = printed.lines().find(|line| line.contains(part));
    let line = line.unwrap_or_else(|| panic!("no line with {part}: {printed}"));
    let mut words = line.split_whitespace().filter(|word| word.starts_with("0x"));
    words.find(|word| word.len() == 66).unwrap().to_owned()
}

/// One data directory that was set up once; each test works on a copy of its own.
fn set_up() -> tempfile::TempDir {
    static TEMPLATE: std::sync::LazyLock<tempfile::TempDir> = std::sync::LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let printed = good(&dir.path().join("data"), &["up", "--once"]);
        for told in [
            "dispenses it a second time: refused",
            "reads it on the patient's consent alone: refused",
            "reads it again: refused",
            "reads without an opening: refused",
            "reads what the patient closed: refused",
            "claims it before the second signature: refused",
            "overrides what the checks found",
            "releases a preliminary result: refused",
            "sends it for somebody else: refused",
            "sends it again: taken before",
            "signs in today what is scheduled for tomorrow: refused",
            "signs the plan instead of the checklist: refused",
            "begins before sign-in and time-out: refused",
            "traces the implant to surgery and patient",
            "lists the same referral a second time: refused",
            "gives an appointment without a priority: refused",
            "says a second time that the patient came: refused",
            "leaves the waiting list",
            "counts all rows again: 364 people, as published",
            "finds the two rows between which one person was moved",
            "reads the claim without the patient's consent: refused",
            "decides the appeal against their own decision: refused",
            "has together to the cent what they had before",
            "enrols it with a key that is not the device's: refused",
            "sends readings before the patient accepted it: refused",
            "sends the same batch again: refused",
            "sends a batch under another batch's signature: refused",
            "holds another value against the chain: not in the batch",
            "sends readings of a firmware that was recalled: refused",
            "sends what its former key signed: refused",
            "reveals no seed before the data is locked",
            "delivers an extract of these few: refused",
            "asks for the same with one person less: refused",
            "the very bytes, and one changed is not it",
            "takes the share a second time: refused",
            "uses the extract and knows of no withdrawal: refused",
            "is not in it any more",
            "in their own vault",
            "found exactly these three",
            "Gas and cost",
            "Summary",
        ] {
            assert!(printed.contains(told), "the story tells: {told}\n{printed}");
        }
        dir
    });
    let dir = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(TEMPLATE.path().join("data")).arg(dir.path());
    assert!(copy.status().unwrap().success());
    dir
}

#[test]
fn commands_work_on_what_was_left_behind_and_from_another_terminal() {
    let dir = set_up();
    let data = dir.path().join("data");
    // Nothing runs: the command opens the directory itself.
    assert!(good(&data, &["who"]).contains("P003"));
    let clean = good(&data, &["reconcile"]);
    assert!(clean.contains("nothing differs"), "{clean}");

    let serving = Serving::start(&data, &[]);
    assert_eq!(serving.call("eth_chainId", json!([])), "0x11b8b");
    let before = serving.call("eth_blockNumber", json!([]));
    let refused = bad(&data, &["records", "read", "P002", "--as", "consultant"]);
    assert!(refused.contains("refuse"), "{refused}");
    let granted = good(&data, &["consent", "grant", "P002", "emergency", "--kinds", "condition"]);
    assert!(granted.contains("version 1"), "{granted}");
    let read = ["records", "read", "P002", "--as", "consultant", "--kinds", "condition"];
    assert!(good(&data, &read).contains("consent"));
    good(&data, &["consent", "revoke", "P002", "emergency"]);
    assert!(bad(&data, &read).contains("refuse"));
    let again = good(&data, &["consent", "revoke", "P002", "emergency"]);
    assert!(again.contains("taken back already") && !again.contains("transaction"), "{again}");
    assert_ne!(serving.call("eth_blockNumber", json!([])), before);

    let issued = good(&data, &["rx", "issue", "P002", "lisinopril 10 MG"]);
    let id = word_after(&issued, "prescription ");
    assert!(bad(&data, &["rx", "claim", id]).contains("the contract refuses"));
    good(&data, &["rx", "permit", "P002", id]);
    good(&data, &["relate", "P002", "pharmacy"]);
    good(&data, &["rx", "claim", id]);
    good(&data, &["rx", "dispense", "P002", id, "--batch", "B-1", "--expires", "2040-05-31"]);
    assert!(
        bad(&data, &["rx", "dispense", "P002", id, "--batch", "B-1", "--expires", "2040-05-31"])
            .contains("the contract refuses")
    );
    assert!(good(&data, &["timeline", "P002"]).contains("pharmacist"));
    assert!(good(&data, &["rx", "show", id]).contains("completed by the pharmacy"));
    good(&data, &["rx", "confirm", "P002", id]);
    let shown = good(&data, &["rx", "show", id]);
    for told in [
        "prescription 0x",
        ": completed\n",
        "for          P002",
        "by           physician of the hospital, 20",
        "completed: 1, left: 0",
        "valid until  20",
        "claimed      by nobody",
        "pharmacy: by prescriber yes, by patient yes",
        "the patient has it",
        "medication record 0x",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    // A refusal is told by name, and so is what the records are that its steps sealed.
    let again = bad(&data, &["rx", "claim", id]);
    assert!(
        again.contains("is completed, and this step does not follow on that (WrongState)"),
        "{again}"
    );
    let timeline = good(&data, &["timeline", id]);
    for told in ["prescription issued for P002", "30 units dispensed"] {
        assert!(timeline.contains(told), "{told}: {timeline}");
    }
    let sealed_by = |who: &str| {
        let sealed = |line: &&str| line.contains("medication record proposed");
        timeline.lines().filter(sealed).any(|line| line.contains(&format!("  {who}  ")))
    };
    assert!(sealed_by("hospital") && sealed_by("pharmacy"), "{timeline}");
    assert!(!timeline.contains('—'), "{timeline}");
    let too_much =
        ["rx", "issue", "P002", "lisinopril 10 MG", "--milligrams", "50", "--times", "2"];
    let output = run(&data, &too_much);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("more than 80 mg a day"));
    let despite = [too_much.as_slice(), &["--despite", "tolerated for years"]].concat();
    assert!(good(&data, &despite).contains("overrides what the checks found"));
    operate(&data);
    assert!(good(&data, &["log", "P002"]).contains("refused"));
    let fetched = good(&data, &["records", "fetch", "P002"]);
    assert!(fetched.contains("hospital"), "{fetched}");
    assert!(good(&data, &["reconcile"]).contains("nothing differs"));
}

/// From the referral to the sign-in.
fn operate(data: &Path) {
    let referral = ["surgery", "refer", "P002", "hip replacement", "--reason", "osteoarthritis"];
    let referred = good(data, &referral);
    let id = word_after(&referred, "surgery ");
    let plan = ["--operation", "hip replacement", "--site", "left", "--disclosed", "infection"];
    let assessed = good(data, &[["surgery", "assess", "P002", id].as_slice(), &plan].concat());
    assert!(bad(data, &["surgery", "schedule", id]).contains("the contract refuses"));
    let plan = word_after(&assessed, "plan ");
    assert!(good(data, &["surgery", "consent", "P002", id, plan]).contains("opens it"));
    good(data, &["surgery", "schedule", id]);
    let sign = ["surgery", "sign", "P002", id, "sign-in", "--as"];
    let lacking = [sign.as_slice(), &["nurse", "--answer", "identity=yes"]].concat();
    assert!(bad(data, &lacking).contains("site-marked takes exactly one answer"));
    let asked = good(data, &["surgery", "checklist", "sign-in"]);
    assert!(asked.contains("aspiration risk? (`no`, or `yes: WHAT IS READY`)"), "{asked}");
    let answers_with = |site_marked: &str| -> Vec<String> {
        let keys = asked.lines().filter_map(|line| line.split_once(':')).map(|(key, _)| key);
        let answer = |key| match key {
            "site-marked" => site_marked.to_owned(),
            "airway" | "blood-loss" => "no".to_owned(),
            _ => "yes".to_owned(),
        };
        keys.flat_map(|key| ["--answer".to_owned(), format!("{key}={}", answer(key))]).collect()
    };
    let fill_in = |answers: &[String], more: &[&str]| -> Vec<String> {
        let words = sign.iter().chain(&["nurse"]).chain(more).map(|word| (*word).to_owned());
        words.chain(answers.iter().cloned()).collect()
    };
    let refused =
        |words: Vec<String>| bad(data, &words.iter().map(String::as_str).collect::<Vec<_>>());
    // What is scheduled for tomorrow is not signed in today, and a no takes a reason.
    assert!(refused(fill_in(&answers_with("yes"), &[])).contains("schedule it anew"));
    good(data, &["surgery", "schedule", id, "--hours", "1"]);
    assert!(refused(fill_in(&answers_with("no"), &[])).contains("site-marked takes"));
    let words = fill_in(&answers_with("no: a single organ"), &[]);
    let signed = good(data, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let digest = word_after(&signed, "signed ").trim_end_matches(':').to_owned();
    // Another document does not void that signature unless somebody says so.
    assert!(refused(fill_in(&answers_with("yes"), &[])).contains("begins anew"));
    let plan_digest = |digest| [sign.as_slice(), &["physician", "--digest", digest]].concat();
    let typed_in = format!("0x{}", "17".repeat(32));
    assert!(bad(data, &plan_digest(&typed_in)).contains("begins anew"));
    let anew = [plan_digest(&typed_in).as_slice(), &["--anew"]].concat();
    assert!(bad(data, &anew).contains("keeps no record of this patient"));
    let signed = good(data, &plan_digest(&digest));
    assert!(signed.contains("complete"), "{signed}");
    let shown = good(data, &["surgery", "show", id]);
    assert!(shown.starts_with("signed in, round 1"), "{shown}");
    assert!(shown.contains("sign-in signed by nurse, physician, complete"), "{shown}");
    assert!(good(data, &["timeline", id]).contains("sign-in signed, complete"));
}

#[test]
fn what_is_given_is_looked_at_first() {
    let dir = set_up();
    let data = dir.path().join("data");
    let _serving = Serving::start(&data, &[]);
    let unrelated = bad(&data, &["lab", "order", "P003", "potassium"]);
    assert!(unrelated.contains("keeps no records") && unrelated.contains("salus relate"));
    let empty = bad(&data, &["emergency", "open", "P003", "--reason", " "]);
    assert!(empty.contains("the reason is empty"), "{empty}");
    let absurd = bad(&data, &["rx", "issue", "P002", "lisinopril", "--quantity", "4000000000"]);
    assert!(absurd.contains("the quantity is at most 10000"), "{absurd}");
    let id = "11".repeat(32);
    let dispense = ["rx", "dispense", "P002", &*id, "--batch", "B-1", "--expires", "2027-02-29"];
    let day = bad(&data, &dispense);
    assert!(day.contains("a day is written like"), "{day}");

    // Kinds that the patient closed: left out by default, refused when they are named.
    good(&data, &["emergency", "restrict", "P003", "--kinds", "allergy,condition"]);
    let named = ["--kinds", "allergy,medication,laboratory"];
    let open = ["emergency", "open", "P003", "--reason", "found unconscious"];
    let refused = bad(&data, &[&open[..], &named[..]].concat());
    assert!(refused.contains("allergy; use --kinds medication,laboratory"), "{refused}");
    let opened = good(&data, &open);
    assert!(opened.contains("left out, for the patient closed it: condition, allergy"), "{opened}");
    let id = word_after(&opened, "opening ");
    let review = ["emergency", "review", "P003", id, "justified", "--note", "seen"];
    let early = bad(&data, &review);
    assert!(early.contains("end it first"), "{early}");
    good(&data, &["emergency", "end", "P003", id]);
    assert!(good(&data, &review).contains("salt of the note"));
}

#[test]
fn results_come_as_messages() {
    let dir = set_up();
    let data = dir.path().join("data");
    let _serving = Serving::start(&data, &[]);
    let registered = ["lab", "register", "P002", "urn:oid:1.2.3.4", "A-17"];
    good(&data, &["relate", "P002", "laboratory"]);
    good(&data, &registered);
    assert!(bad(&data, &registered).contains("AlreadyBound"));
    let ordered = good(&data, &["lab", "order", "P002", "potassium"]);
    let id = word_after(&ordered, "order ");
    let message = |control: &str, number: &str, status: &str, flag: &str| {
        format!(
            "MSH|^~\\&|LIS|LAB|SALUS|LAB|20261123||ORU^R01|{control}|P|2.5.1\r\
             PID|1||{number}^^^&1.2.3.4&ISO||Planted^Name\r\
             OBR|1|{id}|F-1|2823-3^Potassium^LN|||202611230815||||||||||||||||||{status}\r\
             OBX|1|NM|2823-3^Potassium^LN||6.90|mmol/L^^UCUM|3.5-5.0|{flag}|||{status}\r"
        )
    };
    let take = |messages: &str, more: &[&str]| {
        let mut command = salus(&data);
        command.args(["lab", "import-hl7"]).args(more).arg("-");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(messages.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        (output.status.code(), text(&output.stdout))
    };
    let offset = ["--offset", "+01:00"];
    let first = message("1", "A-17", "P", "HH");
    let (code, said) = take(&first, &[]);
    assert!(code == Some(1) && said.contains("OBR[1]-7.1 has a time without an offset"), "{said}");
    let (code, said) = take(&first, &offset);
    assert!(code == Some(1) && said.contains("MSA|AE|1"), "the specimen is not there yet: {said}");
    good(&data, &["lab", "collect", id]);
    let (code, said) = take(&first, &offset);
    assert!(code == Some(0) && said.contains("MSA|AA|1"), "{said}");
    assert!(said.contains("reports a critical preliminary result"), "{said}");
    let record = word_after(&said, "result ").to_owned();
    let (code, said) = take(&message("2", "A-18", "F", "HH"), &offset);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("PID[1]-3 does not name the patient for whom the order is"), "{said}");
    // A file with a batch: what was taken before is answered again, and one is new.
    let batch = format!("BHS|^~\\&|LIS\r{first}{}BTS|2\r", message("2", "A-17", "F", "H"));
    let path = dir.path().join("batch.hl7");
    fs::write(&path, batch).unwrap();
    let file = path.to_str().unwrap();
    let said = good(&data, &["lab", "import-hl7", file, offset[0], offset[1]]);
    assert!(said.contains("version 1, taken before") && said.contains("MSA|AA|2"), "{said}");
    assert!(said.contains(&format!("result {record}, version 2\n")), "{said}");
    assert!(!said.contains("Planted"), "{said}");
    let shown = good(&data, &["lab", "show", id]);
    for told in [
        "laboratory order 0x",
        ": resulted\n",
        "for          P002",
        "to           laboratory",
        "result 1     preliminary, critical, by scientist",
        "result 2     final, by scientist",
        &format!("laboratory record {record}, version 2"),
        "acknowledged not yet",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let read = ["records", "read", "P002", "--as", "P002", "--at", "laboratory", "--show"];
    let shown = good(&data, &read);
    assert!(shown.contains("DiagnosticReport") && shown.contains("\"value\":6.90"), "{shown}");
    assert!(good(&data, &["timeline", id]).contains("preliminary result reported, critical"));
    assert!(good(&data, &["reconcile"]).contains("nothing differs"));
}

#[test]
fn a_patient_waits_and_a_census_is_counted_again() {
    let dir = set_up();
    let data = dir.path().join("data");
    let _serving = Serving::start(&data, &[]);
    let refer = ["waitlist", "refer", "P002", "Cardiology", "--reason", "planted words"];
    let referred = good(&data, &refer);
    let (id, number) = (word_after(&referred, "listing "), word_after(&referred, "referral "));
    let again = bad(&data, &[&refer[..], &["--referral", number]].concat());
    assert!(again.contains("is on this hospital's list already"), "{again}");
    assert!(good(&data, &["waitlist", "show", id]).contains("P002 waits for a priority"));
    assert!(bad(&data, &["waitlist", "schedule", "P002", id]).contains("WrongState"));
    good(&data, &["waitlist", "prioritise", id, "2"]);
    good(&data, &["waitlist", "schedule", "P002", id]);
    assert!(bad(&data, &["waitlist", "attend", id]).contains("InvalidTime"));
    assert!(bad(&data, &["waitlist", "miss", id]).contains("InvalidTime"));
    let by = ["waitlist", "remove", "P002", id, "--reason", "planted words", "--as", "paramedic"];
    assert!(bad(&data, &by).contains("NotAllowed"));
    good(&data, &by[..6]);
    assert!(good(&data, &["waitlist", "show", id]).contains("P002 waits no more"));
    let timeline = good(&data, &["timeline", id]);
    for told in ["waiting list of hospital", "priority 2", "appointment at", "removed from"] {
        assert!(timeline.contains(told), "{told}: {timeline}");
    }
    assert!(!timeline.contains("planted"), "{timeline}");

    let rows = include_str!("../demo/waiting-list.csv").replace("0999", "0998");
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let whole = write("whole.csv", rows.clone());
    let changed = write("changed.csv", rows.replacen(",41\n", ",42\n", 1));
    let broken = write("broken.csv", rows.replacen(",41\n", ",many\n", 1));
    let code = |arguments: &[&str]| {
        let output = run(&data, arguments);
        (output.status.code(), text(&output.stdout))
    };
    let (refused, said) = code(&["waitlist", "census", &broken, "--anchor"]);
    assert_eq!(refused, Some(1), "{said}");
    assert!(said.contains("broken.csv, line 2: its total is no whole number"), "{said}");
    assert!(said.contains("nothing is anchored"), "{said}");
    let (absent, said) = code(&["waitlist", "census", &whole, "--check"]);
    assert!(absent == Some(1) && said.contains("not published"), "{said}");
    let anchored = good(&data, &["waitlist", "census", &whole, "--anchor"]);
    assert!(anchored.contains("7 rows, 364 people"), "{anchored}");
    let again = good(&data, &["waitlist", "census", &whole, "--anchor"]);
    assert!(again.contains("version 1 already") && !again.contains("transaction"), "{again}");
    let (nothing, said) = code(&["waitlist", "census", &whole, "--hospital", "0111", "--anchor"]);
    assert_eq!(nothing, Some(1), "{said}");
    let why = "no row of hospital 0111; they have hospital 0998 for 2024-01";
    assert!(said.contains(why), "{said}");
    let empty = write("empty.csv", rows.lines().next().unwrap().to_owned() + "\n");
    let (nothing, said) = code(&["waitlist", "census", &empty]);
    assert!(nothing == Some(1) && said.contains("nothing to count"), "{said}");
    let same = good(&data, &["waitlist", "census", &whole, "--check"]);
    assert!(same.contains("version 1, the same"), "{same}");
    let (differs, said) = code(&["waitlist", "census", &changed, "--check"]);
    assert!(differs == Some(1) && said.contains("version 1 DIFFERS: 7 rows, 364"), "{said}");

    let proof = dir.path().join("row.json");
    let path = proof.to_str().unwrap();
    let prove = ["--row", "3", "--out", path];
    let other = bad(&data, &[&["waitlist", "prove", &changed], &prove[..]].concat());
    assert!(other.contains("not the rows that were published"), "{other}");
    good(&data, &[&["waitlist", "prove", &whole], &prove[..]].concat());
    let proven = good(&data, &["waitlist", "verify", path]);
    assert!(proven.contains(": in the census of hospital 0998 for 2024-01"), "{proven}");
    let mut forged: Value = serde_json::from_slice(&fs::read(&proof).unwrap()).unwrap();
    forged["row"]["count"] = json!(forged["row"]["count"].as_u64().unwrap() + 1);
    fs::write(&proof, forged.to_string()).unwrap();
    let (forged, said) = code(&["waitlist", "verify", path]);
    assert!(forged == Some(1) && said.contains("NOT in the census"), "{said}");
}

#[test]
fn a_transaction_is_seen_before_and_after_it_is_sealed() {
    let dir = set_up();
    let data = dir.path().join("data");
    let serving = Serving::start(&data, &["--seal-every", "3600"]);
    // It waits for a block that comes in an hour, so the command does not end by itself.
    let granting = ["consent", "grant", "P001", "laboratory", "--kinds", "allergy"];
    let mut waiting = salus(&data);
    waiting.args(granting).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut waiting = waiting.spawn().unwrap();
    let (hash, shown) = loop {
        let printed = good(&data, &["tx", "pending"]);
        // The gateways' own transactions wait beside it.
        let of_hospital = printed.lines().filter(|line| line.contains("hospital"));
        let mut shown = of_hospital.map(|line| {
            let hash = hash_in_line(line, "hospital");
            let shown = good(&data, &["tx", "show", &hash]);
            (hash, shown)
        });
        if let Some(found) = shown.find(|(_, shown)| shown.contains("grant")) {
            break found;
        }
        assert!(waiting.try_wait().unwrap().is_none(), "the command waits for its block");
        std::thread::yield_now();
    };
    assert!(shown.contains("waiting for a block"), "{shown}");
    assert!(shown.contains("would succeed now"), "{shown}");
    assert!(shown.contains("grant"), "{shown}");
    let content = serving.call("txpool_content", json!([]));
    assert!(content["pending"].to_string().contains(&hash), "{content}");
    drop(serving);
    let left_alone = waiting.wait_with_output().unwrap();
    assert_eq!(left_alone.status.code(), Some(2));
    let said = text(&left_alone.stderr);
    assert!(said.starts_with("error: what was running ended before it answered"), "{said}");

    let serving = Serving::start(&data, &[]);
    let sealed = good(&data, &["consent", "grant", "P001", "laboratory", "--kinds", "condition"]);
    assert!(sealed.contains("block"), "{sealed}");
    // The gateways' own transactions may have come after it.
    let mut block = serving.call("eth_getBlockByNumber", json!(["latest", false]));
    let shown = loop {
        let hashes = block["transactions"].as_array().unwrap().iter();
        let mut shown = hashes.map(|hash| good(&data, &["tx", "show", hash.as_str().unwrap()]));
        if let Some(found) = shown.find(|shown| shown.contains("grant")) {
            break found;
        }
        block = serving.call("eth_getBlockByHash", json!([block["parentHash"], false]));
    };
    for part in ["succeeded, sealed in block", "gas used", "event", "grant"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn an_exported_bundle_proves_a_record_without_the_network() {
    let dir = set_up();
    let data = dir.path().join("data");
    let listed = good(&data, &["records", "list", "P001"]);
    for state in ["accepted", "in a batch"] {
        let record = hash_in_line(&listed, state);
        let bundle = dir.path().join("bundle.json");
        let path = bundle.to_str().unwrap();
        good(&data, &["records", "export", &record, "--out", path]);
        // Verifying needs the bundle, and whom to trust: the directory given here does not exist.
        let nowhere = dir.path().join("nowhere");
        let deployment = data.join("deployments/72587.json");
        let listed: Value = serde_json::from_slice(&fs::read(&deployment).unwrap()).unwrap();
        let contract = ["verify", path, "--contract", listed["Records"].as_str().unwrap()];
        let file = ["verify", path, "--deployment", deployment.to_str().unwrap()];
        let proven = good(&nowhere, &contract);
        assert!(proven.starts_with("proven, if you trust this block: 0x"), "{proven}");
        assert!(proven.contains(&record), "{proven}");
        assert_eq!(good(&nowhere, &file), proven);
        let hash = word_after(&proven, "this block: ");
        let proven = good(&nowhere, &[&contract[..], &["--block-hash", hash]].concat());
        assert!(proven.starts_with("proven\n"), "{proven}");
        assert!(bad(&nowhere, &["verify", path]).contains("--contract"));
        let other_block = format!("0x{}", "11".repeat(32));
        let other_contract = listed["Consents"].as_str().unwrap();
        for refused in [
            [&contract[..], &["--block-hash", &other_block]].concat(),
            vec!["verify", path, "--contract", other_contract],
        ] {
            let output = run(&nowhere, &refused);
            assert_eq!(output.status.code(), Some(1));
            assert!(text(&output.stdout).starts_with("not proven: "));
        }

        let mut forged: Value = serde_json::from_slice(&fs::read(&bundle).unwrap()).unwrap();
        let sealed = forged["sealed"].as_str().unwrap();
        let (kept, last) = sealed.split_at(sealed.len() - 1);
        forged["sealed"] = json!(format!("{kept}{}", if last == "0" { "1" } else { "0" }));
        fs::write(&bundle, forged.to_string()).unwrap();
        let output = run(&nowhere, &contract);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        assert!(text(&output.stdout).contains("not proven"));
    }
}

#[test]
fn refused_files_are_named_and_the_exit_code_is_1() {
    let dir = set_up();
    let data = dir.path().join("data");
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("broken.json"), "{ \"resourceType\": \"Bundle\", ").unwrap();
    fs::write(files.join("latin.json"), b"{ \"resourceType\": \"Pati\xe9nt\" }").unwrap();
    let whole = include_str!("../demo/patient-1.json").replace("demo-", "other-");
    fs::write(files.join("whole.json"), whole).unwrap();
    let output = run(&data, &["up", "--once", "--fhir", files.to_str().unwrap()]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}{}", text(&output.stderr));
    for part in ["broken.json", "latin.json", "2 files were refused whole", "1 files,"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn what_cannot_work_is_said_clearly() {
    let dir = set_up();
    let data = dir.path().join("data");
    assert!(bad(&dir.path().join("none"), &["who"]).contains("run `salus up` first"));
    let missing = bad(&data, &["up", "--once", "--fhir", "not-there.json"]);
    assert!(missing.contains("not-there.json"), "{missing}");
    assert!(bad(&data, &["records", "list", "P999"]).contains("salus who"));
    let nothing = format!("0x{}", "5a".repeat(32));
    let unknown = bad(&data, &["timeline", &nothing]);
    assert!(unknown.contains("nothing on chain is about 0x5a"), "{unknown}");
    let unknown = bad(&data, &["timeline", "0x00"]);
    assert!(unknown.contains("0x00") || unknown.contains("salus who"), "{unknown}");

    let seed = "11".repeat(32);
    assert!(bad(&data, &["up", "--once", "--seed", &seed]).contains("--seed"));
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    assert!(Command::new("chmod").arg("755").arg(&open).status().unwrap().success());
    assert!(bad(&open, &["up", "--once"]).contains("chmod 700"));

    // Somebody else listens there.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = bad(&data, &["up", "--no-story", "--rpc", &address]);
    assert!(failed.contains("--rpc"), "{failed}");

    // One process at a time.
    let _serving = Serving::start(&data, &[]);
    let second = bad(&data, &["up", "--once"]);
    assert!(second.contains("another process"), "{second}");
}

/// As after `| head`: there is nobody to tell, which is no fault.
#[test]
fn nobody_has_to_read_to_the_end() {
    let dir = set_up();
    let data = dir.path().join("data");
    let unread = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = salus(&data).args(arguments).stdout(writer).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    // What a command did is done.
    assert_eq!(unread(&["who"]), (Some(0), String::new()));
    assert_eq!(unread(&["consent", "revoke", "P001", "laboratory"]), (Some(0), String::new()));
    // The main job ends early, and says so to whoever started it.
    assert_eq!(unread(&["up", "--once"]), (Some(2), String::new()));
    assert!(good(&data, &["reconcile"]).contains("nothing differs"));
}

/// Root may write everywhere, so the command runs as somebody who may not.
#[test]
fn a_directory_that_cannot_be_written_is_said_clearly() {
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let failed = bad(&file.join("data"), &["up", "--once"]);
    assert!(failed.contains("--data"), "{failed}");

    let program = PathBuf::from(env!("CARGO_BIN_EXE_salus"));
    let copy = dir.path().join("salus");
    fs::copy(program, &copy).unwrap();
    if !Command::new("chmod").args(["a+rx"]).args([dir.path(), &copy]).status().unwrap().success() {
        return;
    }
    let mut command = Command::new(&copy);
    command.args(["up", "--once", "--data"]).arg(dir.path().join("data")).current_dir("/");
    let output = match command.uid(NOBODY).gid(NOBODY).output() {
        // Already somebody else, who may not become nobody.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return,
        output => output.unwrap(),
    };
    assert_eq!(output.status.code(), Some(2));
    let failed = text(&output.stderr);
    assert!(failed.contains("--data") && failed.contains("permissions"), "{failed}");
}

#[test]
fn simulate_needs_nothing_and_refuses_what_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scale.csv");
    let printed = good(dir.path(), &["simulate", "--out", file.to_str().unwrap()]);
    assert!(printed.contains("ireland") && printed.contains("it holds"), "{printed}");
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 5, "a head and four presets");
    let json = good(dir.path(), &["simulate", "--preset", "city", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["columns"][0]["inputs"]["population"]["people"], 100_000.0);
    assert!(bad(dir.path(), &["simulate", "--people", "0"]).contains("`people` must be"));
    assert!(
        bad(dir.path(), &["simulate", "--out", "/nowhere/at/all.csv"]).contains("could not write")
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "it leaves nothing else");
}
