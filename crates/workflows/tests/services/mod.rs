//! Gas of the workflows that nothing off chain takes part in yet: surgeries, trials, devices, waiting lists,
//! claims with their money, and the research exchange; and of what prescriptions and orders have besides.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolCall, SolStruct, SolValue as _, sol};
use bindings::{
    Claims, Contract, DataExchange, Devices, LabOrders, PaymentToken, Prescriptions, Registry,
    Surgeries, Trials, WaitingLists,
    convert::{make_id, to_uint40},
    patient_account::Call,
};
use domain::{InstitutionRole, ProfessionalRole, Timestamp};
use ledger::{Patient, PatientKey};

use crate::{
    Meter,
    common::{CHAIN_ID, DAY, HOUR, address, secret, wallet},
};

sol! {
    struct Attest {
        address device;
        bytes32 model;
        bytes32 serial;
        uint40 deadline;
    }

    struct Firmware {
        address device;
        address operator;
        bytes32 firmware;
        uint32 number;
        uint40 deadline;
    }

    struct Batch {
        address device;
        uint32 binding;
        uint64 sequence;
        uint40 from;
        uint40 to;
        uint32 count;
        uint32 outOfRange;
        bytes32 root;
        bytes32 previousHead;
    }
}

const ADJUDICATOR: &str = "adjudicator of the payer";

/// An order of data for which nothing comes.
const NOT_DELIVERED: &str = "an order of data that is not delivered";

impl Meter {
    /// Last but the recovery: it admits members, which makes later votes longer.
    pub(super) async fn services(&mut self, patient: &Patient) {
        self.widen().await;
        self.controlled_prescription(patient).await;
        self.surgery(patient).await;
        self.waiting_list(patient).await;
        self.device(patient).await;
        self.trial(patient).await;
        self.money(patient).await;
        self.claim(patient).await;
        self.research(patient).await;
        self.later_results(patient).await;
    }

    /// More institutions, by the votes of those that are there, and who works at them.
    async fn widen(&self) {
        use Contract::Registry as REGISTRY;
        use InstitutionRole::{DeviceMaker, Insurer, Regulator, Research};
        use ProfessionalRole as Role;
        let institutions = [
            ("payer", Insurer),
            ("institute", Research),
            ("regulator", Regulator),
            ("maker", DeviceMaker),
        ];
        for (name, role) in institutions {
            let call =
                Registry::proposeAdmissionCall { account: address(name), role: role.number() };
            let proposed = self.prepare("hospital", REGISTRY, &call).await;
            let vote = Registry::voteCall { id: proposed.events::<Registry::Proposed>()[0].id };
            for voter in ["laboratory", "pharmacy", "other-pharmacy", "emergency"] {
                let call = Registry::roleOfCall { member: address(name) };
                let at = self.world.at(REGISTRY);
                let held = self.world.ledger.call(at, &call, Default::default()).await.unwrap();
                if held == 0 {
                    self.prepare(voter, REGISTRY, &vote).await;
                }
            }
        }
        let people = [
            ("surgeon", "hospital", Role::Surgeon),
            ("colleague", "hospital", Role::Physician),
            ("trial-pharmacist", "hospital", Role::Pharmacist),
            ("hospital-officer", "hospital", Role::PrivacyOfficer),
            (ADJUDICATOR, "payer", Role::Adjudicator),
            ("second adjudicator", "payer", Role::Adjudicator),
            ("researcher", "institute", Role::Researcher),
            ("auditor", "regulator", Role::Auditor),
        ];
        let until = to_uint40(self.world.now().after(365 * DAY));
        for (name, employer, role) in people {
            let call = Registry::accreditCall { signer: address(name), role: role.number(), until };
            self.prepare(employer, REGISTRY, &call).await;
        }
    }

    /// A call of the patient's that is needed and not measured.
    async fn prepare_act<C: SolCall>(&self, patient: &Patient, contract: Contract, call: &C) {
        let calls = vec![Call::to_contract(self.world.at(contract), call)];
        let until = self.world.now().after(HOUR);
        patient.act(&self.world.sender("hospital"), calls, until).await.unwrap();
    }

    fn domain(&self, name: &'static str, contract: Contract) -> Eip712Domain {
        Eip712Domain::new(
            Some(name.into()),
            Some("1".into()),
            Some(U256::from(CHAIN_ID)),
            Some(self.world.at(contract)),
            None,
        )
    }

