//! Who takes part in the demonstration: eight institutions, their people, and patients.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, RwLock},
};

use alloy_primitives::{Address, B256};
use domain::{InstitutionRole, ProfessionalRole, QueryDomain};
use gatekeeper::Entropy;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::{Passkey, Patient, PatientKey};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use vault::{Database, Kem, RootKey, SecretKey, Vault, VaultSettings};
use workflows::PatientActor;
use zeroize::Zeroizing;

use crate::{Error, keys::make_private_dir};

/// The institutions, the hospital first: it deploys the contracts and keeps the imported records.
pub(crate) const INSTITUTIONS: [(&str, InstitutionRole); 8] = [
    ("hospital", InstitutionRole::Hospital),
    ("laboratory", InstitutionRole::Laboratory),
    ("pharmacy", InstitutionRole::Pharmacy),
    ("emergency", InstitutionRole::Emergency),
    ("insurer", InstitutionRole::Insurer),
    ("institute", InstitutionRole::Research),
    ("maker", InstitutionRole::DeviceMaker),
    ("regulator", InstitutionRole::Regulator),
];

/// The people, with whom they act for.
pub(crate) const PEOPLE: [(&str, &str, ProfessionalRole); 14] = [
    ("physician", "hospital", ProfessionalRole::Physician),
    ("surgeon", "hospital", ProfessionalRole::Surgeon),
    ("nurse", "hospital", ProfessionalRole::Nurse),
    ("dispenser", "hospital", ProfessionalRole::Pharmacist),
    ("keeper", "hospital", ProfessionalRole::PrivacyOfficer),
    ("scientist", "laboratory", ProfessionalRole::LaboratoryScientist),
    ("pharmacist", "pharmacy", ProfessionalRole::Pharmacist),
    ("paramedic", "emergency", ProfessionalRole::Paramedic),
    ("consultant", "emergency", ProfessionalRole::Physician),
    ("officer", "emergency", ProfessionalRole::PrivacyOfficer),
    ("adjudicator", "insurer", ProfessionalRole::Adjudicator),
    ("arbiter", "insurer", ProfessionalRole::Adjudicator),
    ("researcher", "institute", ProfessionalRole::Researcher),
    ("auditor", "regulator", ProfessionalRole::Auditor),
];

/// The page for which the demonstration's passkeys are made.
const ORIGIN: &str = "https://salus.example";

/// The patients of the demonstration, called P001, P002 and so on.
///
/// Each patient's keys follow from one secret, which stands for what would be on their devices.
pub(crate) struct Patients {
    path: PathBuf,
    secret: Zeroizing<[u8; 32]>,
    verifier: Address,
    known: RwLock<Vec<Known>>,
}

/// What is kept of a patient: an account, and a digest of the number by which the source knows them.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    account: Address,
    source: B256,
}

struct Known {
    entry: Entry,
    actor: Arc<PatientActor>,
}

impl Patients {
    pub(crate) fn open(
        path: PathBuf,
        secret: Zeroizing<[u8; 32]>,
        verifier: Address,
    ) -> Result<Self, Error> {
        let entries: Vec<Entry> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let patients = Self { path, secret, verifier, known: RwLock::default() };
        for (index, entry) in entries.into_iter().enumerate() {
            let actor = Arc::new(patients.actor(index, entry.account));
            patients.write().push(Known { entry, actor });
        }
        Ok(patients)
    }

    /// The key of the patient with this index.
    pub(crate) fn key(&self, index: usize) -> PatientKey {
        // A byte string that is no key comes up once in 2^32 patients; the next label then serves.
        let keys = (0_u8..).find_map(|attempt| {
            Passkey::from_secret(&self.derive("passkey", index, attempt), ORIGIN).ok()
        });
        PatientKey::Passkey(keys.expect("one of the first attempts is a key"))
    }

    fn actor(&self, index: usize, account: Address) -> PatientActor {
        let material = Zeroizing::new(self.derive("hpke", index, 0).0);
        PatientActor {
            name: format!("P{:03}", index + 1),
            patient: Patient::new(account, self.verifier, self.key(index)),
            secret: SecretKey::derive(Kem::X25519, &material),
        }
    }

    fn derive(&self, purpose: &str, index: usize, attempt: u8) -> B256 {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.secret).expect("any length is a key");
        mac.update(format!("salus/demo-patient/v1/{purpose}/{index}/{attempt}").as_bytes());
        B256::from_slice(&mac.finalize().into_bytes())
    }

    /// The vault on this patient's device, where copies of their records are kept.
    pub(crate) async fn vault(
        &self,
        patient: &PatientActor,
        network: QueryDomain,
        entropy: &Entropy,
    ) -> Result<Vault, Error> {
        let known = self.read().iter().position(|known| known.actor.account() == patient.account());
        let index = known.ok_or("the patient is not known here")?;
        let dir = self.path.with_file_name(&patient.name);
        make_private_dir(&dir)?;
        let database = Database::open_file(&dir.join("vault.db")).await?;
        let settings = VaultSettings {
            steward: patient.account(),
            network,
            bodies: dir.join("bodies"),
            recovery_keys: Vec::new(),
        };
        let root_key = RootKey::from_bytes(&self.derive("vault", index, 0).0);
        Ok(Vault::unlock(settings, database, &root_key, &mut entropy.fork()).await?)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    /// The patient whom the source knows by a number with this digest.
    pub(crate) fn by_source(&self, source: B256) -> Option<Arc<PatientActor>> {
        let known = self.read();
        let found = known.iter().find(|known| known.entry.source == source);
        found.map(|known| Arc::clone(&known.actor))
    }

    /// The patient called `P001` and so on, or with this account.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<PatientActor>> {
        let account = name.parse::<Address>().ok();
        let known = self.read();
        let mut actors = known.iter().map(|known| &known.actor);
        let found = actors.find(|actor| {
            actor.name.eq_ignore_ascii_case(name) || Some(actor.account()) == account
        });
        found.map(Arc::clone)
    }

    /// Every patient.
    pub(crate) fn all(&self) -> Vec<Arc<PatientActor>> {
        self.read().iter().map(|known| Arc::clone(&known.actor)).collect()
    }

    /// Remembers new patients.
    pub(crate) fn add_all(&self, new: impl Iterator<Item = (Address, B256)>) -> Result<(), Error> {
        {
            let mut known = self.write();
            for (account, source) in new {
                let actor = Arc::new(self.actor(known.len(), account));
                known.push(Known { entry: Entry { account, source }, actor });
            }
        }
        self.save()
    }

    fn save(&self) -> Result<(), Error> {
        let text = {
            let known = self.read();
            serde_json::to_vec(&known.iter().map(|known| &known.entry).collect::<Vec<_>>())?
        };
        let unfinished = self.path.with_extension("unfinished");
        fs::write(&unfinished, text)?;
        fs::rename(&unfinished, &self.path)?;
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Known>> {
        self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Known>> {
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
