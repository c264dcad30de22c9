//! What can be typed about devices.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with devices. A device is called by the name that it was enrolled under here.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Which firmware a model may run.
    #[command(subcommand)]
    Firmware(FirmwareCommand),
    /// The hospital registers and enrols a device, which its maker attests.
    Enrol {
        /// What it is called here.
        name: String,
        /// Its model, as its maker calls it.
        #[arg(long, default_value = "Patch 1")]
        model: String,
        /// Its serial number.
        #[arg(long)]
        serial: String,
        /// The firmware that it runs, by its version.
        #[arg(long, default_value = "1.0")]
        firmware: String,
    },
    /// A doctor orders what a device measures, and the hospital offers it to the patient. When it breaks off in
    /// between, order again.
    Order {
        /// Whom it is to measure.
        patient: String,
        /// Which device.
        name: String,
        #[command(flatten)]
        plan: DevicePlan,
        /// For how many days.
        #[arg(long, default_value_t = 30)]
        days: u64,
        /// The longest time without readings, in seconds, before somebody is alerted.
        #[arg(long)]
        gap: Option<u32>,
        /// Who orders.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// The patient accepts the order and the device, in one signature.
    Accept {
        /// Who.
        patient: String,
        /// Which device.
        name: String,
    },
    /// The hospital files the device, and what it measures, in the patient's records.
    File {
        /// Whose.
        patient: String,
        /// Which device.
        name: String,
        /// Who.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// The device signs what it measured until now, and the hospital brings it.
    Send {
        /// Whom it measures.
        patient: String,
        /// Which device.
        name: String,
        /// METRIC=VALUE,VALUE,… once for each metric of the order; nothing between commas where nothing
        /// could be measured.
        #[arg(long = "values", required = true)]
        values: Vec<String>,
        /// Who checks it against the order.
        #[arg(long = "as", default_value = "physician")]
        by: String,
        /// Also write what the device signed to this file.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// The hospital brings a batch that a device signed, from a file.
    Bring {
        /// Whom it measured.
        patient: String,
        /// The file.
        file: PathBuf,
        /// Who checks it against the order.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// Readings that were out of range.
    Alerts {
        /// Which device.
        name: String,
    },
    /// A doctor or nurse of the hospital has seen an alert.
    Acknowledge {
        /// Which device.
        name: String,
        /// The number of the batch.
        sequence: u64,
        /// Who.
        #[arg(long = "as", default_value = "physician")]
        by: String,
    },
    /// The device says that it runs another firmware.
    Update {
        /// Which device.
        name: String,
        /// The version.
        firmware: String,
    },
    /// The device goes on with another key.
    Rotate {
        /// Which device.
        name: String,
    },
    /// Put a device into quarantine.
    Quarantine {
        /// Which device.
        name: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Who.
        #[arg(long, default_value = "hospital", value_parser = ["hospital", "maker", "regulator"])]
        by: String,
    },
    /// Lift one's own quarantine.
    Lift {
        /// Which device.
        name: String,
        /// Who.
        #[arg(long, default_value = "hospital", value_parser = ["hospital", "maker", "regulator"])]
        by: String,
    },
    /// End a binding, or take the offer of one back.
    Unbind {
        /// Which device.
        name: String,
        /// The patient who does; the hospital when left out.
        #[arg(long)]
        patient: Option<String>,
    },
    /// The hospital puts a device out of force, for good.
    Decommission {
        /// Which device.
        name: String,
    },
    /// How it stands.
    Show {
        /// Which device.
        name: String,
    },
    /// Write the proof that a reading is in a batch, or list the readings.
    Prove {
        /// Whose reading: the patient opens the record with their own key.
        patient: String,
        /// Which device.
        name: String,
        /// The number of the batch.
        sequence: u64,
        /// Which reading of the batch, from 1; all are listed when left out.
        #[arg(long, requires = "out")]
        reading: Option<usize>,
        /// Where to.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Check such a proof against the chain. Exits with 1 when the reading is not in the batch.
    Verify {
        /// The proof.
        proof: PathBuf,
    },
    /// Simulate many devices at all patients: enrolled, bound and measuring, by real signatures.
    Simulate(SimulateOptions),
}

/// What is said of a firmware.
#[derive(Debug, Subcommand)]
pub(crate) enum FirmwareCommand {
    /// The maker accepts it for a model.
    Accept(FirmwareOptions),
    /// The maker accepts it no more.
    Withdraw(FirmwareOptions),
    /// The regulator recalls it.
    Recall {
        #[command(flatten)]
        firmware: FirmwareOptions,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// The regulator lifts the recall.
    Lift(FirmwareOptions),
    /// Whether the model may run it. Exits with 1 when not.
    Show(FirmwareOptions),
}

/// Which firmware.
#[derive(Debug, Args)]
pub(crate) struct FirmwareOptions {
    /// The version.
    pub(crate) version: String,
    /// Of which model.
    #[arg(long, default_value = "Patch 1")]
    pub(crate) model: String,
}

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct DevicePlan {
    /// Which metrics, with the usual ranges: heart-rate, respiratory-rate, oxygen-saturation,
    /// body-temperature, systolic-blood-pressure.
    #[arg(long, value_delimiter = ',', default_value = "heart-rate")]
    pub(crate) metrics: Vec<String>,
    /// METRIC=LOW..HIGH instead of the usual range, for which the doctor answers.
    #[arg(long = "range")]
    pub(crate) ranges: Vec<String>,
    /// Every how many seconds.
    #[arg(long, default_value_t = 1)]
    pub(crate) period: u32,
}

/// How to simulate.
#[derive(Debug, Args)]
pub(crate) struct SimulateOptions {
    /// How many devices.
    #[arg(long, default_value_t = 200)]
    pub(crate) devices: usize,
    /// How many batches each of them brings.
    #[arg(long, default_value_t = 2)]
    pub(crate) rounds: u32,
    /// How many samples a batch has, one a second.
    #[arg(long, default_value_t = 3)]
    pub(crate) samples: usize,
    /// How many of a thousand values are out of range.
    #[arg(long, default_value_t = 20)]
    pub(crate) out_of_range: u32,
    /// What everything made up follows from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) firmware: SimulatedFirmware,
}

/// What simulated devices are.
#[derive(Debug, Args)]
pub(crate) struct SimulatedFirmware {
    /// Their model.
    #[arg(long, default_value = "Simulated patch")]
    pub(crate) model: String,
}