    fn terms(&self, patient: &Patient) -> Prescriptions::Terms {
        Prescriptions::Terms {
            patient: patient.account(),
            digest: secret("the sealed prescription"),
            quantity: 30,
            fills: 1,
            validUntil: to_uint40(self.world.now().after(30 * DAY)),
            fillInterval: to_uint40(Timestamp(0)),
        }
    }

    fn dispense(&self, id: B256, record: &str) -> Prescriptions::dispenseCall {
        Prescriptions::dispenseCall {
            id,
            dispensing: Prescriptions::Dispensing {
                quantity: 30,
                productExpiry: to_uint40(self.world.now().after(400 * DAY)),
                batch: secret("a product's batch"),
                record: secret(record),
            },
        }
    }

    async fn controlled_prescription(&mut self, patient: &Patient) {
        use Contract::Prescriptions as PRESCRIPTIONS;
        let salt = secret("a controlled prescription");
        let id = make_id(address("physician"), salt);
        let call = Prescriptions::issueControlledCall { salt, terms: self.terms(patient) };
        self.call("prescription.issue-controlled", "physician", PRESCRIPTIONS, &call).await;
        let call = Prescriptions::countersignCall { id };
        self.call("prescription.countersign", "colleague", PRESCRIPTIONS, &call).await;
        let permit = Prescriptions::permitCall { id, pharmacy: address("pharmacy") };
        self.prepare("physician", PRESCRIPTIONS, &permit).await;
        self.prepare_act(patient, PRESCRIPTIONS, &permit).await;
        self.prepare("pharmacist", PRESCRIPTIONS, &Prescriptions::claimCall { id }).await;
        let (product, reason) = (secret("another product"), secret("the reason"));
        let call = Prescriptions::substituteCall { id, product, reason };
        self.call("prescription.substitute", "pharmacist", PRESCRIPTIONS, &call).await;
        let call = Prescriptions::forbidSubstitutionCall { id };
        self.call("prescription.forbid-substitution", "physician", PRESCRIPTIONS, &call).await;
        let call = self.dispense(id, "what was handed out");
        self.prepare("pharmacist", PRESCRIPTIONS, &call).await;
        let call = Prescriptions::confirmCollectionCall { id, fill: U256::ONE };
        self.act("prescription.confirm-collection", patient, PRESCRIPTIONS, &call).await;
    }

    async fn surgery(&mut self, patient: &Patient) {
        use Contract::Surgeries as SURGERIES;
        let refer = |salt| Surgeries::referCall {
            salt,
            patient: patient.account(),
            hospital: address("hospital"),
            referral: secret("the sealed referral"),
        };
        let salt = secret("a surgery");
        let id = make_id(address("physician"), salt);
        self.call("surgery.refer", "physician", SURGERIES, &refer(salt)).await;
        let plan = secret("the sealed plan");
        self.call("surgery.assess", "surgeon", SURGERIES, &Surgeries::assessCall { id, plan })
            .await;
        self.act("surgery.consent", patient, SURGERIES, &Surgeries::consentCall { id, plan }).await;
        let call = Surgeries::scheduleCall {
            id,
            team: ["surgeon", "physician", "nurse"].map(address),
            scheduledAt: to_uint40(self.world.now().after(DAY)),
            theatre: secret("the theatre"),
        };
        self.call("surgery.schedule", "nurse", SURGERIES, &call).await;
        let checklist = secret("the filled-in checklist");
        let call = Surgeries::signInCall { id, checklist };
        self.call("surgery.sign-in", "physician", SURGERIES, &call).await;
        self.call("surgery.sign-in-last", "nurse", SURGERIES, &call).await;
        let call = Surgeries::timeOutCall { id, checklist };
        self.call("surgery.time-out", "surgeon", SURGERIES, &call).await;
        self.prepare("physician", SURGERIES, &call).await;
        self.call("surgery.time-out-last", "nurse", SURGERIES, &call).await;
        self.call("surgery.incise", "surgeon", SURGERIES, &Surgeries::inciseCall { id }).await;
        let (implant, lot) = (secret("a serial number"), secret("a lot"));
        let call = Surgeries::recordImplantCall { id, implant, lot };
        self.call("surgery.record-implant", "nurse", SURGERIES, &call).await;
        let mistake = secret("a serial number that was misread");
        let call = Surgeries::recordImplantCall { id, implant: mistake, lot };
        self.prepare("nurse", SURGERIES, &call).await;
        let call = Surgeries::voidImplantCall { id, implant: mistake };
        self.call("surgery.void-implant", "nurse", SURGERIES, &call).await;
        let call = Surgeries::signOutCall { id, report: secret("the sealed report") };
        self.call("surgery.sign-out", "surgeon", SURGERIES, &call).await;
        self.prepare("physician", SURGERIES, &call).await;
        self.call("surgery.sign-out-last", "nurse", SURGERIES, &call).await;
        let digest = secret("a sealed note");
        let call = Surgeries::handOverCall { id, digest };
        self.call("surgery.hand-over", "physician", SURGERIES, &call).await;
        let call = Surgeries::reportComplicationCall { id, digest };
        self.call("surgery.report-complication", "nurse", SURGERIES, &call).await;
        let call = Surgeries::dischargeCall { id, digest };
        self.call("surgery.discharge", "physician", SURGERIES, &call).await;
        let call = Surgeries::followUpCall { id, digest };
        self.call("surgery.follow-up", "physician", SURGERIES, &call).await;

        let salt = secret("a surgery that is called off");
        self.prepare("physician", SURGERIES, &refer(salt)).await;
        let id = make_id(address("physician"), salt);
        let call = Surgeries::cancelCall { id, reason: secret("the reason") };
        self.act("surgery.cancel", patient, SURGERIES, &call).await;
    }

