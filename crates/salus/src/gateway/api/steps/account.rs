//! Steps of a patient's account itself.

use alloy_primitives::{Address, Bytes};
use serde::Deserialize;
use serde_json::Value;
use vault::PublicKey;
use workflows::{WorkflowError, account};

use super::{
    About,
    cast::{Cast, taken},
};

/// How many keys are sealed to: of two passkeys and a sheet of paper, and one on a node.
const KEYS_MAX: usize = 4;

/// A step with what goes into it.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    /// `signer` is what acts for the account from then on (ERC-7913), `keys` the public keys to which this institution
    /// seals for the patient; none leaves them as they are.
    #[serde(rename = "account.change-signer")]
    ChangeSigner { patient: Address, signer: Bytes, keys: Vec<Bytes> },
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::ChangeSigner { patient, .. } => About::Patient(*patient),
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now, who) = (&cast.gateway, cast.now, cast.patient()?);
        let Self::ChangeSigner { signer, keys, .. } = self;
        if keys.len() > KEYS_MAX {
            return Err(WorkflowError::Invalid(format!("there are at most {KEYS_MAX} `keys`")));
        }
        let keys = keys.iter().map(|key| PublicKey::from_bytes(key)).collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(|_| {
            WorkflowError::Invalid("one of `keys` is no key that records can be sealed to".into())
        })?;
        // Only once the patient signed: whoever merely has their token must not say where records go.
        let changed = account::change_signer(here, &who, signer, now).await?;
        if !keys.is_empty() {
            account::seal_for(here, &who, keys).await?;
        }
        Ok(taken([changed]))
    }
}
