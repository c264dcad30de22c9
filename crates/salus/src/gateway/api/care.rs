//! Care teams: who cares for a patient at this institution, and so reads and writes here without asking.
//!
//! The institution's own systems and its privacy officers appoint and remove; those who care, and the
//! patient, see the team. It counts while the patient's relationship with the institution is active, which is
//! what `in_force` says: afterwards nobody of it is let in any more, not even to this list.

use alloy_primitives::Address;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use domain::{Reader, RelationshipState};
use fhir::{Caller, Interaction, reader_at};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Api, Problem,
    acts::{Act, Subject},
    answer, done, json, query, require_about,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Team {
    patient: Address,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    patient: Address,
    member: Address,
}

/// `GET /api/care-team?patient=`.
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, _) = api.caller(&headers, "CareTeam", Interaction::Read).await?;
    let Team { patient } = query(&uri)?;
    require_about(&caller, Some(patient))?;
    let gatekeeper = &api.0.gateway.gatekeeper;
    let is_known = api.knows(patient).await;
    let may = match caller.reader {
        Reader::Patient { account } => account == patient,
        Reader::Professional { member, .. } if !api.is_officer(&caller.reader) => {
            api.is_own(&caller.reader) && gatekeeper.cares_for(patient, member).await
        }
        _ => api.is_institution(&caller.reader) || api.is_officer(&caller.reader),
    };
    if !may {
        return Err(Problem::forbidden("the care team is for those in it, and who appoints it"));
    }
    if !is_known {
        return Err(Problem::not_found("this institution has no such patient"));
    }
    let members = gatekeeper.care_team(patient).await?;
    let projection = gatekeeper.projection().await;
    let held = projection.consents.relationship(patient, api.member());
    let in_force = held.and_then(|held| held.state) == Some(RelationshipState::Active);
    let members: Vec<Value> = members
        .into_iter()
        .map(|(member, since)| {
            let known = projection.registry.professional(&member);
            json!({
                "member": member.to_string(),
                "role": known.map(|known| known.role.name()),
                "since": since.to_string(),
            })
        })
        .collect();
    let patient = patient.to_string();
    let body = json!({ "patient": patient, "in_force": in_force, "members": members });
    Ok(answer(StatusCode::OK, &body))
}

/// `PUT /api/care-team`: somebody begins to care for a patient. Doing it again is no error.
pub(super) async fn join(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let (caller, _) = api.caller(&headers, "CareTeam", Interaction::Update).await?;
    let place: Place = json(&headers, body).await?;
    api.require_appointing(&caller, place.patient)?;
    let gatekeeper = &api.0.gateway.gatekeeper;
    let now = api.now();
    {
        let projection = gatekeeper.projection().await;
        let held = projection.consents.relationship(place.patient, api.member());
        if held.and_then(|held| held.state) != Some(RelationshipState::Active) {
            let text = "the patient has no active relationship with this institution";
            return Err(Problem::unprocessable(text));
        }
        let found = reader_at(&projection, api.member(), place.member, now);
        let is_own = found.is_some_and(|found| {
            matches!(found, Reader::Professional { .. }) && api.is_own(&found)
        });
        if !is_own {
            let text = "only a professional who acts for this institution now cares for patients";
            return Err(Problem::unprocessable(text));
        }
    }
    api.note_care(&caller, place, "care-join").await?;
    gatekeeper.join_care_team(place.patient, place.member, now).await?;
    Ok(done())
}

/// `DELETE /api/care-team?patient=&member=`. Removing whoever is not there is no error.
pub(super) async fn leave(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, _) = api.caller(&headers, "CareTeam", Interaction::Delete).await?;
    let place: Place = query(&uri)?;
    api.require_appointing(&caller, place.patient)?;
    api.note_care(&caller, place, "care-leave").await?;
    api.0.gateway.gatekeeper.leave_care_team(place.patient, place.member).await?;
    Ok(done())
}

impl Api {
    fn require_appointing(&self, caller: &Caller, patient: Address) -> Result<(), Problem> {
        require_about(caller, Some(patient))?;
        if self.is_institution(&caller.reader) || self.is_officer(&caller.reader) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "the institution's own systems and its privacy officers appoint care teams",
        ))
    }

    /// Written down before it is done: a change that nobody can be asked about must not be.
    async fn note_care(
        &self,
        caller: &Caller,
        place: Place,
        name: &'static str,
    ) -> Result<(), Problem> {
        let act = Act {
            name,
            actor: caller.reader.address(),
            purpose: caller.purpose,
            patient: Some(place.patient),
            subject: Subject::Member(place.member),
            outcome: "done",
        };
        Ok(self.0.acts.note(act, self.now()).await?)
    }
}