    async fn waiting_list(&mut self, patient: &Patient) {
        use Contract::WaitingLists as LISTS;
        let list = |salt, referral: &str| WaitingLists::listCall {
            salt,
            patient: patient.account(),
            hospital: address("hospital"),
            referral: secret(referral),
            entry: secret("the sealed entry"),
        };
        let now = to_uint40(self.world.now().after(HOUR));
        let salt = secret("a listing");
        let id = make_id(address("physician"), salt);
        self.call("waiting-list.list", "physician", LISTS, &list(salt, "a referral")).await;
        let call = WaitingLists::prioritiseCall { id, priority: 2 };
        self.call("waiting-list.prioritise", "surgeon", LISTS, &call).await;
        let call = WaitingLists::scheduleCall { id, appointmentAt: now };
        self.call("waiting-list.schedule", "nurse", LISTS, &call).await;
        self.world.pass(HOUR);
        let call = WaitingLists::missCall { id };
        self.call("waiting-list.miss", "nurse", LISTS, &call).await;
        let appointment = to_uint40(self.world.now().after(HOUR));
        let call = WaitingLists::scheduleCall { id, appointmentAt: appointment };
        self.prepare("nurse", LISTS, &call).await;
        self.world.pass(HOUR);
        let call = WaitingLists::attendCall { id };
        self.call("waiting-list.attend", "nurse", LISTS, &call).await;
        let salt = secret("another listing");
        self.prepare("physician", LISTS, &list(salt, "another referral")).await;
        let id = make_id(address("physician"), salt);
        let call = WaitingLists::removeCall { id, reason: secret("the reason") };
        self.act("waiting-list.remove", patient, LISTS, &call).await;
        let call = WaitingLists::publishCensusCall {
            hospital: B256::right_padding_from(b"0904"),
            month: 202_612,
            root: secret("the root of a census"),
            rows: 480,
            total: 12_345,
        };
        self.call("waiting-list.publish-census", "hospital", LISTS, &call).await;
    }

