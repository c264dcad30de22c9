//! The main job: a consortium, its records, one patient's story, and serving afterwards.

use std::{
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use chain::{Chain, ServerLimits};
use fhir::ImportIndex;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::net::TcpListener;
use workflows::{
    Step,
    import::{FileProblem, ImportReport, Importer, ParsedPatient, SourceFile, Sources},
};

use crate::{
    Error,
    cli::UpOptions,
    consortium::{Consortium, OpenOptions},
    gateway::{DemoSites, interruption},
    price::Price,
    printing::{put, say},
    remote,
    story::{self, Story},
    table::{Table, thousands},
};

/// How often the receipts of reads are anchored while serving.
const LOG_ANCHORED_EVERY: Duration = Duration::from_secs(60);

/// Runs everything; the exit code is 1 when files were refused.
pub(crate) async fn up(dir: &Path, options: UpOptions) -> Result<ExitCode, Error> {
    let started = Instant::now();
    say!("Salus: a consortium in one process, kept in {}", dir.display());
    let seal_every = options.seal_every.map(Duration::from_secs);
    let open = OpenOptions { seed: options.seed, seal_every };
    let consortium = Arc::new(Consortium::open(dir, &open).await?);
    print_setup(&consortium, started.elapsed());
    // Whatever happens from here on, what was done is stored and the directory let go.
    let outcome = run(&consortium, &options).await;
    consortium.close().await;
    outcome
}

async fn run(consortium: &Arc<Consortium>, options: &UpOptions) -> Result<ExitCode, Error> {
    let imported = import(consortium, options).await?;
    print_import(consortium, &imported);
    if !options.no_story {
        let price = Price { gwei: options.gwei, usd_per_ether: options.usd };
        let story = story::play(consortium, options.only).await?;
        print_costs(&consortium.setup, &imported, &story, price);
        let summary = Summary::new(consortium.chain(), &imported, &story);
        summary.print(&imported, &story);
        if let Some(path) = &options.summary {
            std::fs::write(path, serde_json::to_vec_pretty(&summary)?)
                .map_err(|error| format!("could not write {}: {error}", path.display()))?;
        }
    }
    if !options.once {
        serve(consortium, options).await?;
    }
    Ok(ExitCode::from(u8::from(!imported.report.problems.is_empty())))
}

fn print_setup(consortium: &Consortium, took: Duration) {
    say!();
    say!("Institutions and people");
    let mut table = Table::new(&["who", "role", "member address"], &[]);
    for gateway in consortium.institutions() {
        let role = gateway.role.to_string();
        table.row(vec![gateway.name.clone(), role, gateway.member().to_string()]);
        for (institution, person) in consortium.people() {
            if institution == gateway.name {
                let (name, role) = (format!("  {}", person.name), person.role.to_string());
                table.row(vec![name, role, person.member.to_string()]);
            }
        }
    }
    put(format_args!("{table}"));
    let head = consortium.chain().head();
    let fresh = if consortium.setup.is_empty() { "continued" } else { "founded" };
    say!(
        "  chain {} {fresh} at block {}, {} patients known, ready in {:.1} s",
        consortium.chain().chain_id(),
        head.header.number,
        consortium.patients.len(),
        took.as_secs_f64(),
    );
}

/// What an import did.
struct Imported {
    report: ImportReport,
    /// The transactions for the patients it met.
    steps: Vec<Step>,
    /// How long all of it took.
    took: Duration,
    /// How much of that went by while accounts and relationships were made.
    meeting: Duration,
}

/// Imports what was asked for, or the small set of our own making when nothing is there yet.
async fn import(consortium: &Consortium, options: &UpOptions) -> Result<Imported, Error> {
    let started = Instant::now();
    let hospital = consortium.institution("hospital");
    let physician = consortium.person("physician").member;
    let secrets = consortium.secrets("hospital");
    let index = ImportIndex::open(hospital, *secrets.index_key).await?;
    let index = index.with_directory(*secrets.directory_key);
    let mut importer = Importer::new(hospital, physician).with(Arc::new(index));
    let mut steps = Vec::new();
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("  {spinner} {msg} in {elapsed}")
            .expect("the template is valid"),
    );
    let files: Box<dyn Iterator<Item = Result<SourceFile, FileProblem>> + Send> =
        match &options.fhir {
            Some(path) => Box::new(Sources::open(path)?),
            None => Box::new(story::own_records().into_iter().map(Ok)),
        };
    let (mut meeting, mut met) = (Duration::ZERO, Vec::new());
    let accounts_of = async |patients: &[ParsedPatient]| {
        let started = Instant::now();
        let accounts = consortium.meet(patients, &mut steps).await?;
        meeting += started.elapsed();
        met.extend_from_slice(&accounts);
        Ok(accounts)
    };
    let progress = |report: &ImportReport| {
        bar.set_message(format!(
            "{} files, {} patients, {} records sealed and anchored",
            report.files, report.patients, report.records
        ));
        bar.tick();
    };
    importer.take_all(files, consortium.now(), accounts_of, progress).await?;
    let report = importer.finish().await?;
    // Whoever brings the records cares for the patients.
    for patient in met {
        hospital.gatekeeper.join_care_team(patient, physician, consortium.now()).await?;
    }
    bar.finish_and_clear();
    Ok(Imported { report, steps, took: started.elapsed(), meeting })
}

