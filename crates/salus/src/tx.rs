//! Transactions as they stand: before they are sealed, and after.

use std::fmt::Write as _;

use alloy_consensus::Transaction as _;
use alloy_eips::BlockId;
use alloy_primitives::{B256, U256};
use alloy_provider::Provider as _;
use alloy_rpc_types_eth::TransactionRequest;
use bindings::{ContractError, DecodedCall, decode_call, decode_event};
use chain::{SharedBlock, Transaction};

use crate::{
    Error,
    consortium::Consortium,
    table::{Table, short, thousands},
};

/// The transactions that wait for a block.
pub(crate) fn pending(consortium: &Consortium) -> String {
    let (ready, queued) = consortium.chain().pool_content();
    let head = ["transaction", "sender", "nonce", "gas limit", "to", "call"];
    let mut table = Table::new(&head, &[2, 3]);
    for (waiting, transactions) in [("", ready), (" (waits for an earlier nonce)", queued)] {
        for transaction in transactions {
            let envelope = transaction.envelope();
            let call = decode_call(&consortium.deployment, envelope.to(), envelope.input());
            table.row(vec![
                transaction.hash().to_string(),
                consortium.name_of(transaction.sender()),
                format!("{}{waiting}", envelope.nonce()),
                thousands(envelope.gas_limit()),
                consortium.shorten(&call.to),
                first_words(&consortium.shorten(&call.call)),
            ]);
        }
    }
    if table.is_empty() {
        return "No transaction waits. With `salus up --seal-every 30` they wait long enough to be \
                looked at.\n"
            .into();
    }
    table.to_string()
}

fn first_words(text: &str) -> String {
    const LENGTH: usize = 60;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// One transaction, waiting or sealed.
pub(crate) async fn show(consortium: &Consortium, hash: B256) -> Result<String, Error> {
    if let Some(transaction) = consortium.chain().waiting(&hash) {
        return before(consortium, &transaction).await;
    }
    if let Some((block, index)) = consortium.chain().find_transaction(&hash)? {
        return Ok(after(consortium, &block, index));
    }
    match consortium.chain().dropped_reason(&hash) {
        Some(reason) => Ok(format!("{hash}\n  dropped: {reason}\n")),
        None => Err(format!("no transaction {hash} waits here or was sealed").into()),
    }
}

fn common(consortium: &Consortium, transaction: &Transaction) -> String {
    let envelope = transaction.envelope();
    let mut text = String::new();
    let sender = transaction.sender();
    let _ = writeln!(text, "{}", transaction.hash());
    let _ = writeln!(text, "  sender     {} ({sender})", consortium.name_of(sender));
    let _ = writeln!(text, "  nonce      {}", envelope.nonce());
    let _ = writeln!(text, "  gas limit  {}", thousands(envelope.gas_limit()));
    let _ = writeln!(
        text,
        "  price      at most {} wei per gas, tip {}",
        envelope.max_fee_per_gas(),
        envelope.max_priority_fee_per_gas().unwrap_or_default()
    );
    let call = decode_call(&consortium.deployment, envelope.to(), envelope.input());
    write_call(consortium, &mut text, &call, 1);
    text
}

fn write_call(consortium: &Consortium, text: &mut String, call: &DecodedCall, depth: usize) {
    let indent = "  ".repeat(depth);
    let _ = writeln!(text, "{indent}calls      {}", consortium.shorten(&call.to));
    let _ = writeln!(text, "{indent}           {}", consortium.shorten(&call.call));
    for inner in &call.inner {
        write_call(consortium, text, inner, depth + 1);
    }
}

/// A transaction before it is sealed, with what the checks say of it now.
async fn before(consortium: &Consortium, transaction: &Transaction) -> Result<String, Error> {
    let mut text = common(consortium, transaction);
    let envelope = transaction.envelope();
    let provider = consortium.ledger.provider();
    let sender = transaction.sender();
    let _ = writeln!(text, "  state      waiting for a block");
    let nonce = provider.get_transaction_count(sender).await?;
    let check = |good: bool| if good { "ok" } else { "not yet" };
    let _ =
        writeln!(text, "  nonce      {} (the next is {nonce})", check(envelope.nonce() == nonce));
    let balance = provider.get_balance(sender).await?;
    let most = U256::from(envelope.max_fee_per_gas()) * U256::from(envelope.gas_limit());
    let _ = writeln!(text, "  balance    {}", check(balance >= most + envelope.value()));
    let request = TransactionRequest {
        from: Some(sender),
        to: Some(envelope.kind()),
        value: Some(envelope.value()),
        input: envelope.input().clone().into(),
        gas: Some(envelope.gas_limit()),
        ..TransactionRequest::default()
    };
    let verdict = match provider.call(request).block(BlockId::pending()).await {
        Ok(_) => "would succeed now".into(),
        Err(error) => match error.as_error_resp().and_then(|payload| payload.as_revert_data()) {
            Some(data) => {
                let to = envelope.kind().to().copied().unwrap_or_default();
                let called = bindings::called(&consortium.deployment, &to, envelope.input());
                format!("would be refused: {}", ContractError::decode_from(&called, &data))
            }
            None => format!("would fail: {error}"),
        },
    };
    let _ = writeln!(text, "  execution  {}", consortium.shorten(&verdict));
    Ok(text)
}

/// A transaction after it was sealed, with what it did.
fn after(consortium: &Consortium, block: &SharedBlock, index: usize) -> String {
    let (transaction, receipt) = (&block.transactions[index], &block.receipts[index]);
    let mut text = common(consortium, transaction);
    let header = &block.header;
    let time = domain::Timestamp(header.timestamp);
    let state = if receipt.success { "succeeded" } else { "reverted" };
    let _ = writeln!(text, "  state      {state}, sealed in block {} of {time}", header.number);
    let _ = writeln!(text, "  block      {}", block.hash);
    let price = transaction.envelope().effective_gas_price(header.base_fee_per_gas);
    let used = block.gas_used(index);
    let _ = writeln!(text, "  gas used   {} at {price} wei", thousands(used));
    for log in &receipt.logs {
        let event = decode_event(&consortium.deployment, log);
        let event = event.unwrap_or_else(|| format!("unknown event of {}", short(log.address)));
        let _ = writeln!(text, "  event      {}", consortium.shorten(&event));
    }
    text
}
