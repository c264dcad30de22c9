//! What the portal's explorer and operator's pages ask of the process: the chain in JSON-RPC, with its errors as they
//! are, and the figures of one gateway among several.

use alloy_provider::{Provider as _, transport::TransportError};
use ledger::Ledger;
use serde_json::{Value, json};

/// JSON-RPC's code for a method that is not there.
const METHOD_NOT_FOUND: i64 = -32_601;

/// JSON-RPC's code for a server that could not answer.
const INTERNAL_ERROR: i64 = -32_603;

/// Asks the chain, and gives its whole answer as JSON-RPC has it. Only methods that read are asked.
pub(super) async fn answer(ledger: &Ledger, method: &str, params: Value) -> Value {
    if !reads(method) {
        let error =
            json!({ "code": METHOD_NOT_FOUND, "message": "only methods that read are asked here" });
        return json!({ "error": error });
    }
    let asked = ledger.provider().raw_request::<Value, Value>(method.to_owned().into(), params);
    match asked.await {
        Ok(result) => json!({ "result": result }),
        Err(TransportError::ErrorResp(error)) => {
            let data =
                error.data.as_ref().and_then(|data| serde_json::from_str::<Value>(data.get()).ok());
            json!({ "error": { "code": error.code, "message": error.message, "data": data } })
        }
        Err(error) => {
            tracing::warn!(%error, method, "the chain could not be asked");
            json!({ "error": { "code": INTERNAL_ERROR, "message": "the chain cannot be asked now" } })
        }
    }
}

/// Whether a method reads, and changes nothing on a chain.
fn reads(method: &str) -> bool {
    let name = method.strip_prefix("eth_").or_else(|| method.strip_prefix("txpool_"));
    name.is_some_and(|name| {
        name.starts_with("get")
            || matches!(
                name,
                "blockNumber"
                    | "chainId"
                    | "call"
                    | "estimateGas"
                    | "gasPrice"
                    | "feeHistory"
                    | "content"
                    | "contentFrom"
                    | "status"
                    | "inspect"
            )
    })
}

/// The lines of Prometheus's text that are about one gateway, or about none in particular.
pub(super) fn figures_of(text: &str, gateway: &str) -> String {
    let own = format!("gateway=\"{gateway}\"");
    let is_own =
        |line: &&str| line.starts_with('#') || !line.contains("gateway=\"") || line.contains(&own);
    text.lines().filter(is_own).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_methods_that_read_are_asked() {
        for method in
            ["eth_call", "eth_getLogs", "eth_getBlockByNumber", "txpool_content", "eth_feeHistory"]
        {
            assert!(reads(method), "{method}");
        }
        for method in [
            "eth_sendRawTransaction",
            "eth_sendTransaction",
            "eth_sign",
            "personal_unlockAccount",
            "debug_setHead",
            "anvil_setBalance",
            "eth_newFilter",
            "",
            "get",
        ] {
            assert!(!reads(method), "{method}");
        }
    }

    #[test]
    fn figures_of_others_are_left_out() {
        let text = "# HELP a b\na{gateway=\"hospital\"} 1\na{gateway=\"pharmacy\"} 2\nb 3\n";
        assert_eq!(figures_of(text, "hospital"), "# HELP a b\na{gateway=\"hospital\"} 1\nb 3\n");
    }
}
