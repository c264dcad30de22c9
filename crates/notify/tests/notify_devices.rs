//! Who is told what of a device: its patient, who cares for them, its operator and its maker.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{future::ready, time::Duration};

use alloy_primitives::{Address, B256, U256, keccak256};
use bindings::{
    Contract, Devices, Registry,
    convert::to_uint40,
    device::{Attest, DeviceDomain, Firmware, head_after, model_of},
};
use common::{CHAIN_ID, Place, World, address, wallet};
use domain::InstitutionRole;
use futures_util::future::BoxFuture;
use ledger::PatientKey;
use notify::{Audience, Outbox};
use vault::StoreError;

/// Everybody is served, and the physician cares for everybody.
struct WithCareTeam;

impl Audience for WithCareTeam {
    fn learn(&self, _: u64) -> BoxFuture<'_, bool> {
        Box::pin(ready(true))
    }

    fn serves(&self, _: Address) -> bool {
        true
    }

    fn care_team(&self, _: Address) -> BoxFuture<'_, Result<Vec<Address>, StoreError>> {
        Box::pin(ready(Ok(vec![address("physician")])))
    }
}

/// Admits a maker and a regulator.
async fn widen(world: &World) {
    for (name, role) in
        [("maker", InstitutionRole::DeviceMaker), ("regulator", InstitutionRole::Regulator)]
    {
        let ether = U256::from(10).pow(U256::from(18));
        world.sender("hospital").transfer(address(name), ether).await.unwrap();
        let call = Registry::proposeAdmissionCall { account: address(name), role: role.number() };
        let proposed = world.send("hospital", Contract::Registry, &call).await;
        let vote = Registry::voteCall { id: proposed.events::<Registry::Proposed>()[0].id };
        for voter in ["laboratory", "pharmacy", "emergency", "insurer"] {
            // Whoever comes after the majority is refused.
            let _ = world.sender(voter).send(world.at(Contract::Registry), &vote).await;
        }
    }
}

/// What was told after a sequence number: topic, and to whom.
async fn told(outbox: &Outbox, after: u64) -> Vec<String> {
    let names = || common::names().chain(["maker", "regulator"]);
    let mut all = Vec::new();
    for name in names() {
        let page = outbox.inbox(address(name), None, 100).await.unwrap();
        all.extend(page.iter().map(|entry| (entry.notification, name)));
    }
    all.retain(|(told, _)| told.sequence > after);
    all.sort_by_key(|(told, _)| told.sequence);
    all.iter().map(|(told, name)| format!("{} {name}", told.topic)).collect()
}

