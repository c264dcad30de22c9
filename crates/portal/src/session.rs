//! Who is signed in where: sessions, in memory alone.
//!
//! A session is a cookie with 32 random bytes, of which only the SHA-256 is kept, so that a picture of this memory
//! opens no session. It ends a quarter of an hour after it was last used, eight hours after it began, when it comes
//! from another browser than it was given to, and when somebody signs out. Signing in makes a new one: whoever
//! planted a cookie in somebody's browser before has nothing. Nobody is in a session by right: `admit` asks the
//! registry at each request who its address is now.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bytes};
use axum::http::{HeaderMap, header};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{look::cookie, sign_in::Challenge};

/// The cookie. Browsers keep one of this name only when it is `Secure`, for the whole of this host and no other.
pub(crate) const COOKIE: &str = "__Host-salus";

/// How long a session lives without being used.
pub(crate) const IDLE_MS: u64 = 15 * 60 * 1_000;

/// How long a session lives.
pub(crate) const LIFE_MS: u64 = 8 * 60 * 60 * 1_000;

/// How many sessions there may be. Beyond, those that were used longest ago end, signed out ones first.
const HELD_MAX: usize = 20_000;

/// How many steps of a session are remembered with where they were begun.
const STEPS_MAX: usize = 32;

type Digest = [u8; 32];

/// The name of a session in its cookie.
#[derive(Clone, Copy)]
pub(crate) struct SessionId([u8; 32]);

impl SessionId {
    fn digest(&self) -> Digest {
        Sha256::digest(self.0).into()
    }

    /// As `Set-Cookie` wants it.
    pub(crate) fn set_cookie(&self) -> String {
        format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict", hex::encode(self.0))
    }

    /// What takes the cookie out of the browser again.
    pub(crate) fn unset_cookie() -> String {
        format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    /// The session that a request names.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(cookie(headers, COOKIE)?, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

/// What is kept of a session.
struct Held {
    who: Option<Address>,
    csrf: [u8; 32],
    browser: Digest,
    began_ms: u64,
    used_ms: u64,
    signer: Option<Bytes>,
    message: Option<String>,
    challenge: Option<Challenge>,
    steps: Vec<(B256, StepPlace)>,
}

/// What a request is told of its session.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) id: SessionId,
    pub(crate) who: Option<Address>,
    pub(crate) csrf: String,
    pub(crate) began_ms: u64,
}

/// Where a step was begun, and what to say when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepPlace {
    pub(crate) back: String,
    pub(crate) title: String,
    pub(crate) done: String,
}

/// The sessions of one portal.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Digest, Held>>);

impl Sessions {
    /// Begins a session in a browser, for somebody or for nobody yet.
    pub(crate) fn begin(
        &self,
        random: impl Fn() -> [u8; 32],
        who: Option<Address>,
        headers: &HeaderMap,
        now_ms: u64,
    ) -> SessionId {
        let (id, csrf) = (SessionId(random()), random());
        let held = Held {
            who,
            csrf,
            browser: browser(headers),
            began_ms: now_ms,
            used_ms: now_ms,
            signer: None,
            message: None,
            challenge: None,
            steps: Vec::new(),
        };
        let mut sessions = self.0.lock();
        if sessions.len() >= HELD_MAX {
            sessions.retain(|_, held| held.lives(now_ms));
        }
        if sessions.len() >= HELD_MAX {
            let oldest = sessions.iter().min_by_key(|(_, held)| (held.who.is_some(), held.used_ms));
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                sessions.remove(&oldest);
            }
        }
        sessions.insert(id.digest(), held);
        id
    }

    /// The session that a request is in, which it keeps alive.
    pub(crate) fn see(&self, headers: &HeaderMap, now_ms: u64) -> Option<Seen> {
        let id = SessionId::of(headers)?;
        let mut sessions = self.0.lock();
        let held = sessions.get_mut(&id.digest())?;
        if !held.lives(now_ms) || !bool::from(held.browser.ct_eq(&browser(headers))) {
            sessions.remove(&id.digest());
            return None;
        }
        held.used_ms = now_ms;
        Some(Seen { id, who: held.who, csrf: hex::encode(held.csrf), began_ms: held.began_ms })
    }

    /// A session that was begun just now.
    pub(crate) fn of(&self, id: &SessionId) -> Option<Seen> {
        self.with(id, |held| Seen {
            id: *id,
            who: held.who,
            csrf: hex::encode(held.csrf),
            began_ms: held.began_ms,
        })
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &SessionId) {
        self.0.lock().remove(&id.digest());
    }

    /// Ends every session of somebody.
    pub(crate) fn end_all(&self, who: Address) {
        self.0.lock().retain(|_, held| held.who != Some(who));
    }

    /// How many sessions somebody has.
    pub(crate) fn count(&self, who: Address, now_ms: u64) -> usize {
        let sessions = self.0.lock();
        sessions.values().filter(|held| held.who == Some(who) && held.lives(now_ms)).count()
    }

    fn with<T>(&self, id: &SessionId, act: impl FnOnce(&mut Held) -> T) -> Option<T> {
        self.0.lock().get_mut(&id.digest()).map(act)
    }

    /// Notes by which signer (ERC-7913) somebody signed in.
    pub(crate) fn set_signer(&self, id: &SessionId, signer: Bytes) {
        self.with(id, |held| held.signer = Some(signer));
    }

    /// By which signer somebody signed in, when they did by one.
    pub(crate) fn signer(&self, id: &SessionId) -> Option<Bytes> {
        self.with(id, |held| held.signer.clone()).flatten()
    }

    /// Leaves a message for the next page.
    pub(crate) fn say(&self, id: &SessionId, message: String) {
        self.with(id, |held| held.message = Some(message));
    }

    /// The message for this page, which is then gone.
    pub(crate) fn take_message(&self, id: &SessionId) -> Option<String> {
        self.with(id, |held| held.message.take()).flatten()
    }

    /// Keeps what somebody who signs in has to answer; an earlier one counts no more.
    pub(crate) fn set_challenge(&self, id: &SessionId, challenge: Challenge) {
        self.with(id, |held| held.challenge = Some(challenge));
    }

    /// What somebody had to answer. It serves once.
    pub(crate) fn take_challenge(&self, id: &SessionId) -> Option<Challenge> {
        self.with(id, |held| held.challenge.take()).flatten()
    }

    /// Remembers where a step was begun.
    pub(crate) fn add_step(&self, id: &SessionId, step: B256, place: StepPlace) {
        self.with(id, |held| {
            if held.steps.len() >= STEPS_MAX {
                held.steps.remove(0);
            }
            held.steps.push((step, place));
        });
    }

    /// Where a step was begun.
    pub(crate) fn step(&self, id: &SessionId, step: B256) -> Option<StepPlace> {
        let find = |held: &mut Held| {
            held.steps.iter().find(|(known, _)| *known == step).map(|(_, place)| place.clone())
        };
        self.with(id, find).flatten()
    }
}

