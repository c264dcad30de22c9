//! Steps of workflows, taken by whoever asks and signed where their key is.
//!
//! `POST /api/steps` names a step and what goes into it. The contract is asked first whether it would take it.
//! Then the answer is what to sign: a transaction of a professional, as it stands, or calls of a patient's
//! account. `POST /api/steps/{id}` brings the signature, and the answer is the next thing to sign, or what was
//! done. The gateway never has the key.
//!
//! A step belongs to whoever began it, and is there for a quarter of an hour. It is forgotten when the gateway
//! stops: what is sealed by then stays proposed, and everything else did not happen.

mod cast;
mod emergency;
mod laboratory;
mod prescription;
mod signing;
mod surgery;
mod waiting_list;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, Bytes};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use domain::{ProfessionalRole, Reader};
use fhir::{Caller, Interaction};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};
use workflows::WorkflowError;

use super::{
    Answer, Api, Problem,
    acts::{Act, Subject},
    answer, done, json, require_about,
};
use cast::Cast;
use signing::{Given, Signing};

/// The type by which scopes allow steps.
const SCOPE: &str = "Task";

/// How many steps somebody may have at once.
const OWN_MAX: usize = 16;

/// How many steps there may be at once.
const ALL_MAX: usize = 1_024;

/// How long a step is remembered.
const REMEMBERED: Duration = Duration::from_secs(900);

/// How long a request waits for what comes next.
const PATIENCE: Duration = Duration::from_secs(20);

/// How far a step is.
#[derive(Clone, Debug)]
enum Progress {
    /// The gateway or the chain is at it.
    Working,
    /// Its owner is to sign this.
    Waiting(Value),
    /// It is done.
    Done(Value),
    /// It did not happen.
    Failed(Problem),
}

/// A step that somebody began.
struct Begun {
    owner: Address,
    at: Instant,
    progress: Arc<watch::Sender<Progress>>,
    answers: mpsc::Sender<Given>,
    task: AbortHandle,
}

/// The steps that were begun.
#[derive(Default)]
pub(super) struct Steps(Mutex<HashMap<B256, Begun>>);

impl Steps {
    /// Remembers a step, if there is room for it.
    fn add(&self, id: B256, begun: Begun) -> Result<(), Problem> {
        let mut steps = self.0.lock();
        steps.retain(|_, held| {
            let stays = held.at.elapsed() < REMEMBERED;
            if !stays {
                held.task.abort();
            }
            stays
        });
        let own = steps.values().filter(|held| held.owner == begun.owner).count();
        if own >= OWN_MAX || steps.len() >= ALL_MAX {
            begun.task.abort();
            let text = "too many steps were begun and not ended; end one, or wait";
            return Err(Problem::too_many(text, 60));
        }
        steps.insert(id, begun);
        Ok(())
    }

    /// What belongs to somebody; others are not told that it is there.
    fn own<T>(
        &self,
        id: B256,
        owner: Address,
        read: impl FnOnce(&Begun) -> T,
    ) -> Result<T, Problem> {
        let steps = self.0.lock();
        let held = steps.get(&id).filter(|held| held.owner == owner);
        held.map(read)
            .ok_or_else(|| Problem::not_found("no such step was begun, or it is long over"))
    }
}

/// A step with what goes into it.
enum Wanted {
    Prescription(prescription::Wanted),
    Laboratory(laboratory::Wanted),
    Emergency(emergency::Wanted),
    Surgery(surgery::Wanted),
    WaitingList(waiting_list::Wanted),
}