    async fn device(&mut self, patient: &Patient) {
        use Contract::Devices as DEVICES;
        let (device, maker, hospital) =
            (address("a monitor"), address("maker"), address("hospital"));
        let (name, firmware) = (secret("the name of a model"), secret("firmware 1"));
        let model = keccak256((maker, name).abi_encode());
        let deadline = to_uint40(self.world.now().after(DAY));
        let domain = self.domain("Salus Devices", DEVICES);
        let signed = |signer: &str, hash: B256| PatientKey::Wallet(wallet(signer)).sign(hash);
        let call = Devices::acceptFirmwareCall { name, firmware };
        self.call("device.accept-firmware", "maker", DEVICES, &call).await;
        let call = Registry::registerDeviceCall { member: device, model };
        self.prepare("hospital", Contract::Registry, &call).await;

        let serial = secret("a keyed serial number");
        let attest = Attest { device, model, serial, deadline };
        let says = |firmware, number| {
            let says = Firmware { device, operator: hospital, firmware, number, deadline };
            signed("a monitor", says.eip712_signing_hash(&domain))
        };
        let attestation = Devices::Attestation {
            maker,
            name,
            serial,
            firmware,
            deadline,
            makerSignature: signed("maker", attest.eip712_signing_hash(&domain)),
            deviceSignature: says(firmware, 0),
        };
        let call = Devices::enrolCall { device, attestation };
        self.call("device.enrol", "hospital", DEVICES, &call).await;
        let next = secret("firmware 2");
        let call = Devices::acceptFirmwareCall { name, firmware: next };
        self.prepare("maker", DEVICES, &call).await;
        let signature = says(next, 1);
        let call = Devices::updateFirmwareCall { device, firmware: next, deadline, signature };
        self.call("device.update-firmware", "hospital", DEVICES, &call).await;
        let call = Devices::offerBindingCall {
            device,
            patient: patient.account(),
            until: to_uint40(self.world.now().after(90 * DAY)),
            interval: 3_600,
        };
        self.call("device.offer-binding", "hospital", DEVICES, &call).await;
        let call = Devices::acceptBindingCall { device, binding: 1 };
        self.act("device.accept-binding", patient, DEVICES, &call).await;

        let mut head = B256::ZERO;
        for (sequence, (name, out_of_range)) in
            [("device.anchor-first", 0), ("device.anchor", 0), ("device.anchor-alert", 3)]
                .into_iter()
                .enumerate()
        {
            let from = to_uint40(self.world.now());
            self.world.pass(HOUR);
            let batch = Devices::Batch {
                binding: 1,
                sequence: sequence as u64,
                from,
                to: to_uint40(self.world.now()),
                count: 3_600,
                outOfRange: out_of_range,
                root: secret(name),
                previousHead: head,
            };
            let message = Batch {
                device,
                binding: batch.binding,
                sequence: batch.sequence,
                from: batch.from,
                to: batch.to,
                count: batch.count,
                outOfRange: batch.outOfRange,
                root: batch.root,
                previousHead: batch.previousHead,
            };
            let signature = signed("a monitor", message.eip712_signing_hash(&domain));
            let call = Devices::anchorCall { device, batch, signature };
            let anchored = self.call(name, "hospital", DEVICES, &call).await;
            head = anchored.events::<Devices::ReadingsAnchored>()[0].head;
        }
        let call = Devices::acknowledgeCall { device, sequence: 2 };
        self.call("device.acknowledge", "nurse", DEVICES, &call).await;
        let call = Devices::quarantineCall { device, reason: secret("a recall") };
        self.call("device.quarantine", "maker", DEVICES, &call).await;
        let call = Devices::liftQuarantineCall { device };
        self.call("device.lift-quarantine", "maker", DEVICES, &call).await;
        self.act("device.unbind", patient, DEVICES, &Devices::unbindCall { device }).await;

        let call = Devices::withdrawFirmwareCall { name, firmware };
        self.call("device.withdraw-firmware", "maker", DEVICES, &call).await;
        let call = Devices::recallFirmwareCall { model, firmware, reason: secret("a recall") };
        self.call("device.recall-firmware", "regulator", DEVICES, &call).await;
        let call = Devices::liftRecallCall { model, firmware };
        self.call("device.lift-recall", "regulator", DEVICES, &call).await;
        self.devices_at_once(patient, name, next).await;
    }

    /// Ten devices that a patient accepts in one signature.
    async fn devices_at_once(&mut self, patient: &Patient, name: B256, firmware: B256) {
        use Contract::Devices as DEVICES;
        let (maker, operator) = (address("maker"), address("hospital"));
        let model = keccak256((maker, name).abi_encode());
        let deadline = to_uint40(self.world.now().after(DAY));
        let domain = self.domain("Salus Devices", DEVICES);
        let sign = |signer: &str, hash: B256| PatientKey::Wallet(wallet(signer)).sign(hash);
        let mut calls = Vec::new();
        for index in 0..10 {
            let own = format!("monitor {index} of ten");
            let device = address(&own);
            let call = Registry::registerDeviceCall { member: device, model };
            self.prepare("hospital", Contract::Registry, &call).await;
            let serial = secret(&own);
            let attest = Attest { device, model, serial, deadline };
            let says = Firmware { device, operator, firmware, number: 0, deadline };
            let attestation = Devices::Attestation {
                maker,
                name,
                serial,
                firmware,
                deadline,
                makerSignature: sign("maker", attest.eip712_signing_hash(&domain)),
                deviceSignature: sign(&own, says.eip712_signing_hash(&domain)),
            };
            self.prepare("hospital", DEVICES, &Devices::enrolCall { device, attestation }).await;
            let call = Devices::offerBindingCall {
                device,
                patient: patient.account(),
                until: to_uint40(self.world.now().after(90 * DAY)),
                interval: 3_600,
            };
            self.prepare("hospital", DEVICES, &call).await;
            let accept = Devices::acceptBindingCall { device, binding: 1 };
            calls.push(Call::to_contract(self.world.at(DEVICES), &accept));
        }
        let what = (DEVICES.name(), Devices::acceptBindingCall::SIGNATURE);
        self.act_all("device.accept-bindings", patient, what, calls).await;
    }

