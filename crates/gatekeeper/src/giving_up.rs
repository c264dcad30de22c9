//! What the chain refused for good, once somebody wants to go on with it.

use domain::{RecordId, RecordVersion};
use vault::{ErasureReason, Vault};

use crate::{Along, Gatekeeper, GatekeeperError};

impl Gatekeeper {
    /// Takes a version that was [given up](crate::Resumed::given_up) out altogether, as if it had never been
    /// kept, together with rows of other tables: versions on chain have no gaps, so the next one needs its
    /// number. Returns whether that was done; a version that is on chain, or may still get there, stays, and
    /// so does one that was erased for another reason.
    ///
    /// What is known of the chain must be up to date.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the database failed; then nothing was changed.
    pub async fn forget_given_up(
        &self,
        record: RecordId,
        version: RecordVersion,
        along: Along<'_>,
    ) -> Result<bool, GatekeeperError> {
        let Some(receipt) = self.vault().erasure_receipt(record, version).await? else {
            return Ok(false);
        };
        let order = receipt.order;
        if order.reason != ErasureReason::KeptInError || order.by != self.member() {
            return Ok(false);
        }
        if self.inclusion(record, version).await?.is_some() {
            return Ok(false);
        }
        let mut transaction = self.vault().database().begin().await?;
        // Giving it up may have been interrupted after erasing; nothing of it may be sent again.
        sqlx::query("delete from proposals where record = $1 and version = $2")
            .bind(record.0.to_vec())
            .bind(i64::from(version.get()))
            .execute(&mut *transaction)
            .await?;
        if !Vault::forget_erased(&mut transaction, record, version).await? {
            return Ok(false);
        }
        along(&mut transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
