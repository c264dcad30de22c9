//! What every named operation uses in gas, measured on the embedded chain with real transactions.
//!
//! `contracts/gas.json` holds the figures, which are the same in every run; a difference fails. With
//! `SALUS_WRITE_GAS` set, which is what `cargo xtask gas` does, the file is written instead.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod services;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use alloy_primitives::{Address, B256, Bytes, U256, aliases::U24};
use alloy_sol_types::{Eip712Domain, SolCall, SolStruct as _, sol};
use bindings::{
    AccessLog, Consents, Contract, EmergencyAccess, LabOrders, PatientAccount, PatientAccounts,
    Prescriptions, Records, Registry, Relationships,
    convert::{make_id, to_grant, to_opening, to_uint40},
    patient_account::{Call, Recover, deadline, guardians_digest, recover_digest},
};
use common::{CHAIN_ID, DAY, HOUR, World, address, passkey, secret, wallet};
use domain::{
    Anchor, InstitutionRole, Kind, KindSet, ProfessionalRole, RecordDigest, RecordId,
    RecordVersion, Timestamp, merkle,
};
use ledger::{Deployed, Outcome, Patient, PatientKey, Sender};
use serde::{Deserialize, Serialize};
use vault::{Kem, SecretKey};

/// One line of `contracts/gas.json`. `gas` is the receipt's figure, after refunds; the next three
/// fields are what it consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Operation {
    name: String,
    contract: String,
    function: String,
    gas: u64,
    /// What any transaction costs, and any deployment.
    intrinsic: u64,
    /// 4 gas for each byte of call data that is zero, 16 for each other.
    calldata_gas: u64,
    execution: u64,
    calldata_bytes: u64,
}

/// How many records the batch has that the price per record is given for.
const BATCH: u64 = 1_000;

/// DESIGN.md, section 9: the most that an operation may use.
const GOALS: [(&str, u64); 5] = [
    ("consent.grant-by-key", 50_000),
    ("consent.grant", 100_000),
    ("record.propose", 60_000),
    ("record.anchor-batch-per-record", 60),
    ("account.create", 200_000),
];