    async fn trial(&mut self, patient: &Patient) {
        use Contract::Trials as TRIALS;
        let (salt, criteria) = (secret("a trial"), secret("the criteria"));
        let id = make_id(address("researcher"), salt);
        let commitment =
            |party: &str, seed: &str| keccak256((id, address(party), secret(seed)).abi_encode());
        let protocol = secret("the sealed protocol");
        let design =
            Trials::Design { protocol, endpoints: secret("the endpoints"), criteria, arms: 2 };
        let call = Trials::registerCall {
            salt,
            design,
            commitment: commitment("institute", "the sponsor's seed"),
        };
        self.call("trial.register", "researcher", TRIALS, &call).await;
        let call = Trials::approveCall {
            id,
            protocol,
            commitment: commitment("regulator", "the custodian's seed"),
        };
        self.call("trial.approve", "auditor", TRIALS, &call).await;
        let site = address("hospital");
        let call = Trials::inviteSiteCall { id, site };
        self.call("trial.invite-site", "researcher", TRIALS, &call).await;
        self.call("trial.join", "hospital", TRIALS, &Trials::joinTrialCall { id }).await;
        let nonce = secret("nonce");
        let commitment = keccak256(nonce);
        let consent = |version| Trials::consentCall { id, site, version, commitment };
        self.act("trial.consent", patient, TRIALS, &consent(1)).await;
        let account = patient.account();
        let call = Trials::screenCall {
            id,
            patient: account,
            eligible: true,
            criteria,
            screening: secret("the sealed screening"),
        };
        self.call("trial.screen", "physician", TRIALS, &call).await;
        let call = Trials::openNonceCall { id, nonce };
        self.act("trial.open-nonce", patient, TRIALS, &call).await;
        let call = Trials::allocateCall { id, patient: account, allocation: secret("allocation") };
        self.call("trial.allocate", "trial-pharmacist", TRIALS, &call).await;
        let enter =
            |digest: &str| Trials::enterCall { id, patient: account, digest: secret(digest) };
        self.call("trial.enter-first", "nurse", TRIALS, &enter("a visit")).await;
        self.call("trial.enter", "nurse", TRIALS, &enter("another visit")).await;
        let amended = secret("the second protocol");
        let call = Trials::proposeAmendmentCall { id, protocol: amended, criteria };
        self.call("trial.propose-amendment", "researcher", TRIALS, &call).await;
        let call = Trials::approveAmendmentCall { id, protocol: amended, criteria };
        self.call("trial.approve-amendment", "auditor", TRIALS, &call).await;
        self.act("trial.consent-again", patient, TRIALS, &consent(2)).await;
        let call = Trials::reportAdverseEventCall {
            id,
            patient: account,
            serious: true,
            awareAt: to_uint40(self.world.now()),
            digest: secret("the sealed report"),
        };
        self.call("trial.report-adverse-event", "physician", TRIALS, &call).await;
        let call = Trials::acknowledgeCall { id, number: U256::ZERO };
        self.call("trial.acknowledge", "researcher", TRIALS, &call).await;
        let call = Trials::unblindCall { id, patient: account, reason: secret("the reason") };
        self.call("trial.unblind", "physician", TRIALS, &call).await;
        let call = Trials::trialOfCall { id };
        let at = self.world.at(TRIALS);
        let held = self.world.ledger.call(at, &call, Default::default()).await.unwrap();
        let call = Trials::lockCall { id, head: held.dataHead };
        self.call("trial.lock", "researcher", TRIALS, &call).await;
        let reveal = |party: &str, seed: &str| Trials::revealCall {
            id,
            party: address(party),
            seed: secret(seed),
        };
        let call = reveal("institute", "the sponsor's seed");
        self.call("trial.reveal", "researcher", TRIALS, &call).await;
        let call = reveal("regulator", "the custodian's seed");
        self.call("trial.reveal-last", "auditor", TRIALS, &call).await;
        let call = Trials::publishCall {
            id,
            endpoints: secret("the endpoints"),
            dataHead: held.dataHead,
            results: secret("the results"),
        };
        self.call("trial.publish", "researcher", TRIALS, &call).await;
        let call = Trials::withdrawCall { id, keepData: true };
        self.act("trial.withdraw", patient, TRIALS, &call).await;

        let salt = secret("a trial that is stopped");
        let id = make_id(address("researcher"), salt);
        let design =
            Trials::Design { protocol, endpoints: secret("the endpoints"), criteria, arms: 2 };
        let commitment = keccak256((id, address("institute"), secret("a seed")).abi_encode());
        let call = Trials::registerCall { salt, design, commitment };
        self.prepare("researcher", TRIALS, &call).await;
        let call = Trials::stopCall { id, reason: secret("the reason") };
        self.call("trial.stop", "researcher", TRIALS, &call).await;
    }

