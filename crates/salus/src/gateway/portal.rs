//! What the portal is told by the gateway that serves it: who somebody is, what the chain says, and in the
//! demonstration who can be picked and with what they sign.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use ::portal::{BoxFuture, Demonstration, Home, HomeError, Institution, Member, Picked};
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, hex};
use bindings::{
    Contract, DecodedCall, Deployment, PatientAccount, decode_call, decode_event,
    patient_account::signer_id,
};
use domain::{ProfessionalRole, Reader};
use ledger::Sender;
use serde_json::{Value, json};
use smart::OwnIssuer;
use workflows::{Gateway, PatientActor};

use super::{asking, figures::Figures, health::Health, opening::now};
use crate::{consortium::Consortium, system::real_time_ms};

/// How a portal is set up.
#[derive(Default)]
pub(crate) struct PortalSettings {
    /// What people call members and patients.
    pub(crate) names: HashMap<Address, String>,
    /// The people of a demonstration.
    pub(crate) demonstration: Option<DemonstrationPeople>,
    /// The folder that `salus study` wrote.
    pub(crate) study: Option<PathBuf>,
}

/// What the portal of one gateway is told.
pub(crate) struct GatewayHome {
    gateway: Gateway,
    institution: Institution,
    issuer: Arc<OwnIssuer>,
    settings: PortalSettings,
    health: Arc<Health>,
    figures: Arc<Figures>,
}

impl GatewayHome {
    pub(crate) fn new(
        gateway: &Gateway,
        issuer: Arc<OwnIssuer>,
        settings: PortalSettings,
        health: Arc<Health>,
        figures: Arc<Figures>,
    ) -> Self {
        let (name, role, member) = (gateway.name.clone(), gateway.role, gateway.member());
        let institution = Institution { name, role, member };
        Self { gateway: gateway.clone(), institution, issuer, settings, health, figures }
    }

    /// Brings what is known of the chain up to now: whose accreditation ended a block ago is nobody (S3).
    async fn refresh(&self) -> Result<(), HomeError> {
        let keeper = &self.gateway.gatekeeper;
        keeper.refresh(now(keeper.ledger())).await.map_err(|error| told(&error))
    }

    async fn reader(&self, address: Address) -> Result<Option<Reader>, HomeError> {
        self.refresh().await?;
        let keeper = &self.gateway.gatekeeper;
        let projection = keeper.projection().await;
        Ok(fhir::reader_at(&projection, self.institution.member, address, now(keeper.ledger())))
    }

    /// A role with its institution, such as `physician of the hospital`.
    fn role_text(&self, role: ProfessionalRole, institution: Address) -> String {
        let role = role.to_string().replace('-', " ");
        match self.name(institution) {
            Some(institution) => format!("{role} of the {institution}"),
            None => role,
        }
    }
}

impl Home for GatewayHome {
    fn institution(&self) -> &Institution {
        &self.institution
    }

    fn chain_id(&self) -> u64 {
        self.gateway.gatekeeper.ledger().chain_id()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(real_time_ms()).unwrap_or_default()
    }

    fn random(&self) -> [u8; 32] {
        self.gateway.gatekeeper.entropy().bytes()
    }

