//! Who else may read: what was shared, with whom, what for and until when; sharing more, with a look at exactly which
//! records that opens before anything is signed; and taking it back.

use alloy_primitives::{Address, B256};
use axum::response::Response;
use domain::{Kind, Purpose};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{own_id, records};
use crate::{
    admit::Form,
    design::parts::{
        Tone, act, badge, boxes, card, csrf, empty, facts, field, form as fields, more, select,
        submit,
    },
    fault::Fault,
    home::Member,
    signing::{Asked, begin},
    times, view,
    visitor::Visitor,
};

/// How long records are shared when nobody says for how long.
const USUAL_S: u64 = 30 * 86_400;

/// How long records are shared at most: a little less than the contract's ten years.
const LONGEST_S: u64 = 10 * 365 * 86_400;

/// The purposes for which patients share.
const PURPOSES: [Purpose; 3] = [Purpose::Treatment, Purpose::Payment, Purpose::Research];

/// The kinds that patients share. Who may not read who somebody is does not find them.
fn shareable() -> impl Iterator<Item = Kind> {
    std::iter::once(Kind::Demographics).chain(view::SHOWN)
}

/// A grant of the patient's.
pub(super) struct Shared {
    reader: Address,
    record: Option<B256>,
    kinds: Vec<Kind>,
    purposes: Vec<Purpose>,
    since: u64,
    until: u64,
    is_in_force: bool,
    awaits: bool,
}