impl Wanted {
    fn parse(value: Value) -> Result<Self, Problem> {
        let name = value["step"].as_str().unwrap_or_default().to_owned();
        let area = name.split('.').next().unwrap_or_default();
        let parsed = match area {
            "rx" => serde_json::from_value(value).map(Self::Prescription),
            "lab" => serde_json::from_value(value).map(Self::Laboratory),
            "emergency" => serde_json::from_value(value).map(Self::Emergency),
            "surgery" => serde_json::from_value(value).map(Self::Surgery),
            "waitlist" => serde_json::from_value(value).map(Self::WaitingList),
            _ => return Err(Problem::bad("`step` names no step; the guide lists them")),
        };
        parsed.map_err(|error| {
            // Only what names steps and fields: the rest quotes values.
            let text = error.to_string();
            let told = ["unknown variant", "unknown field", "missing field", "duplicate field"];
            let text = match told.iter().any(|begin| text.starts_with(begin)) {
                true => text,
                false => "a value is not of the kind that is expected; the guide says which".into(),
            };
            Problem::bad(text)
        })
    }

    /// Under which name it is in the log of what was done here.
    const fn act(&self) -> &'static str {
        match self {
            Self::Prescription(_) => "step-prescription",
            Self::Laboratory(_) => "step-laboratory",
            Self::Emergency(_) => "step-emergency",
            Self::Surgery(_) => "step-surgery",
            Self::WaitingList(_) => "step-waiting-list",
        }
    }

    /// About which patient it is, where it names one.
    const fn patient(&self) -> Option<Address> {
        match self {
            Self::Prescription(wanted) => wanted.patient(),
            Self::Laboratory(wanted) => wanted.patient(),
            Self::Emergency(wanted) => wanted.patient(),
            Self::Surgery(wanted) => wanted.patient(),
            Self::WaitingList(wanted) => wanted.patient(),
        }
    }

    async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        match self {
            Self::Prescription(wanted) => wanted.take(cast).await,
            Self::Laboratory(wanted) => wanted.take(cast).await,
            Self::Emergency(wanted) => wanted.take(cast).await,
            Self::Surgery(wanted) => wanted.take(cast).await,
            Self::WaitingList(wanted) => wanted.take(cast).await,
        }
    }
}

/// `POST /api/steps`.
pub(super) async fn begin(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let (caller, _) = api.caller(&headers, SCOPE, Interaction::Create).await?;
    let who = api.may_act(&caller)?;
    let wanted = Wanted::parse(json(&headers, body).await?)?;
    require_about(&caller, wanted.patient())?;
    if let (Who::Patient(account), Some(other)) = (who, wanted.patient())
        && account != other
    {
        return Err(Problem::forbidden("patients take steps about themselves"));
    }
    let act = Act {
        name: wanted.act(),
        actor: caller.reader.address(),
        purpose: caller.purpose,
        patient: wanted.patient(),
        subject: Subject::None,
        outcome: "begun",
    };
    api.0.acts.note(act, api.now()).await?;
    let gateway = api.0.gateway.clone();
    let id = B256::from(gateway.gatekeeper.entropy().bytes::<32>());
    let (progress, _) = watch::channel(Progress::Working);
    let progress = Arc::new(progress);
    let (answers, given) = mpsc::channel(1);
    let signing = Arc::new(Signing::new(
        caller.reader.address(),
        *gateway.gatekeeper.deployment(),
        gateway.gatekeeper.ledger().chain_id(),
        Arc::clone(&progress),
        given,
    ));
    let cast = Cast::new(gateway, who, signing, api.now());
    let task = tokio::spawn(async move { wanted.take(&cast).await });
    let begun = Begun {
        owner: caller.reader.address(),
        at: Instant::now(),
        progress: Arc::clone(&progress),
        answers,
        task: task.abort_handle(),
    };
    api.0.steps.add(id, begun)?;
    tokio::spawn(async move {
        let outcome = match task.await {
            Ok(Ok(result)) => Progress::Done(result),
            Ok(Err(error)) => Progress::Failed(error.into()),
            Err(_) => Progress::Failed(Problem::new(StatusCode::GONE, "the step was given up")),
        };
        progress.send_replace(outcome);
    });
    api.next(id, caller.reader.address()).await
}

/// `GET /api/steps/{id}`.
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<B256>,
    headers: HeaderMap,
) -> Answer {
    let (caller, _) = api.caller(&headers, SCOPE, Interaction::Read).await?;
    api.next(id, caller.reader.address()).await
}