fn sign(name: &str, digest: B256) -> alloy_primitives::Bytes {
    PatientKey::Wallet(wallet(name)).sign(digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_reach_the_patient_and_who_cares_for_them() {
    use Contract::Devices as DEVICES;
    let place = Place::sqlite();
    let world = World::found(&place.chain()).await;
    widen(&world).await;
    world.relate("hospital", "pat", false).await;
    world.relate("hospital", "quinn", false).await;
    let outbox = Outbox::open(&place.database().await).await.unwrap();
    let follow = async || {
        outbox.follow(&world.ledger, &world.deployment, &WithCareTeam, world.now()).await.unwrap();
    };
    follow().await;
    let mut last = outbox.last_sequence().await.unwrap();
    let mut check = async |expected: &[&str]| {
        follow().await;
        assert_eq!(told(&outbox, last).await, expected);
        last = outbox.last_sequence().await.unwrap();
    };

    let domain = DeviceDomain::new(CHAIN_ID, world.at(DEVICES));
    let (device, maker, operator) = (address("a monitor"), address("maker"), address("hospital"));
    let (name, firmware) = (keccak256("a model"), keccak256("firmware 1"));
    let (model, serial) = (model_of(maker, name), keccak256("a serial number"));
    let deadline = to_uint40(world.now().after(Duration::from_secs(600)));
    world.send("maker", DEVICES, &Devices::acceptFirmwareCall { name, firmware }).await;
    let call = Registry::registerDeviceCall { member: device, model };
    world.send("hospital", Contract::Registry, &call).await;
    let attest = Attest { device, model, serial, deadline };
    let says = Firmware { device, operator, firmware, number: 0, deadline };
    let attestation = Devices::Attestation {
        maker,
        name,
        serial,
        firmware,
        deadline,
        makerSignature: sign("maker", domain.attest_digest(&attest)),
        deviceSignature: sign("a monitor", domain.firmware_digest(&says)),
    };
    world.send("hospital", DEVICES, &Devices::enrolCall { device, attestation }).await;
    check(&[]).await;

    let until = |seconds| to_uint40(world.now().after(Duration::from_secs(seconds)));
    let offer = |patient: &str, seconds| Devices::offerBindingCall {
        device,
        patient: address(patient),
        until: until(seconds),
        interval: 60,
    };
    let accept = |binding| Devices::acceptBindingCall { device, binding };
    world.send("hospital", DEVICES, &offer("pat", 3_600)).await;
    world.send("pat", DEVICES, &accept(1)).await;
    check(&["device-offered pat", "device-bound hospital"]).await;
    // It does not say a word: that is told once, and not in the last second in which it may be silent.
    world.advance(Duration::from_secs(60));
    check(&[]).await;
    world.advance(Duration::from_secs(1));
    let silent = ["device-silent pat", "device-silent physician", "device-silent hospital"];
    check(&silent).await;
    world.advance(Duration::from_secs(1));
    check(&[]).await;

    // Out of range, and after a gap.
    let from = to_uint40(world.now().after(Duration::from_secs(120)));
    world.advance(Duration::from_secs(180));
    let batch = Devices::Batch {
        binding: 1,
        sequence: 0,
        from,
        to: to_uint40(world.now()),
        count: 60,
        outOfRange: 2,
        root: keccak256("a root"),
        previousHead: B256::ZERO,
    };
    let signature = sign("a monitor", domain.batch_digest(device, &batch));
    let anchor = Devices::anchorCall { device, batch: batch.clone(), signature };
    let anchored = world.send("hospital", DEVICES, &anchor).await;
    let head = anchored.events::<Devices::ReadingsAnchored>()[0].head;
    assert_eq!(head, head_after(&batch), "Rust and the contract continue the same chain");
    check(&[
        "device-gap pat",
        "device-gap physician",
        "device-gap hospital",
        "device-alert pat",
        "device-alert physician",
        "device-alert hospital",
    ])
    .await;

    // Silent again after that, once.
    world.advance(Duration::from_secs(61));
    check(&silent).await;

    // The binding ends by its time, and the device comes to somebody else: who is told of what was is who it
    // was about.
    world.advance(Duration::from_secs(3_600));
    world.send("hospital", DEVICES, &offer("quinn", 3_600)).await;
    world.send("quinn", DEVICES, &accept(2)).await;
    world.send("nurse", DEVICES, &Devices::acknowledgeCall { device, sequence: 0 }).await;
    check(&["device-offered quinn", "device-bound hospital", "device-alert-seen pat"]).await;
    let reason = keccak256("a reason");
    world.send("maker", DEVICES, &Devices::quarantineCall { device, reason }).await;
    world.send("maker", DEVICES, &Devices::liftQuarantineCall { device }).await;
    let call = Devices::recallFirmwareCall { model, firmware, reason };
    world.send("regulator", DEVICES, &call).await;
    world.send("regulator", DEVICES, &Devices::liftRecallCall { model, firmware }).await;
    world.send("maker", DEVICES, &Devices::withdrawFirmwareCall { name, firmware }).await;
    world.send("quinn", DEVICES, &Devices::unbindCall { device }).await;
    check(&[
        "device-quarantined quinn",
        "device-quarantined hospital",
        "device-quarantine-lifted quinn",
        "device-quarantine-lifted hospital",
        "firmware-stopped hospital",
        "firmware-recall-lifted hospital",
        "firmware-stopped hospital",
        "device-unbound hospital",
    ])
    .await;
}
