//! One institution's program: its FHIR interface with everything around it.
//!
//! `salus gateway` serves one institution against any chain; `salus up` serves one gateway for each
//! institution of the demonstration. Both are [`site::Site`]s: who asks is told by a SMART token
//! (`authenticator`), what they get is decided in the gatekeeper, and every request passes the same limits
//! and leaves the same line in the log (`guard`), with no id and no name in it (S1).

mod api;
mod authenticator;
mod backup;
mod demo;
mod exchanging;
mod figures;
mod guard;
mod health;
mod init;
mod issuing;
mod notifying;
mod opening;
mod patient_node;
mod patients;
mod reading;
mod running;
mod server;
mod settings;
mod site;

use std::{path::PathBuf, process::ExitCode};

use crate::{
    Error,
    cli::{GatewayCommand, GatewayOptions, PatientNodeCommand, PatientNodeOptions},
    commands::report_text,
    printing::{put, say},
    start_logging,
};

pub(crate) use demo::{DemoSites, token};
pub(crate) use issuing::Tokens;
pub(crate) use patients::{identity_digest, number_digest};
pub(crate) use running::interruption;

use reading::Flags;
use settings::Settings;

/// Does what was asked of one institution's gateway. `data` is the directory, when a flag names one.
pub(crate) async fn run(data: Option<PathBuf>, options: GatewayOptions) -> Result<ExitCode, Error> {
    let data = data.map(|path| path.to_string_lossy().into_owned());
    let flags = Flags::default()
        .with("data", data)
        .with("listen", options.listen)
        .with("database", options.database)
        .with("ledger.rpc", options.rpc);
    let settings = reading::read(&options.config, flags)?;
    start_logging(&settings.log);
    match options.command {
        None => running::run(&settings).await,
        Some(GatewayCommand::Init { json }) => init::init(&settings, json).await,
        Some(GatewayCommand::Keys { json }) => init::keys(&settings, json).await,
        Some(GatewayCommand::Reconcile { json }) => reconcile(&settings, json).await,
        Some(GatewayCommand::Backup { to }) => backup::backup(&settings, &to).await,
        Some(GatewayCommand::Restore { from }) => backup::restore(&settings, &from),
    }
}

/// Does what was asked of a patient's own node.
pub(crate) async fn run_node(
    data: Option<PathBuf>,
    options: PatientNodeOptions,
) -> Result<ExitCode, Error> {
    let data = data.map(|path| path.to_string_lossy().into_owned());
    let flags = Flags::default().with("data", data).with("ledger.rpc", options.rpc);
    let settings = reading::read_node(&options.config, flags)?;
    start_logging(&settings.log);
    match options.command {
        None => patient_node::run(&settings).await,
        Some(PatientNodeCommand::Init { json }) => patient_node::init(&settings, json).await,
        Some(PatientNodeCommand::Register { signed: None }) => {
            patient_node::print_statements(&settings).await
        }
        Some(PatientNodeCommand::Register { signed: Some(file) }) => {
            patient_node::send_statements(&settings, &file).await
        }
        Some(PatientNodeCommand::List { json }) => patient_node::list(&settings, json).await,
    }
}

/// Holds the vault against the chain, while nothing else uses it.
async fn reconcile(settings: &Settings, as_json: bool) -> Result<ExitCode, Error> {
    let opened = opening::open(settings).await?;
    let now = opening::now(opened.gateway.gatekeeper.ledger());
    let report = opened.gateway.gatekeeper.reconcile(now).await;
    opened.close(settings, settings.limits.stop_timeout).await;
    let report = report?;
    if as_json {
        say!("{:#}", serde_json::to_value(&report)?);
    } else {
        put(format_args!("{}", report_text(&settings.name, &report)));
    }
    Ok(ExitCode::from(u8::from(!report.is_clean())))
}