sol! {
    struct Rotate {
        address member;
        address newSigner;
        uint256 nonce;
        uint40 deadline;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gas_is_what_the_file_says() {
    let dir = tempfile::tempdir().unwrap();
    let (world, deployed) = World::found_and_tell(dir.path()).await;
    let mut meter = Meter { world, operations: BTreeMap::new() };
    meter.deployments(&deployed);
    meter.registry().await;
    let patient = meter.accounts().await;
    meter.relationships(&patient).await;
    meter.records(&patient).await;
    meter.consents(&patient).await;
    meter.emergency(&patient).await;
    meter.prescriptions(&patient).await;
    meter.laboratory(&patient).await;
    meter.access_log().await;
    meter.services(&patient).await;
    meter.batch_of_calls(&patient).await;
    meter.recovery().await;
    meter.late_research().await;

    for (name, most) in GOALS {
        let gas = meter.operations[name].gas;
        assert!(gas <= most, "{name} uses {gas} gas, the goal is {most}");
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts/gas.json");
    let measured: Vec<Operation> = meter.operations.into_values().collect();
    if std::env::var_os("SALUS_WRITE_GAS").is_some() {
        fs::write(path, serde_json::to_string_pretty(&measured).unwrap() + "\n").unwrap();
        return;
    }
    let text =
        fs::read_to_string(path).expect("contracts/gas.json is there; else run `cargo xtask gas`");
    let listed: Vec<Operation> = serde_json::from_str(&text).unwrap();
    let differences = differences(&listed, &measured);
    assert!(
        differences.is_empty(),
        "contracts/gas.json is not what was measured; if the change is meant, run `cargo xtask gas`\n\
         {differences}"
    );
}

/// A table of what changed; empty when nothing did.
fn differences(listed: &[Operation], measured: &[Operation]) -> String {
    let by_name = |operations: &[Operation]| -> BTreeMap<String, Operation> {
        operations.iter().map(|one| (one.name.clone(), one.clone())).collect()
    };
    let (listed_by_name, measured_by_name) = (by_name(listed), by_name(measured));
    let names: std::collections::BTreeSet<_> =
        listed_by_name.keys().chain(measured_by_name.keys()).collect();
    let mut table = String::new();
    for name in names {
        let (old, new) = (listed_by_name.get(name), measured_by_name.get(name));
        if old != new {
            let gas = |one: Option<&Operation>| one.map_or("-".into(), |one| one.gas.to_string());
            writeln!(table, "{name:<40} listed {:>9} measured {:>9}", gas(old), gas(new)).unwrap();
        }
    }
    if table.is_empty() && listed != measured {
        table.push_str("the order of the operations");
    }
    table
}

#[test]
fn differences_are_told() {
    let one = |name: &str, gas| Operation {
        name: name.into(),
        contract: String::new(),
        function: String::new(),
        gas,
        intrinsic: 21_000,
        calldata_gas: 0,
        execution: 0,
        calldata_bytes: 0,
    };
    let (listed, measured) = ([one("a", 1), one("b", 2)], [one("b", 3), one("c", 4)]);
    let table = differences(&listed, &measured);
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["a", "listed", "1", "measured", "-"]);
    assert_eq!(lines[1], ["b", "listed", "2", "measured", "3"]);
    assert_eq!(lines[2], ["c", "listed", "-", "measured", "4"]);
    assert_eq!(differences(&listed, &listed), "");
}

/// Sends transactions and notes what each used.
struct Meter {
    world: World,
    operations: BTreeMap<String, Operation>,
}

impl Meter {
    fn note(&mut self, name: &str, contract: &str, signature: &str, input: &[u8], gas: u64) {
        let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
        let calldata_bytes = input.len() as u64;
        // A deployment costs 32,000 more before it begins (EIP-2).
        let intrinsic = if signature == "constructor" { 53_000 } else { 21_000 };
        let calldata_gas = 4 * zeros + 16 * (calldata_bytes - zeros);
        let operation = Operation {
            name: name.into(),
            contract: contract.into(),
            function: signature.split('(').next().unwrap().into(),
            gas,
            intrinsic,
            calldata_gas,
            execution: gas - intrinsic - calldata_gas,
            calldata_bytes,
        };
        let earlier = self.operations.insert(name.into(), operation);
        assert!(earlier.is_none(), "{name} is measured twice");
    }

    /// A call by the key of `who`.
    async fn call<C: SolCall>(
        &mut self,
        name: &str,
        who: &str,
        contract: Contract,
        call: &C,
    ) -> Outcome {
        let sender = self.world.sender(who);
        self.call_at(name, &sender, (contract.name(), self.world.at(contract)), call).await
    }

    async fn call_at<C: SolCall>(
        &mut self,
        name: &str,
        sender: &Sender,
        (contract, to): (&str, Address),
        call: &C,
    ) -> Outcome {
        let outcome = sender.send(to, call).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.note(name, contract, C::SIGNATURE, &call.abi_encode(), outcome.gas_used());
        outcome
    }

    /// A call that a patient signs for their account, relayed by the hospital.
    async fn act<C: SolCall>(
        &mut self,
        name: &str,
        patient: &Patient,
        contract: Contract,
        call: &C,
    ) -> Outcome {
        let to = self.world.at(contract);
        let calls = vec![Call::to_contract(to, call)];
        self.act_all(name, patient, (contract.name(), C::SIGNATURE), calls).await
    }

    /// A call of the account to itself.
    async fn act_on_itself<C: SolCall>(&mut self, name: &str, patient: &Patient, call: &C) {
        let calls = vec![Call::to_contract(patient.account(), call)];
        self.act_all(name, patient, ("PatientAccount", C::SIGNATURE), calls).await;
    }

    async fn act_all(
        &mut self,
        name: &str,
        patient: &Patient,
        (contract, signature): (&str, &str),
        calls: Vec<Call>,
    ) -> Outcome {
        let until = self.world.now().after(HOUR);
        let signed = patient.sign_batch(&self.world.ledger, calls, until).await.unwrap();
        let relay = self.world.sender("hospital");
        let outcome = relay.send(patient.account(), &signed).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.note(name, contract, signature, &signed.abi_encode(), outcome.gas_used());
        outcome
    }

    /// What is needed and not measured.
    async fn prepare<C: SolCall>(&self, who: &str, contract: Contract, call: &C) -> Outcome {
        self.world.sender(who).send(self.world.at(contract), call).await.unwrap()
    }

    fn deployments(&mut self, deployed: &Deployed) {
        let founders = || {
            let founder = |(name, role): (&str, InstitutionRole)| Registry::Founder {
                account: address(name),
                role: role.number(),
            };
            common::INSTITUTIONS.map(founder).to_vec()
        };
        for (contract, outcome) in &deployed.outcomes {
            let code = self.world.deployment.creation_code(*contract, founders());
            let name = format!("deploy.{contract}");
            self.note(&name, contract.name(), "constructor", &code, outcome.gas_used());
        }
    }

    async fn registry(&mut self) {
        use Contract::Registry as REGISTRY;
        let role = InstitutionRole::Insurer.number();
        let call = Registry::proposeAdmissionCall { account: address("insurer"), role };
        let proposed = self.call("registry.propose-admission", "hospital", REGISTRY, &call).await;
        let id = proposed.events::<Registry::Proposed>()[0].id;
        let vote = Registry::voteCall { id };
        self.call("registry.vote", "laboratory", REGISTRY, &vote).await;
        self.call("registry.vote-admits-institution", "pharmacy", REGISTRY, &vote).await;

        let until = to_uint40(self.world.now().after(365 * DAY));
        let role = ProfessionalRole::Adjudicator.number();
        let adjudicator = address("adjudicator");
        let call = Registry::accreditCall { signer: adjudicator, role, until };
        self.call("registry.accredit", "insurer", REGISTRY, &call).await;
        let until = to_uint40(self.world.now().after(400 * DAY));
        let call = Registry::renewCall { member: adjudicator, until };
        self.call("registry.renew", "insurer", REGISTRY, &call).await;
        let call = Registry::revokeAccreditationCall { member: adjudicator };
        self.call("registry.revoke-accreditation", "insurer", REGISTRY, &call).await;

        let device = address("infusion pump");
        let call = Registry::registerDeviceCall { member: device, model: secret("model") };
        self.call("registry.register-device", "hospital", REGISTRY, &call).await;
        let call = Registry::decommissionDeviceCall { member: device };
        self.call("registry.decommission-device", "hospital", REGISTRY, &call).await;

        let profile = |kem, endpoint: &str| {
            let key = SecretKey::derive(kem, &secret("a key for a profile"));
            Registry::setProfileCall {
                hpkeKey: key.public_key().to_bytes().into(),
                endpoint: endpoint.into(),
                peerId: B256::ZERO,
            }
        };
        let call = profile(Kem::XWing, "https://gateway.hospital.example");
        self.call("registry.set-profile", "hospital", REGISTRY, &call).await;
        let call = profile(Kem::X25519, "");
        self.call("registry.set-profile-professional", "physician", REGISTRY, &call).await;

        let digest = secret("an identity number under a key");
        let call = Registry::bindIdentityCall { digest, account: address("anybody") };
        self.call("registry.bind-identity", "hospital", REGISTRY, &call).await;
        let call = Registry::unbindIdentityCall { digest };
        self.call("registry.unbind-identity", "hospital", REGISTRY, &call).await;

        let (member, successor) = (address("insurer"), "the insurer's next key");
        let rotation = Rotate {
            member,
            newSigner: address(successor),
            nonce: U256::ZERO,
            deadline: deadline(self.world.now().after(HOUR)),
        };
        let domain = Eip712Domain::new(
            Some("Salus Registry".into()),
            Some("1".into()),
            Some(U256::from(CHAIN_ID)),
            Some(self.world.at(REGISTRY)),
            None,
        );
        let signature = PatientKey::Wallet(wallet(successor));
        let signature = signature.sign(rotation.eip712_signing_hash(&domain));
        let Rotate { newSigner, deadline, .. } = rotation;
        let call = Registry::rotateCall { newSigner, deadline, signature };
        self.call("registry.rotate-key", "insurer", REGISTRY, &call).await;
    }

    /// Makes an account, and gives it back.
    async fn create(
        &mut self,
        name: &str,
        key: PatientKey,
        call: &PatientAccounts::createCall,
    ) -> Patient {
        let outcome = self.call(name, "hospital", Contract::PatientAccounts, call).await;
        let account = outcome.events::<PatientAccounts::AccountCreated>()[0].account;
        Patient::new(account, self.world.at(Contract::WebAuthnVerifier), key)
    }

    /// The accounts of all sorts; the one with a passkey is used from then on.
    async fn accounts(&mut self) -> Patient {
        let verifier = self.world.at(Contract::WebAuthnVerifier);
        let call = ledger::creation(passkey("patient").signer(verifier), B256::ZERO);
        let patient = self.create("account.create", passkey("patient"), &call).await;

        let key = PatientKey::Wallet(wallet("wallet-patient"));
        let call = ledger::creation(key.signer(verifier), B256::ZERO);
        let by_wallet = self.create("account.create-with-wallet", key, &call).await;

        let custodian = PatientKey::Wallet(wallet("mother"));
        let custody = |signer: Bytes, until: Timestamp| PatientAccounts::Custodian {
            signer,
            until: to_uint40(until),
        };
        let majority = self.world.now().after(10 * 365 * DAY);
        let call = PatientAccounts::createCall {
            signer: Bytes::new(),
            custodians: vec![custody(custodian.signer(verifier), majority)],
            ..ledger::creation(Bytes::new(), B256::ZERO)
        };
        let minor = self.create("account.create-for-minor", custodian, &call).await;

        let grant = self.grant("laboratory", &[Kind::Laboratory]);
        use Contract::Consents as CONSENTS;
        self.act("consent.grant-by-wallet-account", &by_wallet, CONSENTS, &grant).await;
        self.act("consent.grant-by-custodian", &minor, CONSENTS, &grant).await;

        let signer = passkey("the minor's first phone").signer(verifier);
        let call = PatientAccount::installSignerCall { newSigner: signer };
        self.act_on_itself("account.install-signer", &minor, &call).await;
        let signer = passkey("the wallet owner's phone").signer(verifier);
        let call = PatientAccount::changeSignerCall { newSigner: signer };
        self.act_on_itself("account.change-signer", &by_wallet, &call).await;
        let call = PatientAccount::setGuardiansCall {
            guardians: secret("guardians"),
            recoveryDelay: U24::from(86_400),
        };
        self.act_on_itself("account.set-guardians", &patient, &call).await;
        let custodian = PatientAccount::Custodian {
            signer: address("daughter").to_vec().into(),
            until: to_uint40(majority),
        };
        let signer = custodian.signer.clone();
        let call = PatientAccount::addCustodianCall { custodian };
        self.act_on_itself("account.add-custodian", &patient, &call).await;
        let call = PatientAccount::removeCustodianCall { signer };
        self.act_on_itself("account.remove-custodian", &patient, &call).await;
        patient
    }

    async fn relationships(&mut self, patient: &Patient) {
        use Contract::Relationships as RELATIONSHIPS;
        let propose =
            |patient: Address, countersigned| Relationships::proposeCall { patient, countersigned };
        let account = patient.account();
        let call = propose(account, false);
        self.call("relationship.propose", "hospital", RELATIONSHIPS, &call).await;
        let steward = address("hospital");
        let call = Relationships::acceptCall { steward, countersigned: false };
        self.act("relationship.accept", patient, RELATIONSHIPS, &call).await;
        let call = Relationships::proposePolicyCall { patient: account, countersigned: true };
        self.call("relationship.propose-policy", "hospital", RELATIONSHIPS, &call).await;
        let call = Relationships::acceptPolicyCall { steward, countersigned: true };
        self.act("relationship.accept-policy", patient, RELATIONSHIPS, &call).await;

        self.prepare("laboratory", RELATIONSHIPS, &propose(account, false)).await;
        let call = Relationships::declineCall { steward: address("laboratory") };
        self.act("relationship.decline", patient, RELATIONSHIPS, &call).await;
        self.prepare("pharmacy", RELATIONSHIPS, &propose(account, false)).await;
        let call = Relationships::withdrawCall { patient: account };
        self.call("relationship.withdraw", "pharmacy", RELATIONSHIPS, &call).await;

        self.prepare("laboratory", RELATIONSHIPS, &propose(account, false)).await;
        let steward = address("laboratory");
        let accept = Relationships::acceptCall { steward, countersigned: false };
        let accept = vec![Call::to_contract(self.world.at(RELATIONSHIPS), &accept)];
        let until = self.world.now().after(HOUR);
        patient.act(&self.world.sender("hospital"), accept, until).await.unwrap();
        let call = Relationships::requireCountersignatureCall { steward };
        self.act("relationship.require-countersignature", patient, RELATIONSHIPS, &call).await;
        let call = Relationships::endCall { steward };
        self.act("relationship.end", patient, RELATIONSHIPS, &call).await;
    }

    async fn records(&mut self, patient: &Patient) {
        use Contract::Records as RECORDS;
        let anchor = |record: &str, version: u32, base: u32| Records::Anchor {
            record: secret(record),
            version,
            base,
            kind: Kind::Condition.number(),
            patient: patient.account(),
            steward: address("hospital"),
            digest: secret(&format!("{record}, version {version}")),
        };
        let propose = |anchor: &Records::Anchor| Records::proposeCall {
            patient: anchor.patient,
            record: anchor.record,
            kind: anchor.kind,
            digest: anchor.digest,
        };
        let first = anchor("a record", 1, 0);
        self.call("record.propose", "hospital", RECORDS, &propose(&first)).await;
        let call = Records::acceptCall { anchor: first.clone() };
        self.act("record.accept", patient, RECORDS, &call).await;
        let call = Records::disputeCall { anchor: first.clone() };
        self.act("record.dispute", patient, RECORDS, &call).await;
        let call = Records::resolveCall { anchor: first.clone() };
        self.act("record.resolve", patient, RECORDS, &call).await;
        let second = anchor("a record", 2, 1);
        let call = Records::proposeAmendmentCall { previous: first.clone(), next: second.clone() };
        self.call("record.amend", "hospital", RECORDS, &call).await;
        let call = Records::acceptCall { anchor: second };
        self.act("record.accept-amendment", patient, RECORDS, &call).await;
        let call = Records::requestErasureCall { anchor: first.clone() };
        self.act("record.request-erasure", patient, RECORDS, &call).await;
        let call = Records::eraseCall { anchor: first, receipt: secret("receipt") };
        self.call("record.erase", "hospital", RECORDS, &call).await;

        let wrong = anchor("a record of somebody else", 1, 0);
        self.prepare("hospital", RECORDS, &propose(&wrong)).await;
        let call = Records::rejectCall { anchor: wrong };
        self.act("record.reject", patient, RECORDS, &call).await;
        let mistake = anchor("a mistake", 1, 0);
        self.prepare("hospital", RECORDS, &propose(&mistake)).await;
        let call = Records::withdrawCall { anchor: mistake };
        self.call("record.withdraw", "hospital", RECORDS, &call).await;

        let anchors: Vec<Anchor> =
            (0..BATCH).map(|index| batch_anchor(patient.account(), index)).collect();
        let tree = merkle::Tree::new(anchors.iter().map(Anchor::leaf).collect()).unwrap();
        let root = tree.root();
        let count = u32::try_from(BATCH).unwrap();
        let call = Records::anchorBatchCall { root, count };
        self.call("record.anchor-batch", "hospital", RECORDS, &call).await;
        self.per_record();
        let call = Records::acceptBatchCall { steward: address("hospital"), root };
        self.act("record.accept-batch", patient, RECORDS, &call).await;
        let call = Records::materialiseCall {
            anchor: bindings::convert::to_anchor(&anchors[7]),
            root,
            proof: tree.proof(7).unwrap(),
        };
        self.call("record.materialise", "hospital", RECORDS, &call).await;
    }

    /// A batch's price divided among its records, rounded up.
    fn per_record(&mut self) {
        let batch = &self.operations["record.anchor-batch"];
        let gas = batch.gas.div_ceil(BATCH);
        let (intrinsic, calldata_gas) = (batch.intrinsic / BATCH, batch.calldata_gas / BATCH);
        let name = format!("{}-per-record", batch.name);
        let operation = Operation {
            name: name.clone(),
            gas,
            intrinsic,
            calldata_gas,
            execution: gas - intrinsic - calldata_gas,
            calldata_bytes: batch.calldata_bytes / BATCH,
            ..batch.clone()
        };
        self.operations.insert(name, operation);
    }

    fn grant(&self, reader: &str, kinds: &[Kind]) -> Consents::grantCall {
        let terms = to_grant(&self.world.terms(kinds));
        Consents::grantCall { reader: address(reader), record: B256::ZERO, terms }
    }

    async fn consents(&mut self, patient: &Patient) {
        use Contract::Consents as CONSENTS;
        let (account, reader, record) = (patient.account(), address("laboratory"), B256::ZERO);
        let grant = self.grant("laboratory", &[Kind::Laboratory]);
        self.act("consent.grant", patient, CONSENTS, &grant).await;
        let wider = self.grant("laboratory", &[Kind::Laboratory, Kind::Condition]);
        self.act("consent.grant-again", patient, CONSENTS, &wider).await;
        let one = Consents::grantCall { record: secret("a record"), ..grant.clone() };
        self.act("consent.grant-one-record", patient, CONSENTS, &one).await;
        self.call("consent.grant-by-key", "wallet-patient", CONSENTS, &grant).await;

        let call = Consents::countersignCall { patient: account, reader, record, version: 2 };
        self.call("consent.countersign", "hospital", CONSENTS, &call).await;
        let call = Consents::withdrawCountersignatureCall { patient: account, reader, record };
        self.call("consent.withdraw-countersignature", "hospital", CONSENTS, &call).await;
        let call = Consents::revokeCall { reader, record };
        self.act("consent.revoke", patient, CONSENTS, &call).await;
        self.call("consent.revoke-by-key", "wallet-patient", CONSENTS, &call).await;
    }

    async fn emergency(&mut self, patient: &Patient) {
        use Contract::EmergencyAccess as EMERGENCY;
        let closed = KindSet::of(&[Kind::MentalHealth]).bits();
        let call = EmergencyAccess::restrictCall { kinds: closed, optedOut: false };
        self.act("emergency.restrict", patient, EMERGENCY, &call).await;
        let open = EmergencyAccess::openCall {
            patient: patient.account(),
            kinds: KindSet::of(&[Kind::Allergy, Kind::Medication]).bits(),
            period: to_uint40(Timestamp(HOUR.as_secs())),
            reason: secret("a salted reason"),
        };
        let opened = self.call("emergency.open", "paramedic", EMERGENCY, &open).await;
        let opened = opened.events::<EmergencyAccess::EmergencyOpened>();
        let opening = to_opening(&opened[0]);
        let call = EmergencyAccess::endCall { opening: opening.clone() };
        self.call("emergency.end", "paramedic", EMERGENCY, &call).await;
        let note = secret("the officer's note");
        let call = EmergencyAccess::reviewCall { opening, verdict: 1, note };
        self.call("emergency.review", "officer", EMERGENCY, &call).await;

        let opened = self.prepare("consultant", EMERGENCY, &open).await;
        let opened = opened.events::<EmergencyAccess::EmergencyOpened>();
        let opening = to_opening(&opened[0]);
        let call = EmergencyAccess::reviewCall { opening, verdict: 2, note };
        self.call("emergency.review-ends-it", "officer", EMERGENCY, &call).await;
    }

    async fn prescriptions(&mut self, patient: &Patient) {
        use Contract::Prescriptions as PRESCRIPTIONS;
        let (account, pharmacy) = (patient.account(), address("pharmacy"));
        let terms = Prescriptions::Terms {
            patient: account,
            digest: secret("the sealed prescription"),
            quantity: 30,
            fills: 2,
            validUntil: to_uint40(self.world.now().after(30 * DAY)),
            fillInterval: to_uint40(Timestamp(0)),
        };
        let dispense = |id: B256, quantity| Prescriptions::dispenseCall {
            id,
            dispensing: Prescriptions::Dispensing {
                quantity,
                productExpiry: to_uint40(self.world.now().after(400 * DAY)),
                batch: secret("a product's batch"),
                record: secret("the sealed dispensing record"),
            },
        };
        let salt = secret("a prescription");
        let id = make_id(address("physician"), salt);
        let [part, fill] = [10, 20].map(|quantity| dispense(id, quantity));
        let other_salt = secret("another prescription");
        let other = make_id(address("physician"), other_salt);
        let whole = dispense(id, 30);
        let call = Prescriptions::issueCall { salt, terms: terms.clone() };
        self.call("prescription.issue", "physician", PRESCRIPTIONS, &call).await;
        let permit = Prescriptions::permitCall { id, pharmacy };
        self.call("prescription.permit", "physician", PRESCRIPTIONS, &permit).await;

        // As the workflow has it: the record is accepted in the same signature.
        let record = RecordId(id);
        let digest = RecordDigest(terms.digest);
        let anchor = Anchor { record, digest, ..batch_anchor(account, 0) };
        let anchor = bindings::convert::to_anchor(&anchor);
        let propose = Records::proposeCall {
            patient: account,
            record: id,
            kind: anchor.kind,
            digest: anchor.digest,
        };
        self.prepare("hospital", Contract::Records, &propose).await;
        let accept = Records::acceptCall { anchor };
        let calls = vec![
            Call::to_contract(self.world.at(Contract::Records), &accept),
            Call::to_contract(self.world.at(PRESCRIPTIONS), &permit),
        ];
        let what = (PRESCRIPTIONS.name(), Prescriptions::permitCall::SIGNATURE);
        self.act_all("prescription.permit-by-patient", patient, what, calls).await;

        let claim = Prescriptions::claimCall { id };
        self.call("prescription.claim", "pharmacist", PRESCRIPTIONS, &claim).await;
        let call = Prescriptions::releaseCall { id };
        self.call("prescription.release", "pharmacist", PRESCRIPTIONS, &call).await;
        self.prepare("pharmacist", PRESCRIPTIONS, &claim).await;
        self.call("prescription.dispense-part", "pharmacist", PRESCRIPTIONS, &part).await;
        self.call("prescription.dispense-fill", "pharmacist", PRESCRIPTIONS, &fill).await;
        self.prepare("pharmacist", PRESCRIPTIONS, &claim).await;
        self.call("prescription.dispense", "pharmacist", PRESCRIPTIONS, &whole).await;

        let call = Prescriptions::issueCall { salt: other_salt, terms };
        self.prepare("physician", PRESCRIPTIONS, &call).await;
        let permit = Prescriptions::permitCall { id: other, pharmacy };
        self.act("prescription.permit-only-by-patient", patient, PRESCRIPTIONS, &permit).await;
        let call = Prescriptions::withdrawPermitCall { id: other, pharmacy };
        self.act("prescription.withdraw-permit", patient, PRESCRIPTIONS, &call).await;
        let call = Prescriptions::cancelCall { id: other };
        self.call("prescription.cancel", "physician", PRESCRIPTIONS, &call).await;
    }

    async fn laboratory(&mut self, patient: &Patient) {
        use Contract::LabOrders as ORDERS;
        let order = |salt| LabOrders::orderCall {
            salt,
            patient: patient.account(),
            laboratory: address("laboratory"),
            digest: secret("the sealed order"),
        };
        let collect = |id| LabOrders::collectCall { id, specimen: secret("a specimen") };
        let report = |id, critical| LabOrders::reportCall {
            id,
            digest: secret("the sealed result"),
            critical,
        };
        let salt = secret("an order");
        let id = make_id(address("physician"), salt);
        self.call("lab.order", "physician", ORDERS, &order(salt)).await;
        self.call("lab.collect", "scientist", ORDERS, &collect(id)).await;
        self.call("lab.report", "scientist", ORDERS, &report(id, false)).await;
        // Releasing is what alerts the patient.
        let digest = secret("the sealed result");
        let call = LabOrders::releaseCall { id, digest };
        self.call("lab.release", "scientist", ORDERS, &call).await;
        let call = LabOrders::acknowledgeCall { id, digest };
        self.call("lab.acknowledge", "physician", ORDERS, &call).await;

        let salt = secret("an order with a critical result");
        let id = make_id(address("physician"), salt);
        self.prepare("physician", ORDERS, &order(salt)).await;
        self.prepare("scientist", ORDERS, &collect(id)).await;
        self.call("lab.report-critical", "scientist", ORDERS, &report(id, true)).await;
        let salt = secret("an order that is cancelled");
        let id = make_id(address("physician"), salt);
        self.prepare("physician", ORDERS, &order(salt)).await;
        self.call("lab.cancel", "physician", ORDERS, &LabOrders::cancelCall { id }).await;
    }

    async fn access_log(&mut self) {
        use Contract::AccessLog as LOG;
        let append = |root: &str, previous_head| AccessLog::appendCall {
            root: secret(root),
            count: 1_000,
            previousHead: previous_head,
        };
        let first = append("receipts", B256::ZERO);
        let appended = self.call("access-log.append-first", "hospital", LOG, &first).await;
        let head = appended.events::<AccessLog::ReceiptsAppended>()[0].head;
        let next = append("later receipts", head);
        self.call("access-log.append", "hospital", LOG, &next).await;
    }

    /// Five consents in one signature.
    async fn batch_of_calls(&mut self, patient: &Patient) {
        let readers = ["one", "two", "three", "four", "five"];
        let calls = readers.map(|reader| {
            let grant = self.grant(reader, &[Kind::Imaging]);
            Call::to_contract(self.world.at(Contract::Consents), &grant)
        });
        let what = ("PatientAccount", PatientAccount::executeCall::SIGNATURE);
        self.act_all("account.five-consents-in-one-signature", patient, what, calls.into()).await;
    }

    /// Two of three guardians replace a lost key. Last, because time passes.
    async fn recovery(&mut self) {
        let verifier = self.world.at(Contract::WebAuthnVerifier);
        let guardians = ["mother", "friend", "nurse"].map(|name| PatientKey::Wallet(wallet(name)));
        let signers: Vec<Bytes> = guardians.iter().map(|key| key.signer(verifier)).collect();
        let salt = secret("salt of the guardians");
        let set = PatientAccount::GuardianSet { salt, threshold: 2, signers: signers.clone() };
        let call = PatientAccounts::createCall {
            guardians: guardians_digest(salt, 2, &signers),
            recoveryDelay: U24::from(86_400),
            ..ledger::creation(passkey("lost phone").signer(verifier), B256::ZERO)
        };
        let name = "account.create-with-guardians";
        let patient = self.create(name, passkey("lost phone"), &call).await;
        let account = patient.account();
        let new_signer = passkey("new phone").signer(verifier);
        let until = self.world.now().after(HOUR);
        let propose = |nonce: u64| {
            let message = Recover {
                newSigner: new_signer.clone(),
                nonce: U256::from(nonce),
                deadline: deadline(until),
            };
            let digest = recover_digest(CHAIN_ID, account, &message);
            let signatures =
                vec![guardians[0].sign(digest), Bytes::new(), guardians[2].sign(digest)];
            PatientAccount::proposeRecoveryCall {
                newSigner: new_signer.clone(),
                set: set.clone(),
                deadline: deadline(until),
                signatures,
            }
        };
        let (first, second) = (propose(0), propose(1));
        let relay = self.world.sender("hospital");
        let at = ("PatientAccount", account);
        self.call_at("recovery.propose", &relay, at, &first).await;
        let call = PatientAccount::cancelRecoveryCall {};
        self.act_on_itself("recovery.cancel", &patient, &call).await;
        relay.send(account, &second).await.unwrap();
        self.world.pass(2 * DAY);
        let finish = PatientAccount::finishRecoveryCall { newSigner: new_signer };
        self.call_at("recovery.finish", &relay, at, &finish).await;
        let call = PatientAccount::signerIdCall {};
        let id = self.world.ledger.call(account, &call, Default::default()).await.unwrap();
        assert_eq!(id, bindings::patient_account::signer_id(&finish.newSigner));
    }
}

fn batch_anchor(patient: Address, index: u64) -> Anchor {
    Anchor {
        record: RecordId(secret(&format!("record {index} of a batch"))),
        version: RecordVersion::FIRST,
        base: 0,
        kind: Kind::Condition,
        patient,
        steward: address("hospital"),
        digest: RecordDigest(secret(&format!("body {index} of a batch"))),
    }
}
