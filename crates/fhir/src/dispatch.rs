//! Every interaction of the interface: one table that the router, bundles and the CapabilityStatement
//! share.

use axum::http::{Method, StatusCode};

use crate::{
    bulk, bundle,
    caller::{Caller, Interaction},
    capability, derived, history, instant,
    json::RawObject,
    outcome::{FhirError, outcome},
    parameters, patch, posting,
    request::{Reply, Request, version_of_tag},
    resources::{Known, Resources, Stored, issues_of},
    searching, subscriptions,
    version::VersionId,
};

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Capabilities,
    Bundle,
    Validate,
    Everything,
    ToSign,
    Sign,
    Export,
    Import,
    BulkStatus,
    BulkFile,
    BulkDelete,
    SearchByPost,
    Search,
    Create,
    ConditionalUpdate,
    ConditionalDelete,
    Read,
    Update,
    Patch,
    Delete,
    History,
    TypeHistory,
    VersionRead,
    /// Everything about subscriptions, which are not records and have rules of their own.
    Subscription,
}

/// A segment of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// These very letters.
    Named(&'static str),
    /// A resource type that is served.
    Type,
    /// An id.
    Id,
    /// A version.
    Version,
}

use Segment::{Id, Named, Type, Version};

/// Method, path, what it does, and the name of that in a CapabilityStatement, where it has one.
pub(crate) type Route = (Method, &'static [Segment], Action, Option<&'static str>);

/// All there is. The first route that fits counts.
pub(crate) const ROUTES: &[Route] = &[
    (Method::GET, &[Named("metadata")], Action::Capabilities, None),
    (Method::POST, &[], Action::Bundle, None),
    (Method::GET, &[Named("Subscription")], Action::Subscription, None),
    (Method::POST, &[Named("Subscription")], Action::Subscription, None),
    (Method::GET, &[Named("Subscription"), Named("$status")], Action::Subscription, None),
    (Method::GET, &[Named("Subscription"), Id], Action::Subscription, None),
    (Method::PUT, &[Named("Subscription"), Id], Action::Subscription, None),
    (Method::DELETE, &[Named("Subscription"), Id], Action::Subscription, None),
    (Method::GET, &[Named("Subscription"), Id, Named("$status")], Action::Subscription, None),
    (Method::GET, &[Named("Subscription"), Id, Named("$events")], Action::Subscription, None),
    (Method::POST, &[Named("Subscription"), Named("$status")], Action::Subscription, None),
    (Method::POST, &[Named("Subscription"), Id, Named("$status")], Action::Subscription, None),
    (Method::POST, &[Named("Subscription"), Id, Named("$events")], Action::Subscription, None),
    (Method::POST, &[Type, Named("$validate")], Action::Validate, None),
    (Method::POST, &[Type, Id, Named("$validate")], Action::Validate, None),
    (Method::GET, &[Named("Patient"), Id, Named("$everything")], Action::Everything, None),
    (Method::GET, &[Named("$export")], Action::Export, None),
    (Method::POST, &[Named("$export")], Action::Export, None),
    (Method::GET, &[Named("Patient"), Named("$export")], Action::Export, None),
    (Method::POST, &[Named("Patient"), Named("$export")], Action::Export, None),
    (Method::GET, &[Named("Group"), Id, Named("$export")], Action::Export, None),
    (Method::POST, &[Named("Group"), Id, Named("$export")], Action::Export, None),
    (Method::POST, &[Named("$import")], Action::Import, None),
    (Method::GET, &[Named("$bulk"), Id], Action::BulkStatus, None),
    (Method::DELETE, &[Named("$bulk"), Id], Action::BulkDelete, None),
    (Method::GET, &[Named("$bulk"), Id, Id], Action::BulkFile, None),
    (Method::GET, &[Named("Consent"), Id, Named("$sign")], Action::ToSign, None),
    (Method::POST, &[Named("Consent"), Id, Named("$sign")], Action::Sign, None),
    (Method::POST, &[Type, Named("_search")], Action::SearchByPost, None),
    (Method::GET, &[Type], Action::Search, Some("search-type")),
    (Method::POST, &[Type], Action::Create, Some("create")),
    (Method::PUT, &[Type], Action::ConditionalUpdate, None),
    (Method::DELETE, &[Type], Action::ConditionalDelete, None),
    (Method::GET, &[Type, Named("_history")], Action::TypeHistory, Some("history-type")),
    (Method::GET, &[Type, Id], Action::Read, Some("read")),
    (Method::PUT, &[Type, Id], Action::Update, Some("update")),
    (Method::PATCH, &[Type, Id], Action::Patch, Some("patch")),
    (Method::DELETE, &[Type, Id], Action::Delete, Some("delete")),
    (Method::GET, &[Type, Id, Named("_history")], Action::History, Some("history-instance")),
    (Method::GET, &[Type, Id, Named("_history"), Version], Action::VersionRead, Some("vread")),
];