    fn who(&self, address: Address) -> BoxFuture<'_, Result<Option<Reader>, HomeError>> {
        Box::pin(self.reader(address))
    }

    fn member_of_key(&self, key: Address) -> BoxFuture<'_, Result<Option<Address>, HomeError>> {
        Box::pin(async move {
            self.refresh().await?;
            Ok(self.gateway.gatekeeper.projection().await.registry.member_of(&key))
        })
    }

    fn has_signer(
        &self,
        account: Address,
        signer: Bytes,
    ) -> BoxFuture<'_, Result<bool, HomeError>> {
        Box::pin(async move {
            // Only what the network knows as a patient's account is asked for its signer.
            if !matches!(self.reader(account).await?, Some(Reader::Patient { .. })) {
                return Ok(false);
            }
            let ledger = self.gateway.gatekeeper.ledger();
            let call = PatientAccount::signerIdCall {};
            let held = ledger.call(account, &call, BlockId::latest()).await;
            Ok(held.map_err(|error| told(&error))? == signer_id(&signer))
        })
    }

    fn passkey_verifier(&self) -> Address {
        self.gateway.at(Contract::WebAuthnVerifier)
    }

    fn token(&self, reader: &Reader) -> Result<String, HomeError> {
        let is_patient = matches!(reader, Reader::Patient { .. });
        let now = now(self.gateway.gatekeeper.ledger());
        Ok(self.issuer.token(reader.address(), is_patient, now))
    }

    fn name(&self, address: Address) -> Option<String> {
        let own = (address == self.institution.member).then(|| self.institution.name.clone());
        own.or_else(|| self.settings.names.get(&address).cloned())
    }

    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, HomeError>> {
        Box::pin(async move {
            self.refresh().await?;
            let keeper = &self.gateway.gatekeeper;
            let (projection, time) = (keeper.projection().await, now(keeper.ledger()));
            let registry = &projection.registry;
            let everybody = registry.institutions().map(|(address, _)| *address);
            let everybody = everybody.chain(registry.professionals().map(|(address, _)| *address));
            let mut members: Vec<Member> = everybody
                .filter_map(|address| {
                    let role = match registry.reader_of(address, time)? {
                        Reader::Institution { role, .. } => role.to_string().replace('-', " "),
                        Reader::Professional { role, institution, .. } => {
                            self.role_text(role, institution)
                        }
                        Reader::Patient { .. } => return None,
                    };
                    let name = self.name(address).unwrap_or_else(|| address.to_string());
                    Some(Member { address, name, role })
                })
                .collect();
            members.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(members)
        })
    }

    fn rpc<'a>(
        &'a self,
        method: &'a str,
        params: Value,
    ) -> BoxFuture<'a, Result<Value, HomeError>> {
        Box::pin(async move {
            let answer = self.answer(method, params).await;
            match answer.get("result") {
                Some(result) => Ok(result.clone()),
                None => Err(HomeError("the chain did not answer this".into())),
            }
        })
    }

    fn answer<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Value> {
        Box::pin(asking::answer(self.gateway.gatekeeper.ledger(), method, params))
    }

    fn words(&self, to: Option<Address>, data: &[u8]) -> Value {
        fn shown(call: &DecodedCall) -> Value {
            let inner: Vec<Value> = call.inner.iter().map(shown).collect();
            json!({ "to": call.to, "call": call.call, "inner": inner })
        }
        let deployment = self.gateway.gatekeeper.deployment();
        shown(&decode_call(deployment, to, &Bytes::copy_from_slice(data)))
    }

    fn event(&self, log: &Value) -> Value {
        let deployment = self.gateway.gatekeeper.deployment();
        let Ok(log) = serde_json::from_value::<alloy_rpc_types_eth::Log>(log.clone()) else {
            return Value::Null;
        };
        let contract = deployment.contract_at(&log.inner.address).map(Contract::name);
        match decode_event(deployment, &log.inner) {
            Some(event) => json!({ "contract": contract, "event": event }),
            None => Value::Null,
        }
    }

    fn health(&self) -> BoxFuture<'_, Value> {
        Box::pin(async {
            let (is_ready, mut state) = self.health.ready().await;
            state["ready"] = is_ready.into();
            state
        })
    }

    fn deployment(&self) -> Option<&Deployment> {
        Some(self.gateway.gatekeeper.deployment())
    }

    fn study(&self) -> Option<&Path> {
        self.settings.study.as_deref()
    }

    fn figures(&self) -> BoxFuture<'_, String> {
        Box::pin(async { asking::figures_of(&self.figures.render().await, &self.institution.name) })
    }

    fn demonstration(&self) -> Option<&dyn Demonstration> {
        self.settings.demonstration.as_ref().map(|people| people as &dyn Demonstration)
    }
}