fn print_import(consortium: &Consortium, imported: &Imported) {
    let Imported { report, took, meeting, .. } = imported;
    say!();
    say!("Import into the hospital's vault");
    say!(
        "  {} files, {} patients; {} records ({}) sealed and anchored, batches: {}; \
         here already: {}; about no patient: {} in the directory, {} not kept",
        thousands(report.files),
        thousands(report.patients),
        thousands(report.records),
        megabytes(report.bytes),
        report.batches.len(),
        thousands(report.already_here),
        thousands(report.directory),
        thousands(report.not_records),
    );
    if report.records > 0 {
        say!(
            "  {:.1} s, of which {:.1} s for patients' accounts and relationships: {} records/s",
            took.as_secs_f64(),
            meeting.as_secs_f64(),
            thousands(per_second(report.records, *took))
        );
    }
    for problem in &report.problems {
        say!("  refused: {problem}");
    }
    if !report.problems.is_empty() {
        say!("  {} files were refused whole; nothing of them was kept", report.problems.len());
    }
    say!("  {} patients are known now", consortium.patients.len());
}

/// One line per operation: how often, what it used, what that costs.
fn print_costs(setup: &[Step], imported: &Imported, story: &Story, price: Price) {
    say!();
    say!("Gas and cost, at {} gwei and {} dollars per ether", price.gwei, price.usd_per_ether);
    let head = ["operation", "times", "gas, mean", "gas, most", "cost of one"];
    let mut table = Table::new(&head, &[1, 2, 3, 4]);
    let mut operations: Vec<(String, Vec<u64>)> = Vec::new();
    let mut add = |operation: String, gas: u64| match operations
        .iter_mut()
        .find(|(name, _)| *name == operation)
    {
        Some((_, all)) => all.push(gas),
        None => operations.push((operation, vec![gas])),
    };
    for step in setup.iter().chain(&imported.steps).chain(&story.steps) {
        let operation = match step.operation {
            "deploy" => step.what.clone(),
            operation => operation.into(),
        };
        add(operation, step.gas_used);
    }
    for (_, gas) in &imported.report.batches {
        add("record.anchor-batch".into(), *gas);
    }
    operations.sort();
    for (operation, gas) in operations {
        let mean = gas.iter().sum::<u64>() / gas.len() as u64;
        let most = gas.iter().max().copied().unwrap_or_default();
        let cost = format!("${:.4}", price.usd(mean));
        let times = gas.len().to_string();
        table.row(vec![operation, times, thousands(mean), thousands(most), cost]);
    }
    put(format_args!("{table}"));
}

/// What a run did, in figures.
#[derive(Serialize)]
struct Summary {
    imported_patients: u64,
    imported_records: u64,
    imported_bytes: u64,
    import_seconds: f64,
    /// How many of these went by while accounts and relationships were made.
    accounts_seconds: f64,
    reconciled_versions: u64,
    reconciled_bytes: u64,
    reconcile_seconds: f64,
    blocks: u64,
    chain_bytes: u64,
    /// Where the system tells.
    peak_memory_megabytes: Option<u64>,
}

impl Summary {
    fn new(chain: &Chain, imported: &Imported, story: &Story) -> Self {
        let report = &imported.report;
        Self {
            imported_patients: report.patients,
            imported_records: report.records,
            imported_bytes: report.bytes,
            import_seconds: imported.took.as_secs_f64(),
            accounts_seconds: imported.meeting.as_secs_f64(),
            reconciled_versions: story.reconciled_versions,
            reconciled_bytes: story.reconciled_bytes,
            reconcile_seconds: story.reconcile_time.as_secs_f64(),
            blocks: chain.head().header.number,
            chain_bytes: chain.log_size_bytes(),
            peak_memory_megabytes: peak_memory_megabytes(),
        }
    }

    fn print(&self, imported: &Imported, story: &Story) {
        say!();
        say!("Summary");
        say!(
            "  imported {} records of {} patients at {} records/s",
            thousands(self.imported_records),
            thousands(self.imported_patients),
            thousands(per_second(self.imported_records, imported.took)),
        );
        say!(
            "  reconciled {} versions, {}, at {} versions/s",
            thousands(self.reconciled_versions),
            megabytes(self.reconciled_bytes),
            thousands(per_second(self.reconciled_versions, story.reconcile_time)),
        );
        say!("  chain: {} blocks, {}", thousands(self.blocks), megabytes(self.chain_bytes));
        if let Some(megabytes) = self.peak_memory_megabytes {
            say!("  memory at most {megabytes} MB");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits only")]
fn megabytes(bytes: u64) -> String {
    match bytes {
        ..100_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// How many a second, rounded down.
fn per_second(count: u64, took: Duration) -> u64 {
    let rate = u128::from(count) * 1_000_000 / took.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// The most memory that this process held, where the system tells.
fn peak_memory_megabytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes / 1_024)
}

/// Serves JSON-RPC and the other commands until interrupted.
async fn serve(consortium: &Arc<Consortium>, options: &UpOptions) -> Result<(), Error> {
    let listener = TcpListener::bind(options.rpc).await.map_err(|error| {
        format!("could not listen on {}: {error}; choose another address with --rpc", options.rpc)
    })?;
    let server = consortium.rpc.serve(listener, ServerLimits::default())?;
    let sites = DemoSites::start(consortium, options.fhir_port_base).await?;
    let commands = remote::serve(Arc::clone(consortium))?;
    let interrupted = interruption()?;
    say!();
    say!("Serving");
    say!("  JSON-RPC on http://{0} and ws://{0}", server.address());
    sites.print();
    say!("  commands from another terminal: salus who, salus timeline P001, salus --help");
    say!("  stop with Ctrl-C");
    let anchoring = async {
        loop {
            tokio::time::sleep(LOG_ANCHORED_EVERY).await;
            consortium.anchor_logs().await;
        }
    };
    tokio::select! {
        () = interrupted => {}
        () = anchoring => {}
    }
    say!("stopping");
    sites.stop().await;
    commands.stop();
    server.stop();
    Ok(())
}