/// The resource types that are served.
pub(crate) const TYPES: &[&str] = &[
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AuditEvent",
    "Binary",
    "CarePlan",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "Communication",
    "Condition",
    "Consent",
    "Coverage",
    "DetectedIssue",
    "Device",
    "DeviceMetric",
    "DeviceRequest",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "ExplanationOfBenefit",
    "Group",
    "Immunization",
    "Location",
    "Medication",
    "MedicationDispense",
    "MedicationRequest",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "QuestionnaireResponse",
    "ResearchStudy",
    "ResearchSubject",
    "ServiceRequest",
    "Specimen",
    "Task",
];

/// What a request means, or why it means nothing.
pub(crate) fn action_of(method: &Method, path: &[String]) -> Result<Action, FhirError> {
    // Whoever only wants the headers of a read.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let fits = |segment: &Segment, text: &String| match segment {
        Named(name) => text == name,
        Type => TYPES.contains(&text.as_str()),
        Id => r4::is_id(text),
        Version => r4::is_id(text),
    };
    let on_path: Vec<&Route> = ROUTES
        .iter()
        .filter(|(_, segments, ..)| {
            segments.len() == path.len() && segments.iter().zip(path).all(|(s, t)| fits(s, t))
        })
        .collect();
    let may = derived::may_be_written(path.first().map_or("", String::as_str), method, path);
    if let Some((_, _, action, _)) = on_path.iter().find(|(allowed, ..)| allowed == method && may) {
        return Ok(*action);
    }
    if !on_path.is_empty() {
        let text = "this can not be done here; see /metadata";
        return Err(FhirError::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", text));
    }
    let text = match path.first() {
        Some(first) if r4::is_resource_type(first) && !TYPES.contains(&first.as_str()) => {
            "this type of resource is not served; see /metadata"
        }
        _ => "there is nothing at this path; see /metadata",
    };
    Err(FhirError::new(StatusCode::NOT_FOUND, "not-found", text))
}

