//! What this build does in a second and what it takes in bytes: measured, unless said otherwise.

use serde::{Deserialize, Serialize};

/// What one ledger, one vault and one gateway can do. The defaults are of docs/benchmarks.md, on a machine with 2
/// cores; `ENGINE_SOURCES` says of each whether it was measured or chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Seconds from one block to the next.
    pub block_seconds: f64,
    /// Validators of one ledger.
    pub validators: f64,
    /// Transactions that a validator executes in a second, durably.
    pub transactions_per_second: f64,
    /// Gas that a validator executes in a second.
    pub gas_per_second: f64,
    /// Bytes of a transaction in the block log besides its call data: envelope, signature, sender, receipt, logs.
    pub log_bytes_per_transaction: f64,
    /// Bytes of a block in the block log besides its transactions.
    pub log_bytes_per_block: f64,
    /// Bytes of memory for each account or storage slot, with its share of the trie.
    pub state_bytes_per_slot: f64,
    /// Records that a vault seals and stores in a second.
    pub vault_puts_per_second: f64,
    /// Reads that a gateway decides, serves and notes in a second.
    pub gateway_reads_per_second: f64,
    /// Bytes of a sealed record.
    pub record_bytes: f64,
    /// Bytes of an access receipt, signed and stored.
    pub receipt_bytes: f64,
    /// Bytes of memory that a validator has for the state.
    pub memory_bytes: f64,
    /// Bytes of disk that a validator has.
    pub disk_bytes: f64,
    /// Bytes that a validator's link carries in a second.
    pub link_bytes_per_second: f64,
}

/// Where each default is from.
pub const ENGINE_SOURCES: [(&str, &str); 14] = [
    ("block_seconds", "chosen"),
    ("validators", "chosen: the fewest that bear one faulty"),
    (
        "transactions_per_second",
        "measured: docs/benchmarks.md, ledger, in process, 1,000,000 accounts; agreeing with others is not in it",
    ),
    (
        "gas_per_second",
        "measured: the same run, 85 % proposed records of 59,814 gas and 15 % consents of 49,325",
    ),
    (
        "log_bytes_per_transaction",
        "measured: the workflows' transactions, from 414 (record.propose) to 562 (consent.grant)",
    ),
    ("log_bytes_per_block", "measured: the same run's blocks of one transaction"),
    (
        "state_bytes_per_slot",
        "measured: the engine's spike, 390 to 450 bytes from 1 to 5 million slots",
    ),
    ("vault_puts_per_second", "measured: docs/benchmarks.md, vault, put many"),
    (
        "gateway_reads_per_second",
        "measured: docs/benchmarks.md, gateway, short records with enforcement, 16 at once",
    ),
    (
        "record_bytes",
        "measured: docs/benchmarks.md, vault, scan: 41 MB/s at 54,790 records/s; without indexes, and without images",
    ),
    ("receipt_bytes", "chosen"),
    ("memory_bytes", "chosen: 64 GB"),
    ("disk_bytes", "chosen: 4 TB"),
    ("link_bytes_per_second", "chosen: 1 Gbit/s"),
];

impl Default for Engine {
    fn default() -> Self {
        Self {
            block_seconds: 1.0,
            validators: 4.0,
            transactions_per_second: 16_254.0,
            // 16,254 times (0.85 * 59,814 + 0.15 * 49,325), rounded down.
            gas_per_second: 946_000_000.0,
            log_bytes_per_transaction: 500.0,
            log_bytes_per_block: 640.0,
            state_bytes_per_slot: 450.0,
            vault_puts_per_second: 20_524.0,
            gateway_reads_per_second: 2_266.0,
            record_bytes: 748.0,
            receipt_bytes: 500.0,
            memory_bytes: 64e9,
            disk_bytes: 4e12,
            link_bytes_per_second: 125e6,
        }
    }
}

impl Engine {
    /// Each figure with its name.
    pub(super) const fn named(&self) -> [(&'static str, f64); 14] {
        [
            ("block_seconds", self.block_seconds),
            ("validators", self.validators),
            ("transactions_per_second", self.transactions_per_second),
            ("gas_per_second", self.gas_per_second),
            ("log_bytes_per_transaction", self.log_bytes_per_transaction),
            ("log_bytes_per_block", self.log_bytes_per_block),
            ("state_bytes_per_slot", self.state_bytes_per_slot),
            ("vault_puts_per_second", self.vault_puts_per_second),
            ("gateway_reads_per_second", self.gateway_reads_per_second),
            ("record_bytes", self.record_bytes),
            ("receipt_bytes", self.receipt_bytes),
            ("memory_bytes", self.memory_bytes),
            ("disk_bytes", self.disk_bytes),
            ("link_bytes_per_second", self.link_bytes_per_second),
        ]
    }
}
