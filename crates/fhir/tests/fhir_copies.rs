//! Copies of another steward's records: they stay the resources that they were when they first came.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use bindings::{Contract, Registry};
use common::{Fhir, Only, consortium::address};
use domain::{Anchor, B256, Kind, RecordId, RecordVersion};
use exchange::Holder as _;
use fhir::Interaction;
use gatekeeper::Holding;
use serde_json::{Value, json};
use vault::{Content, Identity, NewRecord, OnConflict};
use workflows::{
    PatientActor, consent,
    record::{self, Verdict},
};

/// A hospital that holds copies of what the emergency department keeps of Anna.
struct Setting {
    fhir: Fhir,
    anna: PatientActor,
}

impl Setting {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let (anna, _) = fhir.patient("anna").await;
        let world = &fhir.world;
        world.relate("emergency", &anna, false).await;
        let (hospital, emergency) = (world.gateway("hospital"), world.gateway("emergency"));
        let call = Registry::setProfileCall {
            hpkeKey: hospital.secret.public_key().to_bytes().into(),
            endpoint: String::new(),
            peerId: B256::ZERO,
        };
        world.sender("hospital").send(world.at(Contract::Registry), &call).await.unwrap();
        hospital.gatekeeper.open_copies_with(hospital.secret.clone());
        let (terms, now) = (world.terms(&[Kind::Laboratory]), world.now());
        consent::grant(emergency, &anna, hospital.member(), None, &terms, now).await.unwrap();
        Self { fhir, anna }
    }

    /// The department anchors a version, which Anna accepts; without a body it says that the resource was
    /// deleted. A copy arrives at the hospital; returns with it whether that made something findable.
    async fn arrive(&self, previous: Option<&Anchor>, body: Option<&Value>) -> (Anchor, bool) {
        let world = &self.fhir.world;
        let (hospital, emergency) = (world.gateway("hospital"), world.gateway("emergency"));
        let version = previous.map_or(1, |previous| previous.version.get() + 1);
        let new = NewRecord {
            record: RecordId(B256::repeat_byte(7)),
            version: RecordVersion::try_from(version).unwrap(),
            patient: self.anna.account(),
            kind: Kind::Laboratory,
            content: if body.is_some() { Content::FhirJson } else { Content::Other },
            author: address("consultant"),
            created: world.now(),
            body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        };
        let (anchor, _) = emergency.gatekeeper.put_and_propose(new, previous).await.unwrap();
        let answered =
            record::answer(emergency, &self.anna, &anchor, Verdict::Accept, world.now()).await;
        answered.unwrap();

        let now = world.now();
        let holding = Holding::new(emergency.gatekeeper.clone(), Arc::new(move || now));
        let offers = holding.offers(hospital.member(), None, 100).await.unwrap();
        let copy = offers.copies.into_iter().find(|copy| copy.entry.digest == anchor.digest);
        let sealed = emergency.gatekeeper.vault().sealed_bytes(anchor.digest).await;
        let identity = Identity { address: hospital.member(), secret: hospital.secret.clone() };
        let (copy, sealed, vault) =
            (copy.unwrap(), sealed.unwrap().unwrap(), hospital.gatekeeper.vault());
        vault.import(copy, sealed, Some(&identity), OnConflict::Refuse).await.unwrap();
        let indexed = self.fhir.resources.index_copies(&[anchor.digest]).await.unwrap();
        (anchor, indexed == 1)
    }
}

/// What a token lets somebody read goes by type and id, and a steward must not get behind that (S2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_another_resource_is_left_out() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    fhir.admit_only(
        "reader",
        "physician",
        Only(&[("Observation", Interaction::Read), ("Observation", Interaction::Search)]),
    );
    let prefix = hex::encode(&address("emergency")[..8]);
    let path = format!("/Observation/copy.{prefix}.1");
    let result = |value: f64| {
        let mut result = common::observation("theirs", "2345-7", value);
        result["id"] = "1".into();
        result
    };
    let other = |id: &str| {
        json!({
            "resourceType": "Condition",
            "id": id,
            "subject": { "reference": "Patient/theirs" },
            "code": { "text": "Planted" },
        })
    };
    let (first, is_indexed) = setting.arrive(None, Some(&result(5.5))).await;
    assert!(is_indexed);
    assert!(fhir.get("reader", &path).await.expect(200).text.contains("5.5"));
    let searched = "/Observation?code=2345-7".to_owned();
    assert_eq!(fhir.get("reader", &searched).await.expect(200).json()["total"], 1);

    let mut previous = first;
    for planted in [
        other("1"),
        json!({ "resourceType": "Observation", "id": "2", "note": [{ "text": "Planted" }] }),
    ] {
        let (anchor, is_indexed) = setting.arrive(Some(&previous), Some(&planted)).await;
        assert!(!is_indexed);
        previous = anchor;
        fhir.get("reader", &path).await.expect(410);
        for path in [
            format!("{path}/_history/{}", anchor.version),
            format!("{path}/_history"),
            "/Observation/_history".into(),
            searched.clone(),
        ] {
            let answer = fhir.get("reader", &path).await;
            assert!(answer.status != 500 && !answer.text.contains("Planted"), "{}", answer.text);
        }
        assert_eq!(fhir.get("reader", &searched).await.expect(200).json()["total"], 0);
        fhir.get("physician", &format!("/Condition/copy.{prefix}.1")).await.expect(404);
    }
    // What is that resource again is found again, and so is that it was deleted.
    let (anchor, is_indexed) = setting.arrive(Some(&previous), Some(&result(6.5))).await;
    assert!(is_indexed);
    assert!(fhir.get("reader", &path).await.expect(200).text.contains("6.5"));
    assert_eq!(fhir.get("reader", &searched).await.expect(200).json()["total"], 1);
    let (_, is_indexed) = setting.arrive(Some(&anchor), None).await;
    assert!(is_indexed);
    fhir.get("reader", &path).await.expect(410);
    assert_eq!(fhir.get("reader", &searched).await.expect(200).json()["total"], 0);
}