    /// The hospital, a founder, gives money to the others; they pay some in.
    async fn money(&mut self, patient: &Patient) {
        use Contract::PaymentToken as TOKEN;
        let value = U256::from(1_000_000);
        for name in ["payer", "institute"] {
            let call = PaymentToken::transferCall { to: address(name), value };
            if name == "payer" {
                self.call("money.transfer", "hospital", TOKEN, &call).await;
            } else {
                self.prepare("hospital", TOKEN, &call).await;
            }
        }
        let approve = |spender| PaymentToken::approveCall { spender, value };
        let (claims, exchange) =
            (self.world.at(Contract::Claims), self.world.at(Contract::DataExchange));
        self.call("money.approve", "payer", TOKEN, &approve(claims)).await;
        self.prepare("hospital", TOKEN, &approve(claims)).await;
        self.prepare("institute", TOKEN, &approve(exchange)).await;
        let deposit = |holder: Address| Claims::depositCall { holder, amount: U256::from(500_000) };
        let call = deposit(address("payer"));
        self.call("money.deposit", "payer", Contract::Claims, &call).await;
        self.prepare("hospital", Contract::Claims, &deposit(patient.account())).await;
        let call =
            DataExchange::depositCall { holder: address("institute"), amount: U256::from(500_000) };
        self.prepare("institute", Contract::DataExchange, &call).await;
        let (holder, amount) = (address("payer"), U256::from(1_000));
        let call = Claims::withdrawCall { holder, to: holder, amount };
        self.call("money.withdraw", "payer", Contract::Claims, &call).await;
    }

    async fn claim(&mut self, patient: &Patient) {
        use Contract::{Claims as CLAIMS, Prescriptions as PRESCRIPTIONS};
        let (salt, policy) = (secret("a coverage"), secret("the sealed policy"));
        let coverage = make_id(address("payer"), salt);
        let terms = Claims::Terms {
            patient: patient.account(),
            from: to_uint40(self.world.now()),
            until: to_uint40(self.world.now().after(300 * DAY)),
            copayment: 1_000,
            limit: 1_000_000,
            policy,
        };
        let call = Claims::offerCoverageCall { salt, terms };
        self.call("claim.offer-coverage", "payer", CLAIMS, &call).await;
        let call = Claims::acceptCoverageCall { id: coverage, policy };
        self.act("claim.accept-coverage", patient, CLAIMS, &call).await;
        // It runs from the second after that on.
        self.world.pass(HOUR);
        let salt = secret("a request");
        let authorisation = make_id(address("pharmacy"), salt);
        let amount = 10_000;
        let call = Claims::requestAuthorisationCall {
            salt,
            coverage,
            amount,
            request: secret("the sealed request"),
        };
        self.call("claim.request-authorisation", "pharmacy", CLAIMS, &call).await;
        let call = Claims::decideAuthorisationCall {
            id: authorisation,
            granted: 8_000,
            until: to_uint40(self.world.now().after(30 * DAY)),
        };
        self.call("claim.decide-authorisation", ADJUDICATOR, CLAIMS, &call).await;

        let salt = secret("a prescription that is claimed");
        let service = make_id(address("physician"), salt);
        let call = Prescriptions::issueCall { salt, terms: self.terms(patient) };
        self.prepare("physician", PRESCRIPTIONS, &call).await;
        let permit = Prescriptions::permitCall { id: service, pharmacy: address("pharmacy") };
        self.prepare("physician", PRESCRIPTIONS, &permit).await;
        self.prepare_act(patient, PRESCRIPTIONS, &permit).await;
        self.prepare("pharmacist", PRESCRIPTIONS, &Prescriptions::claimCall { id: service }).await;
        let call = self.dispense(service, "what is claimed");
        self.prepare("pharmacist", PRESCRIPTIONS, &call).await;

        let submission = Claims::Submission {
            coverage,
            source: 0,
            service,
            part: U256::ONE,
            evidence: secret("what is claimed"),
            amount,
            authorisation,
            digest: secret("the sealed claim"),
        };
        let submit = |salt| Claims::submitCall { salt, submission: submission.clone() };
        let salt = secret("a claim that is taken back");
        self.prepare("pharmacy", CLAIMS, &submit(salt)).await;
        let call = Claims::withdrawClaimCall { id: make_id(address("pharmacy"), salt) };
        self.call("claim.withdraw", "pharmacy", CLAIMS, &call).await;
        let salt = secret("a claim");
        let id = make_id(address("pharmacy"), salt);
        self.call("claim.submit", "pharmacy", CLAIMS, &submit(salt)).await;
        let decision = |approved, flags| Claims::Decision {
            approved,
            flags,
            rules: secret("the rules"),
            explanation: secret("the sealed explanation"),
        };
        let call = Claims::adjudicateCall { id, decision: decision(8_000, 8) };
        self.call("claim.adjudicate", ADJUDICATOR, CLAIMS, &call).await;
        self.call("claim.pay", "pharmacy", CLAIMS, &Claims::payCall { id }).await;
        let call = Claims::payCopaymentCall { id };
        self.act("claim.pay-copayment", patient, CLAIMS, &call).await;
        let call = Claims::appealCall { id, reason: secret("the reason") };
        self.call("claim.appeal", "pharmacy", CLAIMS, &call).await;
        let call = Claims::decideAppealCall { id, decision: decision(amount, 0) };
        self.call("claim.decide-appeal", "second adjudicator", CLAIMS, &call).await;
        let call = Claims::refundCall { id, toInsurer: 100, toPatient: 10 };
        self.call("claim.refund", "pharmacy", CLAIMS, &call).await;
        let call = Claims::contestCall { id, reason: secret("the reason") };
        self.act("claim.contest", patient, CLAIMS, &call).await;
        let call = Claims::endCoverageCall { id: coverage };
        self.act("claim.end-coverage", patient, CLAIMS, &call).await;
        // What no workflow does by itself, and anybody with a token can.
        let (spender, value) = (address("pharmacy"), U256::from(1_000));
        let call = PaymentToken::approveCall { spender, value };
        self.prepare("payer", Contract::PaymentToken, &call).await;
        let call = PaymentToken::transferFromCall { from: address("payer"), to: spender, value };
        self.call("money.transfer-from", "pharmacy", Contract::PaymentToken, &call).await;
    }

