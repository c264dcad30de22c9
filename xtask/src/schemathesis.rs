//! Schemathesis against a served gateway: requests made from its OpenAPI document, good ones and bad ones,
//! whose answers must be what the document says.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    run::{Failure, built, output, program, root, succeed},
    tools,
};

/// How long it may take, in seconds.
const SECONDS_MAX: &str = "75";

/// The same requests in every run.
const SEED: &str = "2026";

/// What must hold of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// The id of the resources that are there, which the document gives as an example.
const EXAMPLE: &str = "example";

/// Serves a consortium, writes a patient with a few records, and lets Schemathesis at it.
pub(crate) fn run() -> Result<(), Failure> {
    let schemathesis = tools::install_schemathesis()?;
    let dir = root().join("target/schemathesis-data");
    let _ = fs::remove_dir_all(&dir);
    let up = Up::start(&dir)?;
    let token = up.salus(&["token", "physician"])?;
    up.fill(token.trim())?;
    let base = format!("http://{}/fhir", up.address);
    let mut command = program(&schemathesis.to_string_lossy(), &["run"]);
    command
        .arg(format!("{base}/openapi.json"))
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "4"])
        .args(["--max-time", SECONDS_MAX, "--seed", SEED, "--workers", "1"])
        .args(["--checks", CHECKS, "--warnings", "off", "--no-color"])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", token.trim()));
    let outcome = succeed(command.current_dir(root().join("target")));
    up.stop()?;
    let _ = fs::remove_dir_all(&dir);
    outcome.map_err(|_| "an answer is not what the OpenAPI document says; see above".into())
}

/// `salus up`, serving.
struct Up {
    program: PathBuf,
    dir: PathBuf,
    process: Child,
    /// Where the hospital's gateway listens.
    address: String,
}

impl Up {
    fn start(dir: &Path) -> Result<Self, Failure> {
        let program = built("salus")?;
        let mut command = Command::new(&program);
        command.arg("--data").arg(dir).args(["up", "--no-story", "--rpc", "127.0.0.1:0"]);
        command.args(["--fhir-port-base", "0"]).env("SALUS_LOG", "warn").stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("{program:?}: {error}"))?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("it has no output")?).lines();
        let mut address = None;
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(found) = line.trim().strip_prefix("FHIR R4 of the hospital on http://") {
                address = found.strip_suffix("/fhir").map(str::to_owned);
            }
            if line.contains("stop with Ctrl-C") {
                break;
            }
        }
        // What it prints later is of no interest, but must have somewhere to go.
        std::thread::spawn(move || lines.for_each(drop));
        let mut up = Self { program, dir: dir.into(), process, address: String::new() };
        match address {
            Some(address) => up.address = address,
            None => return Err("`salus up` does not serve".into()),
        }
        Ok(up)
    }

    /// What a command prints.
    fn salus(&self, arguments: &[&str]) -> Result<String, Failure> {
        output(Command::new(&self.program).arg("--data").arg(&self.dir).args(arguments))
    }

    /// Writes a patient and what else the document's examples name.
    fn fill(&self, token: &str) -> Result<(), Failure> {
        let listed = self.salus(&["who"])?;
        let line = listed.lines().find(|line| line.contains("P001")).ok_or("there is no P001")?;
        let account = line.split_whitespace().last().ok_or("P001 has no account")?;
        let subject = json!({ "reference": format!("Patient/{EXAMPLE}") });
        let resources = [
            json!({ "resourceType": "Patient", "name": [{ "family": "Example" }],
                "identifier": [{ "system": "urn:salus:account", "value": account }] }),
            json!({ "resourceType": "Observation", "status": "final", "subject": subject,
                "code": { "text": "Example" } }),
            json!({ "resourceType": "Condition", "subject": subject, "code": { "text": "Example" } }),
            json!({ "resourceType": "Encounter", "status": "finished", "subject": subject,
                "class": { "code": "AMB" } }),
            json!({ "resourceType": "Organization", "name": "Example" }),
            json!({ "resourceType": "Location", "name": "Example" }),
        ];
        for mut resource in resources {
            resource["id"] = EXAMPLE.into();
            let resource_type = resource["resourceType"].as_str().unwrap_or_default().to_owned();
            let status = self.put(token, &format!("{resource_type}/{EXAMPLE}"), &resource)?;
            if status != "201" {
                return Err(format!("{resource_type} was not made: {status}"));
            }
        }
        Ok(())
    }

    /// Puts a resource; gives the status of the answer.
    fn put(&self, token: &str, path: &str, resource: &Value) -> Result<String, Failure> {
        let body = resource.to_string();
        let head = format!(
            "PUT /fhir/{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/fhir+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        let mut answer = String::new();
        let mut exchange = || {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.write_all((head.clone() + &body).as_bytes())?;
            stream.read_to_string(&mut answer)
        };
        exchange().map_err(|error| error.to_string())?;
        Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
    }

    /// Asks it to stop, and waits; it must end well.
    fn stop(mut self) -> Result<(), Failure> {
        succeed(&mut program("kill", &["-TERM", &self.process.id().to_string()]))?;
        let status = self.process.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("`salus up` ended with {status}")) }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
