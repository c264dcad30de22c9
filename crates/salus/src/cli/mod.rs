//! What can be typed.

mod claim;
mod day;
mod device;
mod research;
mod simulate;
mod study;
mod surgery;
mod trial;
mod waitlist;

use std::path::PathBuf;

use alloy_primitives::{Address, B256};
use clap::{Args, Parser, Subcommand};
use domain::{Kind, Purpose};

use crate::story::Chapter;

pub(crate) use claim::ClaimCommand;
pub(crate) use day::Day;
pub(crate) use device::{DeviceCommand, DevicePlan, FirmwareCommand, SimulateOptions};
pub(crate) use research::ResearchCommand;
pub(crate) use simulate::ScaleOptions;
pub(crate) use study::{StudyMode, StudyOptions};
pub(crate) use surgery::{SurgeryCommand, SurgeryNote, SurgeryPlan};
pub(crate) use trial::TrialCommand;
pub(crate) use waitlist::{CensusRows, WaitlistCommand};

/// Patients' records, shared under the patient's consent, governed on Ethereum.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// Where everything is kept [default: salus-data].
    #[arg(long, global = true, env = "SALUS_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Where everything is kept.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| "salus-data".into())
    }

    /// Whether the command reads what is typed or piped into it.
    pub(crate) fn reads_input(&self) -> bool {
        match &self.command {
            Command::Lab(LabCommand::ImportHl7 { files, .. }) => {
                files.iter().any(|file| file.as_os_str() == "-")
            }
            _ => false,
        }
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole consortium in this process, import records, and play one patient's story.
    Up(UpOptions),
    /// Run one institution's gateway: serve it, make its keys, back it up, restore it.
    Gateway(GatewayOptions),
    /// Run a patient's own node: it takes over copies of their records from the stewards.
    PatientNode(PatientNodeOptions),
    /// Print a bearer token for somebody of the consortium that `salus up` serves.
    Token {
        /// A person, an institution, or a patient (P001).
        who: String,
        /// For the gateway of which institution.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// Who takes part: institutions, people, patients, with their addresses.
    Who,
    /// Sign what a step that was begun over the interface waits for, as somebody of the demonstration.
    Sign {
        /// Who signs.
        who: String,
        /// The digest that the step names.
        digest: B256,
    },
    /// An institution and a patient agree that it keeps records for them.
    Relate {
        /// The patient.
        patient: String,
        /// The institution.
        institution: String,
        /// Readers from elsewhere need the institution's signature beside the patient's consent.
        #[arg(long)]
        countersigned: bool,
    },
    /// Care teams: who cares for a patient, and so reads there without being asked.
    #[command(subcommand)]
    Care(CareCommand),
    /// Records: list, read, propose, answer, export.
    #[command(subcommand)]
    Records(RecordsCommand),
    /// Consents: list, grant, countersign, revoke.
    #[command(subcommand)]
    Consent(ConsentCommand),
    /// Prescriptions.
    #[command(subcommand)]
    Rx(RxCommand),
    /// Laboratory orders.
    #[command(subcommand)]
    Lab(LabCommand),
    /// Breaking the glass.
    #[command(subcommand)]
    Emergency(EmergencyCommand),
    /// Surgery, from the referral to the follow-up.
    #[command(subcommand)]
    Surgery(SurgeryCommand),
    /// Clinical trials: protocol, consent, arms, visits, lock, results.
    #[command(subcommand)]
    Trial(TrialCommand),
    /// Devices: attested, bound to patients, with signed readings; and simulated ones.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Waiting lists: refer, prioritise, schedule, attend, remove; their monthly census.
    #[command(subcommand)]
    Waitlist(WaitlistCommand),
    /// Claims: coverage, what is asked beforehand, claims, decisions, appeals, and money.
    #[command(subcommand)]
    Claim(ClaimCommand),
    /// Data for research: offers, studies, consent, counts, extracts.
    #[command(subcommand)]
    Research(ResearchCommand),
    /// Everything on chain about a patient, a device, or anything with an id, every step held against its block.
    ///
    /// With the id of a workflow come the records that its steps sealed. Exits with 1 when a step is not in its
    /// block, and with 2 when nothing on chain is about what was asked for.
    Timeline {
        /// A patient (P001 or an account), a device (by name or address), a member by address, or the id of a
        /// record, batch, prescription, laboratory order, emergency opening, surgery, implant, listing, trial,
        /// coverage, authorisation, claim, offer, study, order of an extract, or model of a device.
        subject: String,
    },
    /// A patient's access log: who looked, and who was refused.
    Log {
        /// The patient.
        patient: String,
        /// At which institution.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// Hold an institution's vault against the chain. Exits with 1 when something differs.
    Reconcile {
        /// Which institution; all of them when left out.
        #[arg(long)]
        at: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check a record's proof bundle without any network.
    Verify(VerifyOptions),
    /// The cost study: execute waiting lists row by row, patient by patient and in batches, and write what that costs
    /// as report, tables and figures.
    Study(Box<StudyOptions>),
    /// Work out on paper what a city, Ireland, the EU and the world would take: chain, storage, bandwidth, money.
    Simulate(ScaleOptions),
    /// Transactions, before and after they are sealed.
    #[command(subcommand)]
    Tx(TxCommand),
}

/// How to run a consortium.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpOptions {
    /// FHIR R4 records to import: a folder, a .tar.zst archive, a .json bundle or .ndjson. Without it,
    /// a small set of our own making.
    #[arg(long)]
    pub(crate) fhir: Option<PathBuf>,
    /// Stop after the story instead of serving.
    #[arg(long)]
    pub(crate) once: bool,
    /// Tell only this part of the story.
    #[arg(long)]
    pub(crate) only: Option<Chapter>,
    /// Serve without playing the story.
    #[arg(long, conflicts_with_all = ["once", "only"])]
    pub(crate) no_story: bool,
    /// Where JSON-RPC listens.
    #[arg(long, env = "SALUS_RPC", default_value = "127.0.0.1:8545")]
    pub(crate) rpc: std::net::SocketAddr,
    /// The FHIR interfaces listen on the ports after this one; 0 for any free ports.
    #[arg(long, env = "SALUS_FHIR_PORT_BASE", default_value_t = 8100)]
    pub(crate) fhir_port_base: u16,
    /// Make a block at most every so many seconds, instead of as soon as something waits.
    #[arg(long)]
    pub(crate) seal_every: Option<u64>,
    /// Also write the figures of the summary to this file, as JSON.
    #[arg(long)]
    pub(crate) summary: Option<PathBuf>,
    /// The gas price at which costs are shown, in gwei.
    #[arg(long, default_value_t = crate::price::Price::default().gwei)]
    pub(crate) gwei: f64,
    /// The price of ether at which costs are shown, in dollars.
    #[arg(long, default_value_t = crate::price::Price::default().usd_per_ether)]
    pub(crate) usd: f64,
    /// 32 bytes in hexadecimal from which all keys are made, for runs that can be repeated. Whoever
    /// knows it has every key: for demonstrations only.
    #[arg(long, hide = true)]
    pub(crate) seed: Option<B256>,
}

/// How to run one gateway.
#[derive(Clone, Debug, Args)]
pub(crate) struct GatewayOptions {
    /// The configuration. What stands in it is overridden by SALUS_… in the environment (two underscores
    /// lead into a table: SALUS_LEDGER__RPC), and that by flags.
    #[arg(long, global = true, default_value = "salus.toml")]
    pub(crate) config: PathBuf,
    /// Where HTTP listens.
    #[arg(long, global = true)]
    pub(crate) listen: Option<String>,
    /// The database: a path, or postgres://HOST/NAME.
    #[arg(long, global = true)]
    pub(crate) database: Option<String>,
    /// The chain's JSON-RPC endpoint.
    #[arg(long, global = true)]
    pub(crate) rpc: Option<String>,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub(crate) command: Option<GatewayCommand>,
}

/// How to run a patient's node.
#[derive(Clone, Debug, Args)]
pub(crate) struct PatientNodeOptions {
    /// The configuration. What stands in it is overridden by SALUS_… in the environment (two underscores
    /// lead into a table: SALUS_LEDGER__RPC), and that by flags.
    #[arg(long, global = true, default_value = "patient.toml")]
    pub(crate) config: PathBuf,
    /// The chain's JSON-RPC endpoint.
    #[arg(long, global = true)]
    pub(crate) rpc: Option<String>,
    /// What to do instead of taking part.
    #[command(subcommand)]
    pub(crate) command: Option<PatientNodeCommand>,
}

/// What else can be done with a patient's node.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PatientNodeCommand {
    /// Make the patient's keys, or print what is public of them.
    Init {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have the node of an account with a passkey noted at the patient's stewards: print what the account
    /// is to sign, or send what it signed.
    Register {
        /// The file that was printed, with a `signature` added to each statement.
        #[arg(long)]
        signed: Option<PathBuf>,
    },
    /// List what is here, and whether it is intact. Exits with 1 when something is damaged.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What else can be done with one gateway.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Make the institution's keys, and print what the members of the network vote on.
    Init {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what is public of the institution's keys.
    Keys {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hold the vault against the chain. Exits with 1 when something differs.
    Reconcile {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a backup, while the gateway runs or not.
    Backup {
        /// Where to: a new file, FILE.tar.zst.
        #[arg(long)]
        to: PathBuf,
    },
    /// Restore a backup where there is nothing yet.
    Restore {
        /// The backup.
        #[arg(long)]
        from: PathBuf,
    },
}

/// What can be done with care teams.
#[derive(Debug, Subcommand)]
pub(crate) enum CareCommand {
    /// A person begins to care for a patient, at the institution that they act for.
    Join {
        /// For whom.
        patient: String,
        /// Who.
        person: String,
    },
    /// A person cares for a patient no more.
    Leave {
        /// For whom.
        patient: String,
        /// Who.
        person: String,
    },
    /// Who cares for a patient.
    List {
        /// For whom.
        patient: String,
        /// At which institution.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
}

/// What can be done with records.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordsCommand {
    /// List what an institution keeps of a patient: ids, kinds, states.
    List {
        /// Whose.
        patient: String,
        /// At which institution.
        #[arg(long, default_value = "hospital")]
        at: String,
    },
    /// Read as somebody, by a signed query.
    Read {
        /// Whose.
        patient: String,
        /// Who reads: a person, or the patient.
        #[arg(long = "as")]
        reader: String,
        /// Why.
        #[arg(long, default_value = "treatment")]
        purpose: Purpose,
        /// Which kinds; all when left out.
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<Kind>,
        /// The only record wanted.
        #[arg(long)]
        record: Option<B256>,
        /// At which institution.
        #[arg(long, default_value = "hospital")]
        at: String,
        /// Print the records themselves.
        #[arg(long)]
        show: bool,
    },
    /// Seal a FHIR resource from a file and propose it to the patient.
    Propose {
        /// To whom.
        patient: String,
        /// The resource.
        file: PathBuf,
        /// Who writes it.
        #[arg(long = "as", default_value = "physician")]
        author: String,
    },
    /// The patient accepts a proposed record.
    Accept {
        /// Who.
        patient: String,
        /// Which record.
        record: B256,
    },
    /// The patient rejects a proposed record.
    Reject {
        /// Who.
        patient: String,
        /// Which record.
        record: B256,
    },
    /// Bring a patient's records from every institution into the patient's own vault.
    Fetch {
        /// Whose.
        patient: String,
    },
    /// Write a proof bundle that `salus verify` checks offline.
    Export {
        /// Which record.
        record: B256,
        /// Which version.
        #[arg(long, default_value_t = 1)]
        version: u32,
        /// At which institution.
        #[arg(long, default_value = "hospital")]
        at: String,
        /// Where to.
        #[arg(long)]
        out: PathBuf,
    },
}

/// What can be done with consents.
#[derive(Debug, Subcommand)]
pub(crate) enum ConsentCommand {
    /// A patient's consents.
    List {
        /// Whose.
        patient: String,
    },
    /// The patient consents that somebody reads.
    Grant {
        /// Who consents.
        patient: String,
        /// Who may read: an institution or a person.
        reader: String,
        /// Which kinds.
        #[arg(long, value_delimiter = ',', required = true)]
        kinds: Vec<Kind>,
        /// For which purposes.
        #[arg(long, value_delimiter = ',', default_value = "treatment")]
        purposes: Vec<Purpose>,
        /// For how many days.
        #[arg(long, default_value_t = 30)]
        days: u64,
        /// Only this record.
        #[arg(long)]
        record: Option<B256>,
    },
    /// The steward countersigns a consent.
    Countersign {
        /// Whose consent.
        patient: String,
        /// To whom.
        reader: String,
        /// The steward.
        #[arg(long, default_value = "hospital")]
        at: String,
        /// Only this record.
        #[arg(long)]
        record: Option<B256>,
    },
    /// The patient takes a consent back.
    Revoke {
        /// Who revokes.
        patient: String,
        /// From whom.
        reader: String,
        /// Only this record.
        #[arg(long)]
        record: Option<B256>,
    },
}

/// What can be done with prescriptions.
#[derive(Debug, Subcommand)]
pub(crate) enum RxCommand {
    /// The physician issues a prescription.
    Issue {
        /// For whom.
        patient: String,
        /// The medicine, in words.
        medicine: String,
        /// How to take it.
        #[arg(long, default_value = "one tablet a day")]
        dosage: String,
        /// How much each time, in milligrams: what the dose is checked by. Without it, it is not.
        #[arg(long)]
        milligrams: Option<String>,
        /// How often a day.
        #[arg(long, default_value_t = 1, requires = "milligrams")]
        times: u32,
        /// Units per fill.
        #[arg(long, default_value_t = 30)]
        quantity: u32,
        /// How often it may be filled.
        #[arg(long, default_value_t = 1)]
        fills: u8,
        /// For how many days it counts.
        #[arg(long, default_value_t = 30)]
        days: u64,
        /// It is a controlled medicine: the surgeon signs, too, with `countersign`.
        #[arg(long)]
        controlled: bool,
        /// The pharmacist may hand out no other product.
        #[arg(long)]
        as_written: bool,
        /// Why it is issued in spite of what the checks find.
        #[arg(long)]
        despite: Option<String>,
    },
    /// The surgeon signs a controlled prescription as the second doctor.
    Countersign {
        /// Which.
        id: B256,
    },
    /// Physician and patient permit the pharmacy.
    Permit {
        /// Whose prescription.
        patient: String,
        /// Which.
        id: B256,
        /// Who permits; both when left out.
        #[arg(long, value_parser = ["prescriber", "patient"])]
        by: Option<String>,
    },
    /// The pharmacist claims it.
    Claim {
        /// Which.
        id: B256,
    },
    /// The pharmacist gives the claim up.
    Release {
        /// Which.
        id: B256,
    },
    /// The pharmacist hands out another product of the same kind; `dispense` follows.
    Substitute {
        /// Whose prescription.
        patient: String,
        /// Which.
        id: B256,
        /// The product, in words.
        product: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// The pharmacist dispenses.
    Dispense {
        /// Whose prescription.
        patient: String,
        /// Which.
        id: B256,
        /// How many units.
        #[arg(long, default_value_t = 30)]
        quantity: u32,
        /// The batch number on the package.
        #[arg(long)]
        batch: String,
        /// The last day on which the product may be used, as on the package: 2027-05-31.
        #[arg(long)]
        expires: Day,
    },
    /// The patient confirms that they have what was dispensed.
    Confirm {
        /// Whose prescription.
        patient: String,
        /// Which.
        id: B256,
        /// Which fill, from 1.
        #[arg(long, default_value_t = 1)]
        fill: u8,
    },
    /// The physician cancels it.
    Cancel {
        /// Which.
        id: B256,
    },
    /// Where it stands.
    Show {
        /// Which.
        id: B256,
    },
}

/// What can be done with laboratory orders.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// The physician orders a test.
    Order {
        /// For whom.
        patient: String,
        /// The test, in words.
        test: String,
    },
    /// The laboratory takes the specimen.
    Collect {
        /// Which order.
        id: B256,
    },
    /// The laboratory takes the specimen over from whoever has it.
    TakeOver {
        /// For whom.
        patient: String,
        /// Which order.
        id: B256,
        /// Where, and in what condition.
        condition: String,
    },
    /// Whose hands the specimen went through.
    Custody {
        /// Which order.
        id: B256,
    },
    /// The laboratory reports a preliminary result; `final` follows.
    Preliminary {
        /// For whom.
        patient: String,
        /// Which order.
        id: B256,
        /// The result, in words.
        result: String,
        /// Whether it needs attention at once.
        #[arg(long)]
        critical: bool,
    },
    /// The laboratory reports the final result after a preliminary one.
    Final(LabVersion),
    /// The laboratory corrects the result.
    Correct(LabVersion),
    /// The physician escalates a critical result that nobody acknowledged in time.
    Escalate {
        /// Which order.
        id: B256,
    },
    /// The physician cancels the order before there is a result.
    Cancel {
        /// Which order.
        id: B256,
    },
    /// The laboratory reports the result.
    Report {
        /// For whom.
        patient: String,
        /// Which order.
        id: B256,
        /// The result, in words.
        result: String,
        /// Whether it needs attention at once.
        #[arg(long)]
        critical: bool,
    },
    /// The laboratory enters a patient's number in the registry, as a digest that only it can make: by that
    /// number, messages name the patient.
    Register {
        /// Whose.
        patient: String,
        /// The numbering system, as a URI: `urn:oid:1.2.3` for an authority 1.2.3 of type ISO.
        system: String,
        /// The number.
        number: String,
    },
    /// The laboratory takes results in that its own system sends as HL7 v2 messages (ORU^R01), and prints
    /// the acknowledgements. Exits with 1 when one was not taken.
    ImportHl7 {
        /// Files with messages, batches or MLLP frames; - for what is piped in.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The offset from UTC of times that have none, and whose message has none: +01:00.
        #[arg(long, allow_hyphen_values = true)]
        offset: Option<String>,
    },
    /// The laboratory releases the result to the patient.
    Release {
        /// Which order.
        id: B256,
    },
    /// The physician takes notice.
    Acknowledge {
        /// Which order.
        id: B256,
    },
    /// Where it stands.
    Show {
        /// Which order.
        id: B256,
    },
}

/// The next version of a result.
#[derive(Debug, Args)]
pub(crate) struct LabVersion {
    /// For whom.
    pub(crate) patient: String,
    /// Which order.
    pub(crate) id: B256,
    /// The record of the result so far.
    pub(crate) record: B256,
    /// The result, in words.
    pub(crate) result: String,
    /// Whether it needs attention at once.
    #[arg(long)]
    pub(crate) critical: bool,
}

/// What can be done about emergency access.
#[derive(Debug, Subcommand)]
pub(crate) enum EmergencyCommand {
    /// The paramedic breaks the glass.
    Open {
        /// Whose records.
        patient: String,
        /// Which kinds; what an emergency needs and the patient did not close when left out.
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<Kind>,
        /// For how many minutes.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// The paramedic ends it.
    End {
        /// Whose records.
        patient: String,
        /// Which opening.
        id: B256,
    },
    /// The privacy officer reviews it, once it is over; as unjustified also while it runs, which ends it.
    Review {
        /// Whose records.
        patient: String,
        /// Which opening.
        id: B256,
        /// Whether it was justified.
        #[arg(value_parser = ["justified", "unjustified"])]
        verdict: String,
        /// What the officer writes down; it stays with the department.
        #[arg(long)]
        note: String,
    },
    /// How often each of the department's people broke the glass.
    Report {
        /// In how many days until now.
        #[arg(long, default_value_t = 90)]
        days: u64,
    },
    /// All openings of a patient's records.
    List {
        /// Whose.
        patient: String,
    },
    /// The patient closes kinds to emergency access, or all of it.
    Restrict {
        /// Who.
        patient: String,
        /// Which kinds.
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<Kind>,
        /// Everything.
        #[arg(long)]
        all: bool,
    },
}

/// What can be asked about transactions.
#[derive(Debug, Subcommand)]
pub(crate) enum TxCommand {
    /// Those that wait for a block, as they stand.
    Pending,
    /// One, waiting or sealed: who, what, and what came of it.
    Show {
        /// Its hash.
        hash: B256,
    },
}

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// The bundle, as `salus records export` writes it.
    pub(crate) bundle: PathBuf,
    /// Where the trusted network has its contract `Records`.
    #[arg(long, required_unless_present = "deployment")]
    pub(crate) contract: Option<Address>,
    /// The same from a file that maps the contracts' names to addresses, as `salus up` writes it:
    /// DIR/deployments/72587.json.
    #[arg(long, conflicts_with = "contract")]
    pub(crate) deployment: Option<PathBuf>,
    /// A block hash that you trust; the bundle must lead to it. Without it, the block may be made up.
    #[arg(long)]
    pub(crate) block_hash: Option<B256>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