    async fn research(&mut self, patient: &Patient) {
        use Contract::DataExchange as EXCHANGE;
        let (salt, protocol) = (secret("an offer"), secret("the protocol of a study"));
        let offer = make_id(address("hospital"), salt);
        let call = DataExchange::offerCall {
            salt,
            price: 10_000,
            patientShare: 4_000,
            dataset: secret("a data set"),
            terms: secret("the terms"),
        };
        self.call("research.offer", "hospital", EXCHANGE, &call).await;
        let salt = secret("a study");
        let study = make_id(address("researcher"), salt);
        let call = DataExchange::proposeStudyCall {
            salt,
            until: to_uint40(self.world.now().after(300 * DAY)),
            protocol,
        };
        self.call("research.propose-study", "researcher", EXCHANGE, &call).await;
        let call =
            DataExchange::approveStudyCall { id: study, protocol, opinion: secret("an opinion") };
        self.call("research.approve-study", "hospital-officer", EXCHANGE, &call).await;
        self.call("research.approve-study-last", "auditor", EXCHANGE, &call).await;
        let consent = DataExchange::consentCall { study, protocol };
        self.act("research.consent", patient, EXCHANGE, &consent).await;
        let call = DataExchange::withdrawConsentCall { study };
        self.act("research.withdraw-consent", patient, EXCHANGE, &call).await;
        self.act("research.consent-again", patient, EXCHANGE, &consent).await;
        let query = secret("a query");
        let call = DataExchange::answerCall { study, query, count: 25, leastDifference: 5 };
        self.call("research.answer", "hospital", EXCHANGE, &call).await;

        let salt = secret("an order of data");
        let id = make_id(address("institute"), salt);
        let call = DataExchange::orderCall { salt, study, offer_: offer, query };
        self.call("research.order", "institute", EXCHANGE, &call).await;
        // A tree of one leaf: the proof of a larger one costs a hash more for each level.
        let leaf_salt = secret("the salt of a leaf");
        let leaf = keccak256(keccak256((id, patient.account(), leaf_salt).abi_encode()));
        let call = DataExchange::deliverCall {
            id,
            extract: secret("a sealed extract"),
            patients: leaf,
            count: 25,
            withdrawals: 1,
        };
        self.call("research.deliver", "hospital", EXCHANGE, &call).await;
        let call = DataExchange::recordUseCall { id, receipt: secret("a receipt"), withdrawals: 1 };
        self.call("research.record-use", "researcher", EXCHANGE, &call).await;
        let call = DataExchange::settleCall { id };
        self.call("research.settle", "institute", EXCHANGE, &call).await;
        let call = DataExchange::claimShareCall { id, salt: leaf_salt, proof: Vec::new() };
        self.act("research.claim-share", patient, EXCHANGE, &call).await;
        self.research_in_dispute(study, offer).await;
        let call = DataExchange::endStudyCall { id: study, reason: secret("it is done") };
        self.call("research.end-study", "researcher", EXCHANGE, &call).await;
    }

