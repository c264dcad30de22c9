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
mod claim;
mod device;
mod emergency;
mod laboratory;
mod prescription;
mod research;
mod signing;
mod surgery;
mod trial;
mod waiting_list;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, Bytes};
use axum::{
    body::Body,
    extract::{FromRequestParts, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
};
use domain::{ProfessionalRole, Purpose, Reader};
use fhir::{Caller, Interaction};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};
use workflows::{Gateway, WorkflowError};

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

/// How many steps of patients there may be at once, and as many of staff.
const ALIKE_MAX: usize = 1_024;

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
    is_patient: bool,
    at: Instant,
    progress: Arc<watch::Sender<Progress>>,
    answers: mpsc::Sender<Given>,
    task: AbortHandle,
}

/// The steps that were begun.
#[derive(Default)]
pub(super) struct Steps(Mutex<HashMap<B256, Begun>>);

impl Steps {
    /// Refuses somebody who has too much begun, or who comes when too much is; what is over does not count.
    fn room(&self, owner: Address, is_patient: bool) -> Result<(), Problem> {
        let mut steps = self.0.lock();
        forget(&mut steps);
        let open = || steps.values().filter(|held| held.is_open());
        let own = open().filter(|held| held.owner == owner).count();
        // Patients and staff do not take each other's places.
        let alike = open().filter(|held| held.is_patient == is_patient).count();
        if own < OWN_MAX && alike < ALIKE_MAX {
            return Ok(());
        }
        let text = "too many steps were begun and are not over; end one, or wait";
        Err(Problem::too_many(text, 60))
    }

    fn add(&self, id: B256, begun: Begun) {
        let mut steps = self.0.lock();
        let over = steps.iter().filter(|(_, held)| held.owner == begun.owner && !held.is_open());
        let mut over: Vec<_> = over.map(|(id, held)| (held.at, *id)).collect();
        over.sort_unstable_by_key(|(at, _)| *at);
        for (_, id) in over.iter().rev().skip(OWN_MAX) {
            steps.remove(id);
        }
        steps.insert(id, begun);
    }

    /// What belongs to somebody; others are not told that it is there.
    fn own<T>(
        &self,
        id: B256,
        owner: Address,
        read: impl FnOnce(&Begun) -> T,
    ) -> Result<T, Problem> {
        let mut steps = self.0.lock();
        forget(&mut steps);
        let held = steps.get(&id).filter(|held| held.owner == owner);
        let gone = || Problem::not_found("no such step was begun, or it is long over");
        held.map(read).ok_or_else(gone)
    }
}

impl Begun {
    fn is_open(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Working | Progress::Waiting(_))
    }
}

/// Forgets what is old.
fn forget(steps: &mut HashMap<B256, Begun>) {
    steps.retain(|_, held| {
        let stays = held.at.elapsed() < REMEMBERED;
        if !stays {
            held.task.abort();
        }
        stays
    });
}

/// A step with what goes into it.
enum Wanted {
    Prescription(prescription::Wanted),
    Laboratory(laboratory::Wanted),
    Emergency(emergency::Wanted),
    Surgery(surgery::Wanted),
    WaitingList(waiting_list::Wanted),
    Device(device::Wanted),
    Research(research::Wanted),
    Claim(claim::Wanted),
    Trial(trial::Wanted),
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
            "device" => serde_json::from_value(value).map(Self::Device),
            "research" => serde_json::from_value(value).map(Self::Research),
            "claim" => serde_json::from_value(value).map(Self::Claim),
            "trial" => serde_json::from_value(value).map(Self::Trial),
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
            Self::Device(_) => "step-device",
            Self::Research(_) => "step-research",
            Self::Claim(_) => "step-claim",
            Self::Trial(_) => "step-trial",
        }
    }

    const fn about(&self) -> About {
        match self {
            Self::Prescription(wanted) => wanted.about(),
            Self::Laboratory(wanted) => wanted.about(),
            Self::Emergency(wanted) => wanted.about(),
            Self::Surgery(wanted) => wanted.about(),
            Self::WaitingList(wanted) => wanted.about(),
            Self::Device(wanted) => wanted.about(),
            Self::Research(wanted) => wanted.about(),
            Self::Claim(wanted) => wanted.about(),
            Self::Trial(wanted) => wanted.about(),
        }
    }

    /// What is read for it, by FHIR type: the token has to allow that, too.
    const fn reads(&self) -> &'static [&'static str] {
        match self {
            Self::Prescription(wanted) => wanted.reads(),
            Self::Surgery(wanted) => wanted.reads(),
            Self::Claim(wanted) => wanted.reads(),
            _ => &[],
        }
    }

    /// What it is read for.
    const fn reads_for(&self) -> Purpose {
        match self {
            Self::Claim(_) => Purpose::Payment,
            _ => Purpose::Treatment,
        }
    }

    async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        match self {
            Self::Prescription(wanted) => wanted.take(cast).await,
            Self::Laboratory(wanted) => wanted.take(cast).await,
            Self::Emergency(wanted) => wanted.take(cast).await,
            Self::Surgery(wanted) => wanted.take(cast).await,
            Self::WaitingList(wanted) => wanted.take(cast).await,
            Self::Device(wanted) => wanted.take(cast).await,
            Self::Research(wanted) => wanted.take(cast).await,
            Self::Claim(wanted) => wanted.take(cast).await,
            Self::Trial(wanted) => wanted.take(cast).await,
        }
    }
}

