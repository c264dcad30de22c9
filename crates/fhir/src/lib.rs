//! Speak FHIR R4.
//!
//! [`router`] serves [`Resources`] over HTTP: the interactions in the table of `dispatch`, from which the
//! CapabilityStatement is made too. A resource about a patient is a record: it is sealed in the vault,
//! anchored on chain, and nothing of it is given out, counted or found without a decision (S2). What is
//! about no patient is the institution's directory.

mod audit;
mod bulk;
mod bundle;
mod caller;
mod capability;
mod catalogue;
mod consent;
mod copies;
mod derived;
mod directory;
mod dispatch;
mod filing;
mod following;
mod group;
mod history;
mod http;
mod importing;
mod instant;
mod json;
mod openapi;
mod outcome;
mod parameters;
mod patch;
mod posting;
mod provenance;
mod reached;
mod request;
mod resources;
mod sealing;
mod searching;
mod statuses;
mod steps;
mod subject;
mod subscriptions;
mod tables;
mod version;

pub use caller::{
    AllowAll, Allowed, Authenticator, Caller, Interaction, PURPOSE_HEADER, purpose_of_code,
    reader_at,
};
pub use catalogue::WorkflowCatalogue;
pub use derived::MEMBER_SYSTEM;
pub use following::KeepUpError;
pub use http::{BODY_BYTES_MAX, URL_BYTES_MAX, router};
pub use importing::ImportIndex;
pub use json::RawObject;
pub use outcome::{FhirError, Issue};
pub use resources::{ACCOUNT_SYSTEM, Patients, Resource, Resources, account_of_patient};
pub use subscriptions::FORM as SUBSCRIPTION_FORM;
pub use version::{ParseVersionError, VersionId};
