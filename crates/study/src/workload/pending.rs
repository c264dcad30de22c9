//! The transactions as they stand before a block takes them: decoded, and with what the checks say.

use std::path::PathBuf;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, Bytes, U256};
use bindings::decode_call;
use chain::{Rpc, Transaction};
use serde_json::json;

use super::{CHAIN_ID, Source, Workload, plan, sign_all};
use crate::{
    execute::{ExecuteError, prepare},
    results::Pending,
    tally::Mode,
};

/// How many are shown of each mode.
const SHOWN: usize = 8;

/// The first transactions of a mode's work, signed and in the pool of a chain that is ready for them.
///
/// A node checks in this order that the signature is valid, the nonce the sender's next, the gas limit enough to begin,
/// and the balance enough to pay for it. The verdict is what executing would do once all of these hold, and else the
/// first that does not.
///
/// # Errors
///
/// [`ExecuteError`] when the rows cannot be read or the chain cannot be made.
pub fn pending(source: &dyn Source, mode: Mode, seed: u64) -> Result<Vec<Pending>, ExecuteError> {
    let works = plan(mode, &source.dates(), None, |_, _| Ok::<_, ExecuteError>(0))?;
    let Some(work) = works.first() else { return Ok(Vec::new()) };
    let date = work.date;
    let rows = source.rows(date).map_err(|source| ExecuteError::Rows { date, source })?;
    let mut workload = Workload::new(mode, seed, &rows, work.referrals.clone());
    let (machine, _) = prepare(&mut workload, work, scratch())?;
    let chain = machine.chain();
    let rpc = Rpc::new(chain.clone());
    let unsigned = workload.by_ref().take(SHOWN).map(|step| step.unsigned).collect();
    let mut shown = Vec::new();
    for raw in sign_all(unsigned) {
        let transaction =
            Transaction::decode(raw.clone(), CHAIN_ID).map_err(ExecuteError::Malformed)?;
        let (envelope, sender) = (transaction.envelope(), transaction.sender());
        let verdict = match refusal(&rpc, chain, &transaction) {
            Some(reason) => reason,
            None => executed(&rpc, &transaction),
        };
        let to = envelope.to().unwrap_or(Address::ZERO);
        let call = decode_call(workload.deployment(), Some(to), envelope.input());
        shown.push(Pending {
            mode,
            hash: transaction.hash(),
            sender: format!("{} {sender}", workload.cast.name(sender)),
            nonce: envelope.nonce(),
            contract: call.to,
            call: call.call,
            gas_limit: envelope.gas_limit(),
            max_fee_per_gas: envelope.max_fee_per_gas(),
            calldata_bytes: envelope.input().len() as u64,
            verdict,
        });
    }
    Ok(shown)
}

/// Why the pool does not take it. That decoding gave a sender says that the signature is valid, and that the gas limit
/// is enough to begin.
fn refusal(rpc: &Rpc, chain: &chain::Chain, transaction: &Transaction) -> Option<String> {
    let (envelope, sender) = (transaction.envelope(), transaction.sender());
    let next = chain.pending_nonce(&sender);
    if envelope.nonce() != next {
        return Some(format!("its nonce is {}, and the sender's next is {next}", envelope.nonce()));
    }
    let balance = rpc.handle("eth_getBalance", json!([sender, "latest"])).ok();
    let balance = balance.and_then(|balance| serde_json::from_value::<U256>(balance).ok());
    let price = U256::from(envelope.gas_limit()) * U256::from(envelope.max_fee_per_gas());
    if balance.is_none_or(|balance| balance < price + envelope.value()) {
        return Some("the sender cannot pay for it".into());
    }
    chain.submit_transaction(transaction.clone()).err().map(|error| error.to_string())
}

fn executed(rpc: &Rpc, transaction: &Transaction) -> String {
    let envelope = transaction.envelope();
    let data: &Bytes = envelope.input();
    let call = json!({ "from": transaction.sender(), "to": envelope.to(), "data": data });
    match rpc.handle("eth_call", json!([call, "latest"])) {
        Ok(_) => "would succeed".into(),
        Err(error) => error.to_string(),
    }
}

/// Of this process and call alone, so that nobody else has it.
fn scratch() -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("salus-study-{}-{number}", std::process::id()))
}