    /// Orders that do not go well, and the end of the offer. One is left for [`Meter::late_research`].
    async fn research_in_dispute(&mut self, study: B256, offer: B256) {
        use Contract::DataExchange as EXCHANGE;
        let (stranger, leaf_salt) = (address("anybody"), secret("the salt of a stranger's leaf"));
        for name in ["disputed", "disputed in vain", "challenged", NOT_DELIVERED] {
            let salt = secret(name);
            let id = make_id(address("institute"), salt);
            let call =
                DataExchange::orderCall { salt, study, offer_: offer, query: secret("a query") };
            self.prepare("institute", EXCHANGE, &call).await;
            if name == NOT_DELIVERED {
                continue;
            }
            let leaf = keccak256(keccak256((id, stranger, leaf_salt).abi_encode()));
            let call = DataExchange::deliverCall {
                id,
                extract: secret(&format!("an extract that is {name}")),
                patients: leaf,
                count: 25,
                withdrawals: 1,
            };
            self.prepare("hospital", EXCHANGE, &call).await;
            let dispute = DataExchange::disputeCall { id, reason: secret("the reason") };
            let resolve = |refund| DataExchange::resolveCall { id, refund };
            match name {
                "disputed" => {
                    self.call("research.dispute", "institute", EXCHANGE, &dispute).await;
                    self.call("research.resolve", "auditor", EXCHANGE, &resolve(true)).await;
                }
                "disputed in vain" => {
                    self.prepare("institute", EXCHANGE, &dispute).await;
                    let name = "research.resolve-for-source";
                    self.call(name, "auditor", EXCHANGE, &resolve(false)).await;
                }
                _ => {
                    let (patient, salt) = (stranger, leaf_salt);
                    let proof = Vec::new();
                    let call = DataExchange::challengeCall { id, patient, salt, proof };
                    self.call("research.challenge", "hospital", EXCHANGE, &call).await;
                }
            }
        }
        let call = DataExchange::closeOfferCall { id: offer };
        self.call("research.close-offer", "hospital", EXCHANGE, &call).await;
    }

    /// What of research takes more than a year; nobody is accredited any more then.
    pub(super) async fn late_research(&mut self) {
        use Contract::DataExchange as EXCHANGE;
        self.world.pass(366 * DAY);
        let order = |name| make_id(address("institute"), secret(name));
        let call = DataExchange::reclaimCall { id: order(NOT_DELIVERED) };
        self.call("research.reclaim", "institute", EXCHANGE, &call).await;
        let call = DataExchange::returnSharesCall { id: order("disputed in vain") };
        self.call("research.return-shares", "institute", EXCHANGE, &call).await;
    }

    /// Last, because time passes.
    async fn later_results(&mut self, patient: &Patient) {
        use Contract::LabOrders as ORDERS;
        let salt = secret("an order with versions");
        let id = make_id(address("physician"), salt);
        let call = LabOrders::orderCall {
            salt,
            patient: patient.account(),
            laboratory: address("laboratory"),
            digest: secret("the sealed order"),
        };
        self.prepare("physician", ORDERS, &call).await;
        let call = LabOrders::collectCall { id, specimen: secret("a specimen") };
        self.prepare("nurse", ORDERS, &call).await;
        let call = LabOrders::takeOverCall {
            id,
            handOver: secret("a hand-over"),
            previousHead: B256::ZERO,
        };
        self.call("lab.take-over", "scientist", ORDERS, &call).await;
        let digest = secret("a sealed result");
        let call = LabOrders::reportPreliminaryCall { id, digest, critical: true };
        self.call("lab.report-preliminary", "scientist", ORDERS, &call).await;
        self.world.pass(HOUR);
        let call = LabOrders::escalateCall { id };
        self.call("lab.escalate", "scientist", ORDERS, &call).await;
        let call = LabOrders::reportCall { id, digest, critical: true };
        self.prepare("scientist", ORDERS, &call).await;
        let call = LabOrders::correctCall { id, digest: secret("corrected"), critical: false };
        self.call("lab.correct", "scientist", ORDERS, &call).await;
    }
}
