//! A consortium's directory, the program running in it, and requests to it.

#![allow(missing_docs, dead_code, clippy::unwrap_used, reason = "tests; each uses a part")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use sqlx::Connection as _;

/// How long an answer may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with a data directory, told nothing by this process's environment.
pub(crate) fn salus(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salus"));
    let own = std::env::vars_os().map(|(name, _)| name);
    for name in own.filter(|name| name.to_string_lossy().starts_with("SALUS_")) {
        command.env_remove(name);
    }
    command.arg("--data").arg(data);
    command
}

pub(crate) fn run(data: &Path, arguments: &[&str]) -> Output {
    salus(data).args(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command prints when it works.
#[track_caller]
pub(crate) fn good(data: &Path, arguments: &[&str]) -> String {
    let output = run(data, arguments);
    let (printed, failed) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {printed}{failed}");
    printed
}

/// What a command says when it fails, which must be with exit code 2.
#[track_caller]
pub(crate) fn bad(data: &Path, arguments: &[&str]) -> String {
    let output = run(data, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

/// A process that serves until it is stopped or dropped.
pub(crate) struct Serving {
    process: Child,
    /// What it printed until it served.
    pub(crate) printed: String,
    log: Arc<Mutex<String>>,
    logging: Option<JoinHandle<()>>,
}

impl Serving {
    /// Starts a command, and waits until it says how to stop it.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (to, from) = (Arc::clone(&log), process.stderr.take().unwrap());
        let logging = std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                *to.lock().unwrap() += &(line + "\n");
            }
        });
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut printed = String::new();
        for line in lines.by_ref().map_while(Result::ok) {
            printed += &(line.clone() + "\n");
            if line.contains("stop with Ctrl-C") {
                break;
            }
        }
        let mut serving = Self { process, printed, log, logging: Some(logging) };
        if !serving.printed.contains("stop with Ctrl-C") {
            let log = serving.logged();
            panic!("it does not serve: {}{log}", serving.printed);
        }
        std::thread::spawn(move || lines.for_each(drop));
        serving
    }

    /// `salus up` without the story, on any free ports.
    pub(crate) fn up(data: &Path) -> Self {
        let mut command = salus(data);
        command.args(["up", "--no-story", "--rpc", "127.0.0.1:0", "--fhir-port-base", "0"]);
        Self::start(command)
    }

    /// Where the FHIR interface of an institution listens.
    #[track_caller]
    pub(crate) fn address(&self, institution: &str) -> String {
        let wanted = |line: &&str| line.contains("FHIR R4") && line.contains(institution);
        let line = self.printed.lines().find(wanted);
        let line = line.unwrap_or_else(|| panic!("{institution}: {}", self.printed));
        let (_, rest) = line.split_once("http://").unwrap();
        rest.split_once("/fhir").unwrap().0.to_owned()
    }

    /// What it logged until now.
    pub(crate) fn logged_so_far(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits until it stopped, which must be without a complaint; returns its whole log.
    pub(crate) fn wait(mut self) -> String {
        let status = self.process.wait().unwrap();
        let log = self.logged();
        assert!(status.success(), "{status}: {log}");
        log
    }

    /// Asks it to stop and waits; returns its whole log.
    pub(crate) fn stop(self) -> String {
        self.ask_to_stop();
        self.wait()
    }

    /// What it logged, once it ended.
    fn logged(&mut self) -> String {
        if let Some(logging) = self.logging.take() {
            let _ = logging.join();
        }
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) head: String,
    /// As it came.
    pub(crate) raw_head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Reads one answer to the end of the connection.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let answer = String::from_utf8(bytes).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or("0").parse().unwrap();
        let (raw_head, body) = (head.to_owned(), body.to_owned());
        Self { status, head: head.to_lowercase(), raw_head, body }
    }
}

/// Sends a request on a connection of its own.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("content-length: {}\r\n", body.len());
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all((request + "\r\n" + body).as_bytes()).unwrap();
    Answer::read(&mut stream)
}

pub(crate) fn get(address: &str, path: &str) -> Answer {
    send(address, "GET", path, &[], "")
}

/// Sends a FHIR request with a token.
pub(crate) fn fhir(address: &str, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("content-type", "application/fhir+json")];
    send(address, method, &format!("/fhir/{path}"), &headers, body)
}

/// A copy of a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The configuration of a gateway on a consortium's directory.
pub(crate) fn configure(home: &Path, name: &str, more: &str) {
    let config = format!(
        "name = \"{name}\"\ndata = \"data\"\nlisten = \"127.0.0.1:0\"\n{more}\n\
         [smart]\ndevelopment_issuer = true\n"
    );
    fs::write(home.join("salus.toml"), config).unwrap();
}

/// `salus gateway` with the configuration in `home`.
pub(crate) fn gateway(home: &Path) -> Command {
    let mut command = salus(&home.join("data"));
    command.arg("gateway").arg("--config").arg(home.join("salus.toml"));
    command
}

/// The cluster for tests, when there is one.
pub(crate) fn cluster() -> Option<String> {
    let url = std::env::var("SALUS_TEST_POSTGRES").ok();
    if url.is_none() {
        eprintln!("SKIPPED: no PostgreSQL; set SALUS_TEST_POSTGRES to the URL of a cluster");
    }
    url
}

/// A new database in the cluster.
pub(crate) fn make_database(cluster: &str, name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("salus_gateway_{}_{number}_{name}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(cluster).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    });
    let (base, query) = cluster.split_once('?').unwrap_or((cluster, ""));
    let (base, _) = base.rsplit_once('/').unwrap();
    if query.is_empty() { format!("{base}/{name}") } else { format!("{base}/{name}?{query}") }
}
