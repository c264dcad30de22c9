//! Kind keys in the store: which is current, for whom they are wrapped, and new epochs.

use std::collections::BTreeSet;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use domain::{Address, B256, Kind, KindSet};
use rand_core::{CryptoRng, SeedableRng as _};
use rayon::prelude::*;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;

use crate::entries::{fixed, kind_of};
use crate::keys::KindKey;
use crate::kind_keys::{CurrentKey, KindKeyId, KindKeyName, OpenedKey};
use crate::recipients::{self, Binding, PublicKey, Subject};
use crate::store_error::StoreError;
use crate::vault::{Inner, Vault};
use crate::wraps::{self, Wrap};

const PATIENT_KEY_LABEL: &[u8] = b"salus/patient-key/v1";
const KIND_KEY_LABEL: &[u8] = b"salus/kind-key-wrap/v1";

const CORRUPT: StoreError = StoreError::Corrupt { what: "kind key" };

/// A kind key to be wrapped for one recipient.
struct WrapJob {
    subject: KindKeyId,
    key: Arc<KindKey>,
    recipient: Address,
    public_key: Arc<PublicKey>,
    seed: Zeroizing<[u8; 32]>,
}

impl Vault {
    /// Says for which public keys a patient's kind keys are wrapped: all of them, from the patient's
    /// entry in the registry, a second passkey or a printed recovery key included.
    ///
    /// Wraps for keys that are no longer named are removed; nobody can recall what was opened with
    /// them. Records sealed before any key was named become readable to the patient by this.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store failed; then nothing was changed.
    pub async fn set_patient_keys(
        &self,
        patient: Address,
        public_keys: &[PublicKey],
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<(), StoreError> {
        self.set_keys_of_patients(&[(patient, public_keys.to_vec())], rng).await
    }

    /// Whether any public key of a patient is known here.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn knows_keys_of(&self, patient: Address) -> Result<bool, StoreError> {
        let row = sqlx::query("select 1 from patient_keys where patient = $1 limit 1")
            .bind(patient.to_vec())
            .fetch_optional(self.database().readers())
            .await?;
        Ok(row.is_some())
    }