/// What a step is about, and so about whom. Whose a workflow is, the chain says, and not who takes a step.
#[derive(Clone, Copy, Debug)]
enum About {
    /// Something begins with it, at this patient's.
    Begins(Address),
    /// A patient's records as a whole.
    Patient(Address),
    /// No patient in particular, such as a trial's protocol. Zero is whose it is.
    Nobody,
    Prescription(B256),
    LabOrder(B256),
    Surgery(B256),
    Listing(B256),
    /// Whoever a device measured then: an alert is of a batch, by its number.
    DeviceAlert(Address, u64),
    Coverage(B256),
    Authorisation(B256),
    Claim(B256),
}

impl About {
    async fn patient(self, gateway: &Gateway) -> Result<Address, WorkflowError> {
        use workflows::{claim, laboratory, prescription, surgery, waiting_list};
        Ok(match self {
            Self::Begins(patient) | Self::Patient(patient) => patient,
            Self::Nobody => Address::ZERO,
            Self::Prescription(id) => prescription::patient_of(gateway, id).await?,
            Self::LabOrder(id) => laboratory::patient_of(gateway, id).await?,
            Self::Surgery(id) => surgery::standing(gateway, id).await?.1.patient,
            Self::Listing(id) => waiting_list::listing(gateway, id).await?.patient,
            Self::DeviceAlert(device, sequence) => {
                workflows::device::patient_of_alert(gateway, device, sequence).await?
            }
            Self::Coverage(id) => claim::coverage(gateway, id).await?.patient,
            Self::Authorisation(id) => claim::patient_of_authorisation(gateway, id).await?,
            Self::Claim(id) => claim::patient_of(gateway, id).await?,
        })
    }
}

/// `POST /api/steps`.
pub(super) async fn begin(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let (caller, _) = api.caller(&headers, SCOPE, Interaction::Create).await?;
    let wanted = Wanted::parse(json(&headers, body).await?)?;
    for resource_type in wanted.reads() {
        api.caller(&headers, resource_type, Interaction::Search).await?;
    }
    let about = wanted.about();
    let patient = about.patient(&api.0.gateway).await?;
    require_about(&caller, Some(patient))?;
    let who = api.may_act(&caller, about, patient).await?;
    if !wanted.reads().is_empty() && caller.purpose != wanted.reads_for() {
        let purpose = wanted.reads_for();
        let text = format!("this step reads the patient's records, for {purpose} only");
        return Err(Problem::forbidden(text));
    }
    api.0.steps.room(caller.reader.address(), matches!(who, Who::Patient(_)))?;
    let act = Act {
        name: wanted.act(),
        actor: caller.reader.address(),
        purpose: caller.purpose,
        patient: (!patient.is_zero()).then_some(patient),
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
        api.signer_of(caller.reader.address()).await,
        *gateway.gatekeeper.deployment(),
        gateway.gatekeeper.ledger().chain_id(),
        Arc::clone(&progress),
        given,
    ));
    let cast = Cast::new(gateway, who, patient, signing, api.now());
    let task = tokio::spawn(async move { wanted.take(&cast).await });
    let begun = Begun {
        owner: caller.reader.address(),
        is_patient: matches!(who, Who::Patient(_)),
        at: Instant::now(),
        progress: Arc::clone(&progress),
        answers,
        task: task.abort_handle(),
    };
    api.0.steps.add(id, begun);
    let steps = Arc::clone(&api.0);
    tokio::spawn(async move {
        let outcome = match task.await {
            Ok(Ok(result)) => Progress::Done(result),
            Ok(Err(error)) => Progress::Failed(error.into()),
            Err(_) => Progress::Failed(Problem::new(StatusCode::GONE, "the step was given up")),
        };
        progress.send_replace(outcome);
        // Whatever it came to is not kept for longer, whether or not anybody comes.
        tokio::time::sleep(REMEMBERED).await;
        steps.steps.0.lock().remove(&id);
    });
    api.next(id, caller.reader.address()).await
}