impl Shared {
    fn of(grant: &Value, now_s: u64) -> Option<Self> {
        let time = |name: &str| grant[name].as_u64();
        let names =
            |name: &str| grant[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        let (since, until) = (time("since")?, time("until")?);
        let awaits = grant["countersignature"] == "awaited";
        Some(Self {
            reader: grant["reader"].as_str()?.parse().ok()?,
            record: grant["record"].as_str().and_then(|record| record.parse().ok()),
            kinds: names("kinds").filter_map(|kind| kind.parse().ok()).collect(),
            purposes: names("purposes").filter_map(|purpose| purpose.parse().ok()).collect(),
            since,
            until,
            is_in_force: (since..until).contains(&now_s) && !awaits,
            awaits: awaits && now_s < until,
        })
    }
}

/// The patient's grants, those in force first.
async fn shared(visitor: &Visitor) -> Result<Vec<Shared>, Fault> {
    let grants = visitor.client()?.api("/grants").await?;
    let now_s = visitor.portal.home().now_ms() / 1_000;
    let grants = grants["grants"].as_array().into_iter().flatten();
    let mut grants: Vec<Shared> = grants.filter_map(|grant| Shared::of(grant, now_s)).collect();
    grants.sort_by_key(|grant| (!grant.is_in_force, std::cmp::Reverse(grant.since)));
    Ok(grants)
}

/// Those in force.
pub(super) async fn in_force(visitor: &Visitor) -> Result<Vec<Shared>, Fault> {
    Ok(shared(visitor).await?.into_iter().filter(|grant| grant.is_in_force).collect())
}

/// `GET /patient/sharing`.
pub(super) async fn list(visitor: Visitor) -> Result<Response, Fault> {
    let words = visitor.words();
    let all = shared(&visitor).await?;
    let (current, earlier): (Vec<_>, Vec<_>) =
        all.iter().partition(|grant| grant.is_in_force || grant.awaits);
    let content = html! {
        p class="lead" { (words.sharing_text) }
        p class="actions" { a class="button" href="/patient/sharing/new" { (words.share) } }
        @if current.is_empty() {
            (empty(words.nobody_else, words.nobody_else_text, None))
        }
        @for grant in current { (one(&visitor, grant, true)) }
        @if !earlier.is_empty() {
            (more(words.earlier_sharing, html! { @for grant in earlier { (one(&visitor, grant, false)) } }))
        }
    };
    Ok(visitor.page(words.sharing, content))
}

fn one(visitor: &Visitor, grant: &Shared, may_end: bool) -> Markup {
    let words = visitor.words();
    let record = grant.record.map(|record| record.to_string()).unwrap_or_default();
    let reader = grant.reader.to_string();
    let kinds: Vec<_> = grant.kinds.iter().map(|kind| (words.kind)(*kind)).collect();
    let purposes: Vec<_> = grant.purposes.iter().map(|purpose| (words.purpose)(*purpose)).collect();
    let what = if grant.record.is_some() { words.one_record.to_owned() } else { kinds.join(", ") };
    card(
        &visitor.name(grant.reader),
        html! {
            p {
                @if grant.is_in_force { (badge(Tone::Good, words.in_force)) }
                @else if grant.awaits { (badge(Tone::Warning, words.awaits_steward)) }
                @else { (badge(Tone::Plain, words.ended)) }
            }
            (facts(&[
                (words.what.to_owned(), html! { (what) }),
                (words.why.to_owned(), html! { (purposes.join(", ")) }),
                (words.since.to_owned(), times::stamp(grant.since)),
                (words.until.to_owned(), times::stamp(grant.until)),
            ]))
            @if may_end {
                div class="actions" {
                    (act(visitor, "/patient/sharing/revoke", &[("reader", &reader), ("record", &record)], words.stop_sharing, true))
                }
            }
        },
    )
}

/// `GET /patient/sharing/new`.
pub(super) async fn new(visitor: Visitor) -> Result<Response, Fault> {
    let content = form(&visitor, &visitor.portal.home().members().await?, &Form::default());
    Ok(visitor.page(visitor.words().share, content))
}

/// The form to share with, filled in as it was sent.
fn form(visitor: &Visitor, members: &[Member], sent: &Form) -> Markup {
    let words = visitor.words();
    let own = visitor.portal.home().institution().member;
    let members: Vec<_> = members
        .iter()
        .filter(|member| member.address != own)
        .map(|member| (member.address.to_string(), format!("{} ({})", member.name, member.role)))
        .collect();
    let chosen: Vec<&str> = sent.all("kinds").collect();
    let is_chosen = |kind: Kind| match chosen.is_empty() {
        true => kind == Kind::Demographics,
        false => chosen.contains(&kind.name()),
    };
    let kinds: Vec<_> = shareable()
        .map(|kind| (kind.name().to_owned(), (words.kind)(kind).to_owned(), is_chosen(kind)))
        .collect();
    let purposes: Vec<_> = PURPOSES
        .map(|purpose| (purpose.name().to_owned(), (words.purpose)(purpose).to_owned()))
        .into();
    let until = match sent.text("until") {
        "" => times::form_day(visitor.portal.home().now_ms() / 1_000 + USUAL_S),
        until => until.to_owned(),
    };
    fields(
        visitor,
        "/patient/sharing/preview",
        html! {
            (select("reader", words.with_whom, &members, sent.text("reader")))
            (boxes("kinds", words.what, &kinds))
            (select("purpose", words.why, &purposes, sent.text("purpose")))
            (field("until", words.until, "date", &until, ""))
            (submit(words.preview))
        },
    )
}

/// What a form to share asks for.
struct Wanted {
    reader: Address,
    kinds: Vec<Kind>,
    purpose: Purpose,
    until: u64,
}

impl Wanted {
    fn of(visitor: &Visitor, form: &Form) -> Result<Self, Fault> {
        let words = visitor.words();
        let kinds: Vec<Kind> = form.all("kinds").filter_map(|kind| kind.parse().ok()).collect();
        if kinds.is_empty() {
            return Err(Fault::Unusable(words.choose_kinds.into()));
        }
        let until = times::of_day(form.text("until"));
        let now_s = visitor.portal.home().now_ms() / 1_000;
        let until = until.filter(|until| (now_s + 1..now_s + LONGEST_S).contains(until));
        Ok(Self {
            reader: form.parse("reader", words.with_whom)?,
            kinds,
            purpose: form.parse("purpose", words.why)?,
            until: until.ok_or_else(|| Fault::Unusable(words.choose_until.into()))?,
        })
    }
}

/// `POST /patient/sharing/preview`: exactly which records a grant opens. Nothing is signed yet.
pub(super) async fn preview(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let (words, client) = (visitor.words(), visitor.client()?);
    let wanted = Wanted::of(&visitor, &form)?;
    let id = own_id(&client, visitor.patient()?).await?;
    let mut opened = Vec::new();
    for kind in &wanted.kinds {
        let found = match &id {
            Some(id) => Some(records::read(&client, id, *kind, "").await?),
            None => None,
        };
        opened.push((*kind, found));
    }
    let is_empty = opened
        .iter()
        .all(|(_, found)| found.as_ref().is_none_or(|found| found.resources.is_empty()));
    let kinds: Vec<_> = wanted.kinds.iter().map(|kind| (words.kind)(*kind)).collect();
    let until = times::text(wanted.until);
    let said = (words.grants)(
        &visitor.name(wanted.reader),
        &kinds.join(", "),
        (words.purpose)(wanted.purpose),
        &until,
    );
    let content = html! {
        p class="lead" { (said) "." }
        p { (words.preview_text) }
        @if is_empty { (empty(words.preview_none, "", None)) }
        @for (kind, found) in &opened {
            @if let Some(found) = found && !found.resources.is_empty() {
                h2 { ((words.kind)(*kind)) }
                (records::shown(found, *kind, "/patient/records", "", words))
            }
        }
        form method="post" action="/patient/sharing/grant" {
            (csrf(&visitor))
            input type="hidden" name="reader" value=(wanted.reader);
            input type="hidden" name="purpose" value=(wanted.purpose.name());
            input type="hidden" name="until" value=(form.text("until"));
            @for kind in &wanted.kinds { input type="hidden" name="kinds" value=(kind.name()); }
            p class="actions" {
                button type="submit" { (words.share_now) }
                a class="button secondary" href="/patient/sharing/new" { (words.change) }
            }
        }
    };
    Ok(visitor.page(words.preview_title, content))
}

/// `POST /patient/sharing/grant`.
pub(super) async fn grant(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let (words, wanted) = (visitor.words(), Wanted::of(&visitor, &form)?);
    let kinds: Vec<_> = wanted.kinds.iter().map(|kind| kind.name()).collect();
    let step = json!({
        "step": "consent.grant",
        "patient": visitor.patient()?,
        "reader": wanted.reader,
        "kinds": kinds,
        "purposes": [wanted.purpose.name()],
        "until": wanted.until,
    });
    let asked = Asked { title: words.grant_title, back: "/patient/sharing", done: words.shared };
    begin(&visitor, step, asked).await
}

/// `POST /patient/sharing/revoke`.
pub(super) async fn revoke(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let words = visitor.words();
    let mut step = json!({
        "step": "consent.revoke",
        "patient": visitor.patient()?,
        "reader": form.parse::<Address>("reader", words.with_whom)?,
    });
    if !form.text("record").is_empty() {
        step["record"] = json!(form.parse::<B256>("record", words.one_record)?);
    }
    let asked = Asked { title: words.revoke_title, back: "/patient/sharing", done: words.stopped };
    begin(&visitor, step, asked).await
}