/// What somebody says to what they were asked to sign.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Said {
    /// The signature of a transaction, of 65 bytes.
    Signature(Bytes),
    /// A transaction that was sent instead.
    Sent(B256),
    /// The signature of calls, with the signer bytes by which the account knows the key.
    Authorisation { signer: Bytes, signature: Bytes },
    /// No.
    Declined(bool),
}

/// `POST /api/steps/{id}`.
pub(super) async fn sign(
    State(api): State<Api>,
    Path(id): Path<B256>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (caller, _) = api.caller(&headers, SCOPE, Interaction::Update).await?;
    let owner = caller.reader.address();
    let given = match json(&headers, body).await? {
        Said::Signature(bytes) => Given::Signature(bytes),
        Said::Sent(hash) => Given::Sent(hash),
        Said::Authorisation { signer, signature } => Given::Authorisation { signer, signature },
        Said::Declined(true) => Given::Declined,
        Said::Declined(false) => return Err(Problem::bad("`declined` is true, or is left out")),
    };
    let answers = api.0.steps.own(id, owner, |held| {
        // Of two who answer at once, one is too late.
        let is_asked = held.progress.send_if_modified(|progress| {
            let is_asked = matches!(progress, Progress::Waiting(_));
            if is_asked {
                *progress = Progress::Working;
            }
            is_asked
        });
        is_asked.then(|| held.answers.clone())
    })?;
    let Some(answers) = answers else {
        let text = "this step does not wait for a signature now";
        return Err(Problem::new(StatusCode::CONFLICT, text));
    };
    // When nobody listens any more, the step is over, and says so.
    let _ = answers.send(given).await;
    api.next(id, owner).await
}

/// `DELETE /api/steps/{id}`: gives a step up. What happened already stays.
pub(super) async fn give_up(
    State(api): State<Api>,
    Path(id): Path<B256>,
    headers: HeaderMap,
) -> Answer {
    let (caller, _) = api.caller(&headers, SCOPE, Interaction::Delete).await?;
    api.0.steps.own(id, caller.reader.address(), |held| held.task.abort())?;
    api.0.steps.0.lock().remove(&id);
    Ok(done())
}

/// Who takes a step: a patient, or a professional of this institution in their role.
#[derive(Clone, Copy, Debug)]
enum Who {
    Patient(Address),
    Professional(Address, ProfessionalRole),
}

impl Api {
    fn may_act(&self, caller: &Caller) -> Result<Who, Problem> {
        match caller.reader {
            Reader::Patient { account } => Ok(Who::Patient(account)),
            Reader::Professional { member, role, .. } if self.is_own(&caller.reader) => {
                Ok(Who::Professional(member, role))
            }
            _ => Err(Problem::forbidden(
                "steps are taken by patients, and by the people of this institution",
            )),
        }
    }

    /// How far a step is, once there is something to do or nothing more.
    async fn next(&self, id: B256, owner: Address) -> Answer {
        let mut progress = self.0.steps.own(id, owner, |held| held.progress.subscribe())?;
        let is_news = |progress: &Progress| !matches!(progress, Progress::Working);
        let waited = tokio::time::timeout(PATIENCE, progress.wait_for(is_news)).await;
        let now = match waited {
            Ok(Ok(progress)) => progress.clone(),
            // It takes long, and can be asked for again.
            Ok(Err(_)) | Err(_) => Progress::Working,
        };
        let (status, body) = match now {
            Progress::Working => (StatusCode::ACCEPTED, json!({ "state": "working" })),
            Progress::Waiting(sign) => {
                (StatusCode::ACCEPTED, json!({ "state": "waiting", "sign": sign }))
            }
            Progress::Done(result) => {
                (StatusCode::OK, json!({ "state": "done", "result": result }))
            }
            Progress::Failed(problem) => return Err(problem),
        };
        let mut body = body;
        body["id"] = json!(id);
        let mut response = answer(status, &body);
        let place = HeaderValue::try_from(format!("/api/steps/{id}"));
        response.headers_mut().insert(header::LOCATION, place.expect("an id is hexadecimal"));
        Ok(response)
    }
}
