//! What patients sign: batches of calls that any gateway may relay.
//!
//! A signature binds the chain, the account, the calls with their arguments, the account's next nonce
//! and a deadline (S7). The account checks it against its signer: a wallet's address, or a passkey
//! behind the WebAuthn verifier.

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256, aliases::U40, fixed_bytes};
use alloy_sol_types::{Eip712Domain, SolCall, SolStruct as _, SolValue as _, sol};

use serde_json::{Value, json};

use crate::PatientAccount;

/// The name of the domain that accounts sign in.
const DOMAIN_NAME: &str = "Salus Patient Account";

const DOMAIN_VERSION: &str = "1";

/// The execution mode of ERC-7821 for a batch with a signature.
pub const BATCH_MODE: B256 =
    fixed_bytes!("0100000000007821000100000000000000000000000000000000000000000000");

sol! {
    /// One call of a batch.
    #[derive(Debug, PartialEq, Eq)]
    struct Call {
        address to;
        uint256 value;
        bytes data;
    }

    /// What a patient signs to have calls made.
    #[derive(Debug, PartialEq, Eq)]
    struct Execute {
        Call[] calls;
        uint256 nonce;
        uint40 deadline;
    }

    /// What guardians sign to give an account another signer.
    #[derive(Debug, PartialEq, Eq)]
    struct Recover {
        bytes newSigner;
        uint256 nonce;
        uint40 deadline;
    }

    /// What stands between a digest and the signature under it, so that it serves one account only.
    #[derive(Debug, PartialEq, Eq)]
    struct Message {
        bytes32 hash;
    }
}

impl Call {
    /// A call to a contract.
    #[must_use]
    pub fn to_contract<C: SolCall>(to: Address, call: &C) -> Self {
        Self { to, value: U256::ZERO, data: call.abi_encode().into() }
    }
}

fn domain(chain_id: u64, account: Address) -> Eip712Domain {
    Eip712Domain::new(
        Some(DOMAIN_NAME.into()),
        Some(DOMAIN_VERSION.into()),
        Some(U256::from(chain_id)),
        Some(account),
        None,
    )
}

/// The digest that an account's signer signs for a batch.
#[must_use]
pub fn execute_digest(chain_id: u64, account: Address, batch: &Execute) -> B256 {
    batch.eip712_signing_hash(&domain(chain_id, account))
}

/// What a wallet shows of a batch, and signs: the same as [`execute_digest`].
///
/// # Source
///
/// `eth_signTypedData_v4`, as [EIP-712](https://eips.ethereum.org/EIPS/eip-712) describes it.
#[must_use]
pub fn typed_data(chain_id: u64, account: Address, batch: &Execute) -> Value {
    let field = |name: &str, of: &str| json!({ "name": name, "type": of });
    let calls: Vec<Value> = batch
        .calls
        .iter()
        .map(|call| json!({ "to": call.to.to_string(), "value": call.value.to_string(), "data": call.data }))
        .collect();
    json!({
        "types": {
            "EIP712Domain": [
                field("name", "string"),
                field("version", "string"),
                field("chainId", "uint256"),
                field("verifyingContract", "address"),
            ],
            "Call": [field("to", "address"), field("value", "uint256"), field("data", "bytes")],
            "Execute": [
                field("calls", "Call[]"),
                field("nonce", "uint256"),
                field("deadline", "uint40"),
            ],
        },
        "primaryType": "Execute",
        "domain": {
            "name": DOMAIN_NAME,
            "version": DOMAIN_VERSION,
            "chainId": chain_id,
            "verifyingContract": account.to_string(),
        },
        "message": {
            "calls": calls,
            "nonce": batch.nonce.to_string(),
            "deadline": batch.deadline.to::<u64>(),
        },
    })
}

/// The digest that each guardian signs for a recovery.
#[must_use]
pub fn recover_digest(chain_id: u64, account: Address, recovery: &Recover) -> B256 {
    recovery.eip712_signing_hash(&domain(chain_id, account))
}

/// The digest that an account's signer signs under another digest (ERC-1271).
#[must_use]
pub fn message_digest(chain_id: u64, account: Address, hash: B256) -> B256 {
    Message { hash }.eip712_signing_hash(&domain(chain_id, account))
}

/// The call that makes an account run a signed batch.
#[must_use]
pub fn execute_call(
    batch: &Execute,
    signer: &Bytes,
    signature: &Bytes,
) -> PatientAccount::executeCall {
    let authorisation =
        (signer.clone(), batch.nonce, batch.deadline, signature.clone()).abi_encode_params();
    let calls: Vec<(Address, U256, Bytes)> =
        batch.calls.iter().map(|call| (call.to, call.value, call.data.clone())).collect();
    let data = (calls, Bytes::from(authorisation)).abi_encode_params();
    PatientAccount::executeCall { mode: BATCH_MODE, executionData: data.into() }
}

/// A signature as an account takes it for a digest (ERC-1271).
#[must_use]
pub fn message_signature(signer: &Bytes, signature: &Bytes) -> Bytes {
    (signer.clone(), signature.clone()).abi_encode_params().into()
}

/// The digest of a set of guardians, which is all that the chain learns of them.
#[must_use]
pub fn guardians_digest(salt: B256, threshold: u8, signers: &[Bytes]) -> B256 {
    let words = (salt, U256::from(threshold), signers.to_vec()).abi_encode_params();
    alloy_primitives::keccak256(words)
}

/// How events name a signer: the first 24 bytes of its hash.
#[must_use]
pub fn signer_id(signer: &[u8]) -> FixedBytes<24> {
    FixedBytes::from_slice(&alloy_primitives::keccak256(signer)[..24])
}

/// A time as signed messages hold it.
#[must_use]
pub fn deadline(time: domain::Timestamp) -> U40 {
    crate::convert::to_uint40(time)
}