impl Resources {
    /// Does what a request asks.
    pub(crate) async fn handle(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Reply, FhirError> {
        let action = action_of(&request.method, &request.path)?;
        let request = parameters::in_query(action, request)?;
        self.keep_up_or_warn().await?;
        if let Some(reply) = derived::handle(self, caller, action, &request).await? {
            return Ok(reply);
        }
        let segment = |index: usize| request.path.get(index).map_or("", String::as_str);
        let (resource_type, id) = (segment(0), segment(1));
        match action {
            // They are about what is made, and answered there.
            Action::ToSign | Action::Sign => Err(FhirError::not_found()),
            Action::Export => bulk::export(self, caller, &request).await,
            Action::Import => bulk::import(self, caller, &request).await,
            Action::BulkStatus => bulk::status(self, caller, id).await,
            Action::BulkDelete => bulk::delete(self, caller, id).await,
            Action::BulkFile => bulk::download(self, caller, id, segment(2)).await,
            Action::Capabilities => Ok(Reply::json(&capability::statement(self))),
            Action::Bundle => bundle::handle(self, caller, &request).await,
            Action::Validate => {
                caller.require(resource_type, Interaction::Create)?;
                self.validate(resource_type, &request)
            }
            Action::Everything => searching::everything(self, caller, &request, id).await,
            Action::Search => {
                searching::search(self, caller, resource_type, &request, request.query.clone())
                    .await
            }
            Action::SearchByPost => {
                let form = std::str::from_utf8(&request.body)
                    .map_err(|_| FhirError::bad_request("the form is not UTF-8"))?;
                let mut pairs = request.query.clone();
                pairs.extend(crate::request::pairs(form)?);
                searching::search(self, caller, resource_type, &request, pairs).await
            }
            Action::Create => self.create(caller, resource_type, &request).await,
            Action::ConditionalUpdate => {
                self.conditional_update(caller, resource_type, &request).await
            }
            Action::ConditionalDelete => {
                self.conditional_delete(caller, resource_type, &request).await
            }
            Action::Read => {
                let resource = self.read(caller, resource_type, id, None).await?;
                Ok(unless_known(Reply::read(&resource), &request))
            }
            Action::VersionRead => {
                let version = version_in_path(segment(3))?;
                let resource = self.read(caller, resource_type, id, Some(version)).await?;
                Ok(unless_known(Reply::read(&resource), &request))
            }
            Action::History => {
                history::of_resource(self, caller, &request, (resource_type, id)).await
            }
            Action::TypeHistory => history::of_type(self, caller, &request, resource_type).await,
            Action::Update => {
                let body = body_of(&request)?;
                self.update(caller, resource_type, id, body, &request).await
            }
            Action::Subscription => subscriptions::handle(self, caller, &request).await,
            Action::Patch => self.patch(caller, resource_type, id, &request).await,
            Action::Delete => {
                self.require_own(caller)?;
                if request.conditions.if_match.is_some() {
                    let row = self.row(resource_type, id).await?;
                    let row = row.ok_or_else(FhirError::not_found)?;
                    request
                        .conditions
                        .require(self.before(&row).await?.newest.map(VersionId::from))?;
                }
                let version = self.delete(caller, resource_type, id).await?;
                Ok(Reply { version: Some(version.into()), ..Reply::of(StatusCode::NO_CONTENT) })
            }
        }
    }

    async fn create(
        &self,
        caller: &Caller,
        resource_type: &str,
        request: &Request,
    ) -> Result<Reply, FhirError> {
        caller.require(resource_type, Interaction::Create)?;
        let mut _alone = None;
        if let Some(query) = &request.conditions.if_none_exist {
            _alone = Some(self.inner.conditional.lock().await);
            let pairs = crate::request::pairs(query)?;
            let found = searching::matching(self, caller, resource_type, &pairs).await?;
            match found.as_slice() {
                [] => {}
                [id] => {
                    let there = self.read(caller, resource_type, id, None).await?;
                    return Ok(Reply::written(StatusCode::OK, &there, request.returning));
                }
                _ => return Err(FhirError::precondition("several resources match already")),
            }
        }
        let body = body_of(request)?;
        let checked = self.check(caller, resource_type, None, body, &Known::default()).await?;
        let stored = posting::store(self, caller, checked, request).await?;
        Ok(stored_reply(&stored, StatusCode::CREATED, request))
    }

    pub(crate) async fn update(
        &self,
        caller: &Caller,
        resource_type: &str,
        id: &str,
        body: RawObject,
        request: &Request,
    ) -> Result<Reply, FhirError> {
        caller.require(resource_type, Interaction::Update)?;
        let checked = self.check(caller, resource_type, Some(id), body, &Known::default()).await?;
        let is_new = checked.row.version == 1;
        if is_new {
            caller.require(resource_type, Interaction::Create)?;
        }
        request.conditions.require(checked.before.newest.map(VersionId::from))?;
        let stored = posting::store(self, caller, checked, request).await?;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(stored_reply(&stored, status, request))
    }

    async fn patch(
        &self,
        caller: &Caller,
        resource_type: &str,
        id: &str,
        request: &Request,
    ) -> Result<Reply, FhirError> {
        caller.require(resource_type, Interaction::Update)?;
        let is_patch = request.content_type.as_deref().is_some_and(|content_type| {
            content_type.split(';').next() == Some("application/json-patch+json")
        });
        if !is_patch {
            let text = "a patch is of the type application/json-patch+json";
            return Err(FhirError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", text));
        }
        self.require_own(caller)?;
        if let Some(row) = self.row(resource_type, id).await? {
            self.require_write(caller, row.record).await?;
        }
        let there = self.read(caller, resource_type, id, None).await?;
        request.conditions.require(Some(there.version))?;
        let mut before = there.body.unwrap_or_default();
        // What the server sets is not the client's to test or change.
        strip_server_meta(&mut before);
        let patched = patch::apply(&before, &request.body)?;
        let checked =
            self.check(caller, resource_type, Some(id), patched, &Known::default()).await?;
        if checked.before.newest.map(VersionId::from) != Some(there.version) {
            return Err(FhirError::precondition("the resource has another version by now"));
        }
        let stored = posting::store(self, caller, checked, request).await?;
        Ok(stored_reply(&stored, StatusCode::OK, request))
    }

    async fn conditional_update(
        &self,
        caller: &Caller,
        resource_type: &str,
        request: &Request,
    ) -> Result<Reply, FhirError> {
        caller.require(resource_type, Interaction::Update)?;
        let mut body = body_of(request)?;
        let _alone = self.inner.conditional.lock().await;
        let found = searching::matching(self, caller, resource_type, &request.query).await?;
        match (found.as_slice(), body.text("id")) {
            ([], None) => {
                caller.require(resource_type, Interaction::Create)?;
                let checked =
                    self.check(caller, resource_type, None, body, &Known::default()).await?;
                let stored = posting::store(self, caller, checked, request).await?;
                Ok(stored_reply(&stored, StatusCode::CREATED, request))
            }
            ([], Some(id)) => self.update(caller, resource_type, &id, body, request).await,
            ([id], given) => {
                if given.is_some_and(|given| given != *id) {
                    let text = "the body's `id` is not that of the resource that matches";
                    return Err(FhirError::bad_request(text));
                }
                body.set("id", id, "resourceType");
                self.update(caller, resource_type, id, body, request).await
            }
            _ => Err(FhirError::precondition("several resources match")),
        }
    }

    async fn conditional_delete(
        &self,
        caller: &Caller,
        resource_type: &str,
        request: &Request,
    ) -> Result<Reply, FhirError> {
        caller.require(resource_type, Interaction::Delete)?;
        let _alone = self.inner.conditional.lock().await;
        let found = searching::matching(self, caller, resource_type, &request.query).await?;
        match found.as_slice() {
            [] => Err(FhirError::not_found()),
            [id] => {
                let version = self.delete(caller, resource_type, id).await?;
                Ok(Reply { version: Some(version.into()), ..Reply::of(StatusCode::NO_CONTENT) })
            }
            _ => Err(FhirError::precondition("several resources match; delete them one by one")),
        }
    }

    fn validate(&self, resource_type: &str, request: &Request) -> Result<Reply, FhirError> {
        let value: serde_json::Value = serde_json::from_slice(&request.body)
            .map_err(|_| FhirError::bad_request("the body is not JSON"))?;
        // Some clients wrap the resource in Parameters.
        let wrapped = value["parameter"].as_array().and_then(|parameters| {
            parameters.iter().find(|parameter| parameter["name"] == "resource")
        });
        let resource = match (value["resourceType"].as_str(), wrapped) {
            (Some("Parameters"), Some(parameter)) => &parameter["resource"],
            _ => &value,
        };
        if resource["resourceType"].as_str() != Some(resource_type) {
            return Err(FhirError::bad_request(format!("the body is no {resource_type}")));
        }
        Ok(Reply::json(&outcome(&issues_of(resource))))
    }
}

fn stored_reply(stored: &Stored, done: StatusCode, request: &Request) -> Reply {
    Reply::written(stored.status(done), &stored.resource, request.returning)
}

fn version_in_path(text: &str) -> Result<VersionId, FhirError> {
    text.parse().map_err(|_| FhirError::not_found())
}

/// The resource in a request's body.
pub(crate) fn body_of(request: &Request) -> Result<RawObject, FhirError> {
    if request.body.is_empty() {
        return Err(FhirError::bad_request("the body is empty"));
    }
    RawObject::parse(&request.body).map_err(|error| {
        let text = format!(
            "the body is no JSON object, or names one member twice: line {} column {}",
            error.line(),
            error.column()
        );
        FhirError::bad_request(text)
    })
}

/// Takes out what the server says of a version.
pub(crate) fn strip_server_meta(body: &mut RawObject) {
    let Some(meta) = body.get("meta") else { return };
    let Ok(mut meta) = RawObject::parse(meta.get().as_bytes()) else { return };
    meta.retain(|name| name != "versionId" && name != "lastUpdated");
    if meta.members().next().is_none() {
        body.remove("meta");
    } else {
        body.set("meta", &meta, "id");
    }
}

/// 304 for a client that has this version already.
fn unless_known(reply: Reply, request: &Request) -> Reply {
    let conditions = &request.conditions;
    let same_version = conditions
        .if_none_match
        .as_deref()
        .is_some_and(|tags| tags.split(',').any(|tag| version_of_tag(tag) == reply.version));
    let not_since = conditions.if_none_match.is_none()
        && conditions
            .if_modified_since
            .as_deref()
            .and_then(instant::parse_http_date)
            .zip(reply.updated)
            .is_some_and(|(since, updated)| updated / 1_000 <= since / 1_000);
    if same_version || not_since {
        Reply { status: StatusCode::NOT_MODIFIED, body: None, ..reply }
    } else {
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &[&str], expected: Result<Action, u16>) {
        let path: Vec<String> = path.iter().map(|segment| (*segment).to_owned()).collect();
        let found = action_of(&method, &path).map_err(|error| error.status.as_u16());
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_lead_to_actions() {
        check(Method::GET, &["metadata"], Ok(Action::Capabilities));
        check(Method::GET, &["Patient", "1"], Ok(Action::Read));
        check(Method::HEAD, &["Patient", "1"], Ok(Action::Read));
        check(Method::POST, &["Patient", "_search"], Ok(Action::SearchByPost));
        check(Method::GET, &["Patient", "1", "_history", "2"], Ok(Action::VersionRead));
        check(Method::GET, &["Patient", "1", "$everything"], Ok(Action::Everything));
        check(Method::GET, &["Subscription", "1", "$events"], Ok(Action::Subscription));
        check(Method::POST, &["Subscription", "1", "$events"], Ok(Action::Subscription));
        check(Method::POST, &["Subscription", "$status"], Ok(Action::Subscription));
    }

    #[test]
    fn other_paths_say_why() {
        check(Method::GET, &["Nonsense"], Err(404));
        check(Method::GET, &["Account"], Err(404));
        check(Method::GET, &["Patient", "a b"], Err(404));
        check(Method::POST, &["Patient", "1"], Err(405));
        check(Method::GET, &["Observation", "1", "$everything"], Err(404));
    }
}