impl Held {
    const fn lives(&self, now_ms: u64) -> bool {
        now_ms < self.used_ms.saturating_add(IDLE_MS)
            && now_ms < self.began_ms.saturating_add(LIFE_MS)
    }
}

impl Seen {
    /// Whether a form brought this session's token.
    pub(crate) fn is_from_form(&self, token: &str) -> bool {
        token.as_bytes().ct_eq(self.csrf.as_bytes()).into()
    }
}

/// A digest of what browser this is. It stops a cookie that was carried elsewhere carelessly, no more.
fn browser(headers: &HeaderMap) -> Digest {
    let agent = headers.get(header::USER_AGENT).map_or(&[][..], |agent| agent.as_bytes());
    Sha256::digest(agent).into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    fn headers(id: &SessionId, agent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let cookie = id.set_cookie();
        headers.insert(header::COOKIE, cookie.split(';').next().unwrap().parse().unwrap());
        headers.insert(header::USER_AGENT, agent.parse().unwrap());
        headers
    }

    fn begun(sessions: &Sessions, who: Address) -> SessionId {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let mut agent = HeaderMap::new();
        agent.insert(header::USER_AGENT, "one".parse().unwrap());
        let random = || [NEXT.fetch_add(1, Ordering::Relaxed); 32];
        sessions.begin(random, Some(who), &agent, 1_000)
    }

    #[test]
    fn a_session_ends_when_it_is_not_used() {
        let sessions = Sessions::default();
        let id = begun(&sessions, Address::ZERO);
        assert!(sessions.see(&headers(&id, "one"), IDLE_MS).is_some());
        assert!(sessions.see(&headers(&id, "one"), 2 * IDLE_MS).is_none());
        assert!(
            sessions.see(&headers(&id, "one"), 1_001).is_none(),
            "what ended does not come back"
        );
    }

    #[test]
    fn a_session_ends_after_its_life_however_much_it_is_used() {
        let sessions = Sessions::default();
        let id = begun(&sessions, Address::ZERO);
        let mut now = 1_000;
        while now + IDLE_MS / 2 < 1_000 + LIFE_MS {
            now += IDLE_MS / 2;
            assert!(sessions.see(&headers(&id, "one"), now).is_some());
        }
        assert!(sessions.see(&headers(&id, "one"), 1_000 + LIFE_MS).is_none());
    }

    #[test]
    fn a_session_is_its_browsers() {
        let sessions = Sessions::default();
        let id = begun(&sessions, Address::ZERO);
        assert!(sessions.see(&headers(&id, "another"), 1_001).is_none());
        assert!(sessions.see(&headers(&id, "one"), 1_001).is_none());
    }

    #[test]
    fn signing_out_everywhere_ends_ones_own_sessions_only() {
        let sessions = Sessions::default();
        let (one, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let ids = [begun(&sessions, one), begun(&sessions, one), begun(&sessions, other)];
        sessions.end_all(one);
        let left = ids.map(|id| sessions.see(&headers(&id, "one"), 1_001).is_some());
        assert_eq!(left, [false, false, true]);
    }
}
