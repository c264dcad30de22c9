//! Drive it from a terminal.
//!
//! `salus up` runs a whole consortium in one process: chain, contracts, institutions, patients. The
//! other commands act on it, from another terminal while it runs or on what it left behind.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "`printing` does, and ends in peace where nobody reads"
)]

mod cli;
mod commands;
mod consortium;
mod gateway;
mod institution;
mod keys;
mod machines;
mod people;
mod price;
mod printing;
mod remote;
mod simulate;
mod story;
mod study;
mod system;
mod table;
mod tamper;
mod tx;
mod up;
mod verify;
mod volunteers;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use printing::complain;

/// Something did not work; the message says what to do, its causes say why.
type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        // Its configuration says what it logs.
        Command::Gateway(_) | Command::PatientNode(_) => {}
        // It says itself that anybody can sign in as anybody.
        Command::Up(_) => start_logging("warn,smart::issuer=error"),
        _ => start_logging("warn"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report(&*error);
            ExitCode::from(2)
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Error> {
    match cli.command {
        Command::Up(ref options) => up::up(&cli.data(), options.clone()).await,
        Command::Gateway(options) => gateway::run(cli.data, options).await,
        Command::PatientNode(options) => gateway::run_node(cli.data, options).await,
        Command::Verify(options) => verify::verify(&options),
        Command::Study(options) => study::study(*options).await,
        Command::Simulate(options) => simulate::simulate(&options),
        _ => remote::run(cli).await,
    }
}

/// Prints an error with all its causes, once.
fn report(error: &dyn std::error::Error) {
    complain(format_args!("error: {error}\n"));
    let mut cause = error.source();
    while let Some(source) = cause {
        complain(format_args!("  because: {source}\n"));
        cause = source.source();
    }
}

/// Logs go to standard error, as JSON, by this filter unless `SALUS_LOG` says otherwise.
fn start_logging(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SALUS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(filter));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
}