/// A fault of ours or of the chain: told to the log in full, to people in general.
fn told(error: &dyn std::error::Error) -> HomeError {
    tracing::warn!(%error, "the chain could not be asked for the portal");
    HomeError("the chain cannot be asked at present".into())
}

/// The keys of the demonstration's people, which stand in for their devices.
enum Key {
    Patient(Arc<PatientActor>),
    Member(Sender),
}

/// The people of the demonstration, as one gateway's portal shows them.
pub(crate) struct DemonstrationPeople {
    people: Vec<Picked>,
    keys: HashMap<Address, Key>,
    verifier: Address,
}

/// How many patients are shown before staff.
const FIRST_PATIENTS: usize = 3;

impl DemonstrationPeople {
    /// Everybody who is known at `gateway`, acts for it, or treats patients elsewhere.
    pub(crate) async fn of(consortium: &Consortium, gateway: &Gateway) -> Self {
        use ProfessionalRole::{Nurse, Paramedic, Physician, Surgeon};
        // Whom the institution met a moment ago is known, too.
        if let Err(error) = gateway.gatekeeper.refresh(consortium.now()).await {
            tracing::warn!(%error, "the demonstration's patients may not be shown");
        }
        let known: HashSet<Address> = {
            let projection = gateway.gatekeeper.projection().await;
            let relationships = projection.consents.relationships();
            let own = relationships.filter(|((_, steward), _)| *steward == gateway.member());
            own.map(|((patient, _), _)| *patient).collect()
        };
        let mut keys = HashMap::new();
        let (mut first, mut staff, mut guests, mut rest) = (vec![], vec![], vec![], vec![]);
        for patient in consortium.patients.all() {
            let address = patient.account();
            let (name, role) = (patient.name.clone(), "patient".to_owned());
            let picked = Picked { name, address, role, is_here: known.contains(&address) };
            keys.insert(address, Key::Patient(Arc::clone(&patient)));
            let is_first = picked.is_here && first.len() < FIRST_PATIENTS;
            if is_first { first.push(picked) } else { rest.push(picked) }
        }
        for (institution, person) in consortium.people() {
            keys.insert(person.member, Key::Member(person.sender.clone()));
            let role = person.role.to_string().replace('-', " ");
            let is_own = institution == gateway.name;
            let treats = matches!(person.role, Physician | Surgeon | Nurse | Paramedic);
            let picked = Picked {
                name: person.name.clone(),
                address: person.member,
                role: format!("{role} of the {institution}"),
                is_here: is_own || treats,
            };
            if is_own { staff.push(picked) } else { guests.push(picked) }
        }
        for other in consortium.institutions() {
            keys.insert(other.member(), Key::Member(other.sender().clone()));
            let is_here = other.name == gateway.name;
            let (name, address) = (other.name.clone(), other.member());
            let role = "runs this gateway".to_owned();
            staff.push(Picked { name, address, role, is_here });
        }
        let people = [first, staff, guests, rest].concat();
        Self { people, keys, verifier: gateway.at(Contract::WebAuthnVerifier) }
    }
}

impl Demonstration for DemonstrationPeople {
    fn people(&self) -> Vec<Picked> {
        self.people.clone()
    }

    fn sign(&self, who: Address, digest: B256) -> BoxFuture<'_, Result<Value, HomeError>> {
        Box::pin(async move {
            let nobody = || HomeError("nobody of the demonstration has this key".into());
            match self.keys.get(&who).ok_or_else(nobody)? {
                Key::Patient(patient) => {
                    let key = patient.patient.key().ok_or_else(nobody)?;
                    let signer = key.signer(self.verifier);
                    let authorisation = json!({ "signer": signer, "signature": key.sign(digest) });
                    Ok(json!({ "digest": digest, "authorisation": authorisation }))
                }
                Key::Member(sender) => {
                    let signature =
                        sender.sign_hash(&digest).await.map_err(|error| told(&error))?;
                    let signature = hex::encode_prefixed(signature.as_bytes());
                    Ok(json!({ "digest": digest, "signature": signature }))
                }
            }
        })
    }
}