    /// [`Vault::set_patient_keys`] for many patients in one write: for all of them or for none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store failed; then nothing was changed.
    pub async fn set_keys_of_patients(
        &self,
        patients: &[(Address, Vec<PublicKey>)],
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<(), StoreError> {
        let _change = self.inner().key_change.write().await;
        let mut transaction = self.database().begin().await?;
        let mut jobs = Vec::new();
        for (patient, public_keys) in patients {
            let public_keys: Vec<_> = public_keys.iter().cloned().map(Arc::new).collect();
            self.name_patient_keys(&mut transaction, *patient, &public_keys, rng).await?;
            for (id, key) in self.unwrap_kind_keys(&mut transaction, *patient).await? {
                let wraps = public_keys.iter();
                jobs.extend(wraps.map(|to| WrapJob::new(id, &key, *patient, Arc::clone(to), rng)));
            }
        }
        insert_wraps(&mut transaction, self.inner().make_wraps(jobs).await).await?;
        transaction.commit().await
    }

    /// Stores a patient's public keys in place of those before.
    async fn name_patient_keys(
        &self,
        connection: &mut AnyConnection,
        patient: Address,
        public_keys: &[Arc<PublicKey>],
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<(), StoreError> {
        sqlx::query("delete from patient_keys where patient = $1")
            .bind(patient.to_vec())
            .execute(&mut *connection)
            .await?;
        for public_key in public_keys {
            let context = [PATIENT_KEY_LABEL, patient.as_slice()].concat();
            sqlx::query(
                "insert into patient_keys (patient, key_digest, sealed) values ($1, $2, $3)
                on conflict do nothing",
            )
            .bind(patient.to_vec())
            .bind(public_key.digest().to_vec())
            .bind(self.inner().trust.wrap(&context, &public_key.to_bytes(), rng))
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    /// A patient's kind keys, after their wraps for the patient were removed. All wraps are made anew,
    /// so that one whose row was tampered with is set right too.
    async fn unwrap_kind_keys(
        &self,
        connection: &mut AnyConnection,
        patient: Address,
    ) -> Result<Vec<(KindKeyId, Arc<KindKey>)>, StoreError> {
        let rows = sqlx::query(
            "select id, sealed, patient, steward, kind, epoch from kind_keys
            where patient = $1 and steward = $2 and sealed is not null",
        )
        .bind(patient.to_vec())
        .bind(self.steward().to_vec())
        .fetch_all(&mut *connection)
        .await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = KindKeyId(fixed::<32>(row, 0)?.into());
            let key = self.inner().open_kind_key(id, name_of(row, 2)?, row.try_get(1)?)?;
            sqlx::query("delete from wraps where id = $1 and recipient = $2")
                .bind(id.0.to_vec())
                .bind(patient.to_vec())
                .execute(&mut *connection)
                .await?;
            keys.push((id, key));
        }
        Ok(keys)
    }

    /// Begins a new epoch for a patient's records of these kinds: what is sealed from now on is under
    /// a new kind key. To be called when the patient revoked a consent.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store failed; then nothing was changed.
    pub async fn new_epoch(
        &self,
        patient: Address,
        kinds: KindSet,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<(), StoreError> {
        let inner = self.inner();
        let _change = inner.key_change.write().await;
        let mut transaction = self.database().begin().await?;
        let known = inner.latest_keys(&mut transaction, patient).await?;
        let names = known
            .into_iter()
            .filter(|known| kinds.contains(known.name.kind))
            .map(|known| KindKeyName { epoch: known.name.epoch + 1, ..known.name })
            .collect();
        inner.make_kind_keys(&mut transaction, names, rng).await?;
        // Before the commit, because whoever waits here may be gone before it is done. Nobody looks
        // keys up meanwhile.
        inner.current_keys.lock().clear();
        transaction.commit().await
    }
}

/// The highest epoch there is for one patient and kind.
struct LatestKey {
    name: KindKeyName,
    id: KindKeyId,
    /// `None` when the key seals nothing new: it was destroyed, or only opens what is there.
    sealed: Option<Vec<u8>>,
}

pub(crate) type CurrentKeys = HashMap<(Address, Kind), CurrentKey>;

impl Inner {
    /// The kind keys under which these are sealed now, made where there are none yet. They may be
    /// cached only after the transaction is committed.
    pub(crate) async fn current_keys(
        self: &Arc<Self>,
        connection: &mut AnyConnection,
        needed: &BTreeSet<(Address, Kind)>,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<CurrentKeys, StoreError> {
        let mut keys = CurrentKeys::new();
        let mut missing: BTreeSet<Address> = BTreeSet::new();
        {
            let mut cache = self.current_keys.lock();
            for name in needed {
                match cache.get(name) {
                    Some(current) => drop(keys.insert(*name, current)),
                    None => drop(missing.insert(name.0)),
                }
            }
        }

        let mut new_names = Vec::new();
        for patient in missing {
            let latest = self.latest_keys(connection, patient).await?;
            for &(_, kind) in needed.range((patient, Kind::ALL[0])..).take_while(|n| n.0 == patient)
            {
                let steward = self.settings.steward;
                match latest.iter().find(|latest| latest.name.kind == kind) {
                    Some(LatestKey { name, id, sealed: Some(sealed) }) => {
                        let key = self.open_kind_key(*id, *name, sealed)?;
                        keys.insert((patient, kind), CurrentKey { id: *id, key });
                    }
                    Some(LatestKey { name, sealed: None, .. }) => {
                        new_names.push(KindKeyName { epoch: name.epoch + 1, ..*name });
                    }
                    None => new_names.push(KindKeyName { patient, steward, kind, epoch: 1 }),
                }
            }
        }
        keys.extend(self.make_kind_keys(connection, new_names, rng).await?);
        Ok(keys)
    }

    pub(crate) fn remember_current(&self, keys: CurrentKeys) {
        let mut cache = self.current_keys.lock();
        for (name, key) in keys {
            cache.insert(name, key);
        }
    }

    /// The kind key with this id, when it was used lately.
    pub(crate) fn opened_key(&self, id: KindKeyId) -> Option<OpenedKey> {
        self.opened_keys.lock().get(&id)
    }

    /// The kind key with this id, when it was made here and not destroyed.
    pub(crate) async fn kind_key(
        &self,
        connection: &mut AnyConnection,
        id: KindKeyId,
    ) -> Result<Option<OpenedKey>, StoreError> {
        let clearings = {
            let mut opened_keys = self.opened_keys.lock();
            if let Some(opened) = opened_keys.get(&id) {
                return Ok(Some(opened));
            }
            opened_keys.clearings()
        };
        let row = sqlx::query(
            "select sealed, patient, steward, kind, epoch from kind_keys where id = $1",
        )
        .bind(id.0.to_vec())
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let Some(sealed): Option<Vec<u8>> = row.try_get(0)? else { return Ok(None) };
        let name = name_of(&row, 1)?;
        let opened = OpenedKey { name, key: self.open_kind_key(id, name, &sealed)? };
        self.opened_keys.lock().insert_unless_cleared(clearings, id, opened.clone());
        Ok(Some(opened))
    }

    /// Takes a kind key out of the vault's own wrap. The rest of its row is believed only when the id
    /// follows from it: else whoever can write to the database would pass one patient's key off as
    /// another's.
    fn open_kind_key(
        &self,
        id: KindKeyId,
        name: KindKeyName,
        sealed: &[u8],
    ) -> Result<Arc<KindKey>, StoreError> {
        if name.id(self.settings.network) != id {
            return Err(CORRUPT);
        }
        let bytes = self.kind_keys.unwrap(&kind_key_context(id), sealed).map_err(|_| CORRUPT)?;
        KindKey::from_slice(&bytes).map(Arc::new).map_err(|_| CORRUPT)
    }

    async fn latest_keys(
        &self,
        connection: &mut AnyConnection,
        patient: Address,
    ) -> Result<Vec<LatestKey>, StoreError> {
        let rows = sqlx::query(
            "select id, case when state = 0 then sealed end, patient, steward, kind, epoch from kind_keys
            where patient = $1 and steward = $2 and not exists (
                select 1 from kind_keys as later
                where later.patient = kind_keys.patient and later.steward = kind_keys.steward
                    and later.kind = kind_keys.kind and later.epoch > kind_keys.epoch
            )
            order by kind",
        )
        .bind(patient.to_vec())
        .bind(self.settings.steward.to_vec())
        .fetch_all(connection)
        .await?;
        let latest = |row| {
            Ok(LatestKey {
                name: name_of(row, 2)?,
                id: KindKeyId(fixed::<32>(row, 0)?.into()),
                sealed: row.try_get(1)?,
            })
        };
        rows.iter().map(latest).collect()
    }

    /// Makes kind keys, wraps them for the patients and for recovery, and stores them.
    async fn make_kind_keys(
        self: &Arc<Self>,
        connection: &mut AnyConnection,
        names: Vec<KindKeyName>,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<CurrentKeys, StoreError> {
        let mut made = CurrentKeys::new();
        let mut jobs = Vec::new();
        let mut patients: HashMap<Address, Vec<Arc<PublicKey>>> = HashMap::new();
        let recovery_keys: Vec<_> =
            self.settings.recovery_keys.iter().cloned().map(Arc::new).collect();
        for name in names {
            let id = name.id(self.settings.network);
            let key = Arc::new(KindKey::make(rng));
            sqlx::query(
                "insert into kind_keys (id, patient, steward, kind, epoch, sealed, state)
                values ($1, $2, $3, $4, $5, $6, 0)",
            )
            .bind(id.0.to_vec())
            .bind(name.patient.to_vec())
            .bind(name.steward.to_vec())
            .bind(i64::from(name.kind.number()))
            .bind(i64::from(name.epoch))
            .bind(self.kind_keys.wrap(&kind_key_context(id), key.expose(), rng))
            .execute(&mut *connection)
            .await?;

            let public_keys = match patients.entry(name.patient) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    new.insert(self.patient_keys(connection, name.patient).await?)
                }
            };
            for public_key in public_keys.iter() {
                jobs.push(WrapJob::new(id, &key, name.patient, Arc::clone(public_key), rng));
            }
            for public_key in &recovery_keys {
                jobs.push(WrapJob::new(id, &key, name.steward, Arc::clone(public_key), rng));
            }
            made.insert((name.patient, name.kind), CurrentKey { id, key });
        }
        insert_wraps(connection, self.make_wraps(jobs).await).await?;
        Ok(made)
    }

    async fn patient_keys(
        &self,
        connection: &mut AnyConnection,
        patient: Address,
    ) -> Result<Vec<Arc<PublicKey>>, StoreError> {
        let context = [PATIENT_KEY_LABEL, patient.as_slice()].concat();
        let rows =
            sqlx::query("select sealed from patient_keys where patient = $1 order by key_digest")
                .bind(patient.to_vec())
                .fetch_all(connection)
                .await?;
        let open = |row: &AnyRow| {
            let corrupt = StoreError::Corrupt { what: "patient's public key" };
            let Ok(bytes) = self.trust.unwrap(&context, row.try_get(0)?) else {
                return Err(corrupt);
            };
            PublicKey::from_bytes(&bytes).map(Arc::new).map_err(|_| corrupt)
        };
        rows.iter().map(open).collect()
    }

    /// Does the public-key work on all cores, off the threads that answer requests.
    async fn make_wraps(self: &Arc<Self>, jobs: Vec<WrapJob>) -> Vec<Wrap> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let inner = Arc::clone(self);
        tokio::task::spawn_blocking(move || jobs.par_iter().map(|job| job.run(&inner)).collect())
            .await
            .expect("wrapping does not panic, and the runtime outlives the vault's futures")
    }
}

impl WrapJob {
    fn new(
        subject: KindKeyId,
        key: &Arc<KindKey>,
        recipient: Address,
        public_key: Arc<PublicKey>,
        rng: &mut impl CryptoRng,
    ) -> Self {
        // Each wrap has a seed of its own, so that the bytes do not depend on which core is faster.
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self { subject, key: Arc::clone(key), recipient, public_key, seed }
    }

    fn run(&self, inner: &Inner) -> Wrap {
        let subject = Subject::KindKey(self.subject);
        let binding = Binding {
            network: inner.settings.network,
            subject,
            recipient: self.recipient,
            consent: B256::ZERO,
        };
        let mut rng = ChaCha20Rng::from_seed(*self.seed);
        Wrap {
            subject,
            recipient: self.recipient,
            key_digest: self.public_key.digest(),
            consent: binding.consent,
            wrapped: recipients::wrap(self.key.expose(), &self.public_key, &binding, &mut rng),
        }
    }
}

async fn insert_wraps(connection: &mut AnyConnection, made: Vec<Wrap>) -> Result<(), StoreError> {
    for wrap in made {
        wraps::insert(connection, &wrap, true).await?;
    }
    Ok(())
}

/// The name of a kind key, from four columns that begin with `first`.
pub(crate) fn name_of(row: &AnyRow, first: usize) -> Result<KindKeyName, StoreError> {
    Ok(KindKeyName {
        patient: fixed::<20>(row, first)?.into(),
        steward: fixed::<20>(row, first + 1)?.into(),
        kind: kind_of(row.try_get(first + 2)?)?,
        epoch: row.try_get::<i64, _>(first + 3)?.try_into().map_err(|_| CORRUPT)?,
    })
}

pub(crate) fn kind_key_context(id: KindKeyId) -> Vec<u8> {
    [KIND_KEY_LABEL, id.0.as_slice()].concat()
}
