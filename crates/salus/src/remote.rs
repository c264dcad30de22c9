//! Commands from another terminal: sent through a socket in the data directory to whatever runs there.
//!
//! The socket lies in a directory that only its owner can enter, so whoever can reach it could also
//! read the keys. A command is one line of JSON with its arguments; the answer one line with what it
//! printed and its exit code. When nothing runs, the command opens the directory itself.

use std::{
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser as _;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

use crate::{
    Error,
    cli::Cli,
    commands,
    consortium::{Consortium, OpenOptions},
    printing::{complain, put_whole},
};

/// The longest request taken, in bytes: a command line, and what was piped in as base64.
const REQUEST_BYTES_MAX: u64 = 24 << 20;

/// The most that is taken from a pipe, in bytes.
const INPUT_BYTES_MAX: usize = hl7v2::BATCH_BYTES_MAX;

#[derive(Serialize, Deserialize)]
struct Request {
    arguments: Vec<String>,
    /// Where the command was typed, for the files that it names.
    directory: PathBuf,
    /// What was piped in, in base64.
    #[serde(default)]
    input: String,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    output: String,
    code: u8,
}

/// The server for commands.
pub(crate) struct CommandServer {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl CommandServer {
    pub(crate) fn stop(self) {
        self.task.abort();
        let _ = std::fs::remove_file(self.path);
    }
}

fn socket_path(dir: &Path) -> PathBuf {
    dir.join("salus.sock")
}

/// Takes commands from other terminals.
pub(crate) fn serve(consortium: Arc<Consortium>) -> Result<CommandServer, Error> {
    let path = socket_path(consortium.keys.dir());
    // Whoever held the directory before is gone; the lock on the chain says so.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let consortium = Arc::clone(&consortium);
            tokio::spawn(async move {
                if let Err(error) = answer(&consortium, stream).await {
                    tracing::warn!(%error, "a command could not be answered");
                }
            });
        }
    });
    Ok(CommandServer { path, task })
}

async fn answer(consortium: &Consortium, mut stream: UnixStream) -> Result<(), Error> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let request: Request = serde_json::from_str(&line)?;
    let arguments = std::iter::once("salus".to_owned()).chain(request.arguments);
    let answer = match Cli::try_parse_from(arguments) {
        Ok(cli) => {
            let input = STANDARD.decode(&request.input).unwrap_or_default();
            execute(consortium, cli, &request.directory, &input).await
        }
        Err(error) => Answer { output: error.to_string(), code: 2 },
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    Ok(())
}

async fn execute(consortium: &Consortium, cli: Cli, directory: &Path, input: &[u8]) -> Answer {
    match commands::execute(consortium, cli.command, directory, input).await {
        Ok((output, code)) => Answer { output, code },
        Err(error) => {
            let mut output = format!("error: {}\n", consortium.shorten(&error.to_string()));
            let mut cause = error.source();
            while let Some(source) = cause {
                output += &format!("  because: {}\n", consortium.shorten(&source.to_string()));
                cause = source.source();
            }
            Answer { output, code: 2 }
        }
    }
}

/// Runs a command: through the socket when something runs in the data directory, here otherwise.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode, Error> {
    let directory = std::env::current_dir()?;
    let input = if cli.reads_input() { piped_in()? } else { Vec::new() };
    let data = cli.data();
    let answer = match UnixStream::connect(socket_path(&data)).await {
        Ok(stream) => ask(stream, directory, &input).await?,
        Err(_) => {
            if !data.join("chain").exists() {
                let dir = data.display();
                return Err(format!("there is no consortium in {dir}; run `salus up` first").into());
            }
            let consortium = Consortium::open(&data, &OpenOptions::default()).await?;
            let answer = execute(&consortium, cli, &directory, &input).await;
            consortium.close().await;
            answer
        }
    };
    if answer.code == 2 {
        complain(format_args!("{}", answer.output));
    } else {
        put_whole(&answer.output).map_err(|error| format!("could not print: {error}"))?;
    }
    Ok(ExitCode::from(answer.code))
}

/// All that is piped in, if it is not too much.
fn piped_in() -> Result<Vec<u8>, Error> {
    let mut input = Vec::new();
    io::stdin().take(INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut input)?;
    if input.len() > INPUT_BYTES_MAX {
        return Err(format!("more than {INPUT_BYTES_MAX} bytes were piped in").into());
    }
    Ok(input)
}

async fn ask(mut stream: UnixStream, directory: PathBuf, input: &[u8]) -> Result<Answer, Error> {
    let arguments = std::env::args().skip(1).collect();
    let input = STANDARD.encode(input);
    let mut text = serde_json::to_vec(&Request { arguments, directory, input })?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut line = String::new();
    stream.read_to_string(&mut line).await?;
    if line.is_empty() {
        // It was stopped, and may have sent a transaction before.
        let stopped = "what was running ended before it answered; \
                       whether the command was carried out, `salus timeline` tells once it runs again";
        return Err(stopped.into());
    }
    Ok(serde_json::from_str(&line)?)
}