/// The name of a step in a path.
pub(super) struct Id(B256);

impl FromRequestParts<Api> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Path(id) = Path::<B256>::from_request_parts(parts, api)
            .await
            .map_err(|_| Problem::bad("the name of a step is 0x and 64 hexadecimal digits"))?;
        Ok(Self(id))
    }
}

/// `GET /api/steps/{id}`.
pub(super) async fn show(State(api): State<Api>, Id(id): Id, headers: HeaderMap) -> Answer {
    let (caller, _) = api.caller(&headers, SCOPE, Interaction::Read).await?;
    api.next(id, caller.reader.address()).await
}

/// What somebody says to what they were asked to sign: one thing, and to what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// The digest that they were asked to sign.
    digest: B256,
    /// The signature of a transaction, of 65 bytes.
    signature: Option<Bytes>,
    /// A transaction that was sent instead.
    sent: Option<B256>,
    /// The signature of calls.
    authorisation: Option<SaidByAccount>,
    /// No.
    declined: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidByAccount {
    /// The signer bytes by which the account knows the key (ERC-7913).
    signer: Bytes,
    signature: Bytes,
}

impl Said {
    fn given(self) -> Result<Given, Problem> {
        match (self.signature, self.sent, self.authorisation, self.declined) {
            (Some(bytes), None, None, None) => Ok(Given::Signature(bytes)),
            (None, Some(hash), None, None) => Ok(Given::Sent(hash)),
            (None, None, Some(SaidByAccount { signer, signature }), None) => {
                Ok(Given::Authorisation { signer, signature })
            }
            (None, None, None, Some(true)) => Ok(Given::Declined),
            _ => Err(Problem::bad(
                "beside `digest` there is one of `signature`, `sent`, `authorisation` and \
                 `declined`: true",
            )),
        }
    }
}

/// `POST /api/steps/{id}`.
pub(super) async fn sign(
    State(api): State<Api>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (caller, _) = api.caller(&headers, SCOPE, Interaction::Update).await?;
    let owner = caller.reader.address();
    let said: Said = json(&headers, body).await?;
    let digest = serde_json::Value::from(said.digest.to_string());
    let given = said.given()?;
    let answers = api.0.steps.own(id, owner, |held| {
        // Of two who answer at once, one is too late.
        let is_asked = held.progress.send_if_modified(|progress| {
            let is_asked =
                matches!(progress, Progress::Waiting(asked) if asked["digest"] == digest);
            if is_asked {
                *progress = Progress::Working;
            }
            is_asked
        });
        is_asked.then(|| held.answers.clone())
    })?;
    let Some(answers) = answers else {
        let text = "this step does not wait for a signature of this digest now";
        return Err(Problem::new(StatusCode::CONFLICT, text));
    };
    // When nobody listens any more, the step is over, and says so.
    let _ = answers.send(given).await;
    api.next(id, owner).await
}

/// `DELETE /api/steps/{id}`: gives a step up. What happened already stays.
pub(super) async fn give_up(State(api): State<Api>, Id(id): Id, headers: HeaderMap) -> Answer {
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
    /// Who takes a step about somebody. The contracts say who may take which; but to begin something at a
    /// patient's takes caring for them, as writing over FHIR does.
    async fn may_act(
        &self,
        caller: &Caller,
        about: About,
        patient: Address,
    ) -> Result<Who, Problem> {
        match caller.reader {
            Reader::Patient { account } if account == patient => Ok(Who::Patient(account)),
            Reader::Patient { .. } => {
                Err(Problem::forbidden("patients take steps about themselves"))
            }
            Reader::Professional { member, role, .. } if self.is_own(&caller.reader) => {
                let begins = matches!(about, About::Begins(_));
                if begins && !self.0.gateway.gatekeeper.cares_for(patient, member).await {
                    let text = "this step is for who cares for the patient";
                    return Err(Problem::forbidden(text));
                }
                Ok(Who::Professional(member, role))
            }
            _ => Err(Problem::forbidden(
                "steps are taken by patients, and by the people of this institution",
            )),
        }
    }

    /// The key with which a member signs now; an account is its own.
    async fn signer_of(&self, member: Address) -> Address {
        let projection = self.0.gateway.gatekeeper.projection().await;
        projection.registry.professional(&member).map_or(member, |held| held.signer)
    }

    /// How far a step is, once there is something to do or nothing more. What was found about a patient is
    /// said once.
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
                if result.get("findings").is_some() {
                    self.0.steps.0.lock().remove(&id);
                }
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
