//! The door before every page: who is let in, whose form is taken, what every answer says to browsers, and whose
//! name everything is asked in. Tried over the whole table of routes, as everybody.

use axum::http::{Method, StatusCode};
use portal::{Listed, listed};
use serde_json::json;

use crate::house::{Answer, House, ORIGIN, everybody, person};

/// A path of a route, with something in its places.
fn path(route: &Listed) -> String {
    let id = format!("0x{}", "11".repeat(32));
    let mut path = String::new();
    for part in route.path.split('/').skip(1) {
        let value = match part {
            "{type}" => "Observation",
            "{digest}" => "00",
            "{name}" => "salus.css",
            "{patient}" => "x",
            "{id}" if route.path.starts_with("/sign") => &id,
            "{id}" => "x",
            _ if part.starts_with('{') => "1",
            _ => part,
        };
        path.push('/');
        path.push_str(value);
    }
    path
}

/// Whether an answer is the door's, which lets nobody in.
fn is_turned_away(answer: &Answer) -> bool {
    match answer.status {
        StatusCode::FORBIDDEN => answer.body.contains("This page is for"),
        StatusCode::SEE_OTHER => answer.header("location").starts_with("/sign-in?next="),
        StatusCode::UNAUTHORIZED => true,
        _ => false,
    }
}

#[tokio::test]
async fn everybody_gets_in_where_the_table_says_and_nowhere_else() {
    let house = House::new();
    for (name, reader) in everybody() {
        let mut browser = house.browser();
        match &reader {
            Some(reader) => drop(browser.sign_in(reader.address()).await),
            None => browser.open().await,
        }
        for route in listed() {
            if route.path.starts_with("/sign-out") {
                continue;
            }
            let answer = match route.method {
                Method::POST => browser.post(&path(&route), "").await,
                _ => browser.get(&path(&route)).await,
            };
            let is_for = route.is_for(reader.as_ref());
            assert_eq!(!is_turned_away(&answer), is_for, "{name}: {route:?}: {answer:?}");
            browser.keep_session();
        }
    }
}

#[tokio::test]
async fn everything_is_asked_as_whoever_is_signed_in() {
    let house = House::new();
    for (name, reader) in everybody() {
        let Some(reader) = reader else { continue };
        let mut browser = house.browser();
        browser.sign_in(reader.address()).await;
        house.forget_asked();
        for route in listed() {
            if route.path.starts_with("/sign-out") {
                continue;
            }
            match route.method {
                Method::POST => drop(browser.post(&path(&route), "").await),
                _ => drop(browser.get(&path(&route)).await),
            }
            browser.keep_session();
        }
        let own = format!("Bearer token-of-{}", reader.address());
        let asked = house.asked();
        assert!(asked.iter().all(|asked| *asked == own), "{name}: {asked:?}");
    }
}

#[tokio::test]
async fn nothing_is_done_that_another_site_sends() {
    let house = House::new();
    let patient = person("patient");
    let mut browser = house.browser();
    browser.sign_in(patient.address()).await;
    for route in listed().into_iter().filter(|route| route.method == Method::POST) {
        house.forget_asked();
        for origin in [None, Some("https://evil.example"), Some("null"), Some("http://localhost:1")]
        {
            let answer = browser.post_from(origin, &path(&route), "", true).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{route:?} from {origin:?}");
        }
        // From here, and without the session's token.
        let answer = browser.post_from(Some(ORIGIN), &path(&route), "", false).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{route:?} without a token");
        let answer = browser.post_from(Some(ORIGIN), &path(&route), "csrf=00", false).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{route:?} with a wrong token");
        assert_eq!(house.asked(), Vec::<String>::new(), "{route:?}");
    }
}

#[tokio::test]
async fn every_answer_tells_browsers_what_it_may_do() {
    let house = House::new();
    let mut browser = house.browser();
    browser.sign_in(person("patient").address()).await;
    for route in listed() {
        if route.path.starts_with("/sign-out") {
            continue;
        }
        let answer = match route.method {
            Method::POST => browser.post(&path(&route), "").await,
            _ => browser.get(&path(&route)).await,
        };
        let policy = answer.header("content-security-policy");
        for part in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{route:?}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{route:?}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{route:?}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{route:?}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{route:?}");
        assert!(!answer.header("cache-control").is_empty(), "{route:?}");
        assert!(!answer.body.contains(" style=") && !answer.body.contains("<script>"), "{route:?}");
        assert!(!answer.body.contains("onclick"), "{route:?}");
        browser.keep_session();
    }
}

#[tokio::test]
async fn a_session_planted_before_signing_in_is_worth_nothing() {
    let house = House::new();
    let mut browser = house.browser();
    browser.get("/sign-in").await;
    let planted = browser.cookie();
    assert!(!planted.is_empty());
    browser.sign_in(person("patient").address()).await;
    assert_ne!(browser.cookie(), planted);
    let mut other = house.browser();
    other.set_cookie(&planted);
    let answer = other.get("/patient").await;
    assert!(is_turned_away(&answer), "{answer:?}");
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
    let house = House::new();
    let mut browser = house.browser();
    let answer = browser.sign_in(person("patient").address()).await;
    let set = answer.header("set-cookie");
    assert!(set.starts_with("__Host-salus="), "{set}");
    for flag in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(flag), "{set}");
    }
    assert!(!set.contains("Domain") && !set.contains("Max-Age"), "{set}");
}

#[tokio::test]
async fn nobody_is_led_elsewhere() {
    let house = House::new();
    let mut browser = house.browser();
    for elsewhere in
        ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
    {
        let encoded: String = url::form_urlencoded::byte_serialize(elsewhere.as_bytes()).collect();
        let page = browser.get(&format!("/sign-in?next={encoded}")).await;
        assert!(
            !page.body.contains("evil.example") && !page.body.contains("javascript:"),
            "{}",
            page.body
        );
        let who = person("patient").address();
        let picked =
            browser.post("/sign-in/demonstration", &format!("who={who}&next={encoded}")).await;
        assert_eq!(picked.header("location"), "/", "{elsewhere}");
        browser.get("/account").await;
        let looked = browser.post("/look", &format!("look=dark&back={encoded}")).await;
        assert_eq!(looked.header("location"), "/", "{elsewhere}");
    }
}

#[tokio::test]
async fn sessions_end() {
    let house = House::new();
    let patient = person("patient").address();
    let (mut one, mut two) = (house.browser(), house.browser());
    one.sign_in(patient).await;
    two.sign_in(patient).await;
    let cookie = one.cookie();
    assert_eq!(one.post("/sign-out", "").await.status, StatusCode::SEE_OTHER);
    one.set_cookie(&cookie);
    assert!(is_turned_away(&one.get("/patient").await), "signed out");
    assert!(!is_turned_away(&two.get("/patient").await), "elsewhere still signed in");
    one.sign_in(patient).await;
    one.post("/sign-out/everywhere", "").await;
    assert!(is_turned_away(&two.get("/patient").await), "signed out everywhere");
    two.sign_in(patient).await;
    house.pass(15 * 60 * 1_000);
    assert!(is_turned_away(&two.get("/patient").await), "not used for a quarter of an hour");
}

#[tokio::test]
async fn whoever_is_nobody_any_more_is_signed_out() {
    let house = House::new();
    let mut browser = house.browser();
    let physician = person("physician").address();
    browser.sign_in(physician).await;
    assert!(!is_turned_away(&browser.get("/clinician").await));
    house.end_accreditation(physician);
    assert!(is_turned_away(&browser.get("/clinician").await));
}

#[tokio::test]
async fn signing_in_again_and_again_is_slowed_down() {
    let house = House::new();
    let patient = person("patient").address();
    let mut statuses = Vec::new();
    for _ in 0..9 {
        let mut browser = house.browser();
        statuses.push(browser.sign_in(patient).await.status);
    }
    assert_eq!(statuses[7], StatusCode::SEE_OTHER);
    assert_eq!(statuses[8], StatusCode::TOO_MANY_REQUESTS);
    let mut browser = house.browser();
    let other = browser.sign_in(person("physician").address()).await;
    assert_eq!(other.status, StatusCode::SEE_OTHER, "nobody else is kept waiting");
}

#[tokio::test]
async fn only_a_demonstration_lets_anybody_be_anybody() {
    let house = House::real();
    let mut browser = house.browser();
    let page = browser.get("/sign-in").await;
    assert!(!page.body.contains("demonstration"), "{}", page.body);
    let answer = browser.sign_in(person("patient").address()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_wallet_signs_in_with_its_own_message_once() {
    let house = House::new();
    let mut browser = house.browser();
    browser.get("/sign-in").await;
    let wallet = house.wallet();
    let asked = json!({ "address": wallet.address() });
    let challenge = browser.post_json("/sign-in/wallet/challenge", &asked).await;
    let message = challenge.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("localhost:8081 wants you to sign in"), "{message}");
    let signature = wallet.sign(&message);
    let answer = json!({ "signature": signature, "next": "//evil.example" });
    let entered = browser.post_json("/sign-in/wallet/answer", &answer).await;
    assert_eq!((entered.status, entered.json()["next"].clone()), (StatusCode::OK, json!("/")));
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);

    // Not twice, and not in another browser.
    let again = browser.post_json("/sign-in/wallet/answer", &answer).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    let mut other = house.browser();
    other.get("/sign-in").await;
    other.post_json("/sign-in/wallet/challenge", &asked).await;
    let stolen = other.post_json("/sign-in/wallet/answer", &answer).await;
    assert_eq!(stolen.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_message_is_answered_in_time() {
    let house = House::new();
    let mut browser = house.browser();
    browser.get("/sign-in").await;
    let wallet = house.wallet();
    let asked = json!({ "address": wallet.address() });
    let challenge = browser.post_json("/sign-in/wallet/challenge", &asked).await;
    let signature = wallet.sign(challenge.json()["message"].as_str().unwrap());
    house.pass(5 * 60 * 1_000 + 1);
    let late =
        browser.post_json("/sign-in/wallet/answer", &json!({ "signature": signature })).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_passkey_signs_in_when_the_chain_knows_it() {
    let house = House::new();
    let patient = person("patient").address();
    for (key, expected) in
        [(house.passkey(), StatusCode::OK), (house.other_passkey(), StatusCode::FORBIDDEN)]
    {
        let mut browser = house.browser();
        browser.get("/sign-in").await;
        let challenge = browser.post_json("/sign-in/passkey/challenge", &json!({})).await.json();
        assert_eq!(challenge["rpId"], "localhost");
        let answer = key.answer(ORIGIN, challenge["challenge"].as_str().unwrap(), patient);
        let entered = browser.post_json("/sign-in/passkey/answer", &answer).await;
        assert_eq!(entered.status, expected, "{entered:?}");
    }
}

#[tokio::test]
async fn what_stands_in_a_record_is_never_run() {
    let house = House::new();
    for (who, paths) in [
        ("patient", ["/patient/records?kind=KIND", "/patient/records/TYPE/x"]),
        ("physician", ["/clinician/patients/x?kind=KIND", "/clinician/patients/x/TYPE/x"]),
    ] {
        let mut browser = house.browser();
        browser.sign_in(person(who).address()).await;
        for (kind, resource_type) in crate::house::KINDS {
            for path in paths {
                let path = path.replace("KIND", kind).replace("TYPE", resource_type);
                let page = browser.get(&path).await;
                assert_eq!(page.status, StatusCode::OK, "{path}: {page:?}");
                assert!(page.body.contains("planted"), "{path} shows nothing: {}", page.body);
                for run in ["<script>", "<img", "<svg onload", "href=\"javascript", "onerror=\""] {
                    assert!(!page.body.contains(run), "{path} has {run}: {}", page.body);
                }
            }
        }
    }
    // What an address says is no markup either.
    let mut browser = house.browser();
    let page = browser
        .get("/sign-in?as=%3Cscript%3Ealert(1)%3C/script%3E&next=%22%3E%3Cimg%20src=x%3E")
        .await;
    assert!(!page.body.contains("<script>") && !page.body.contains("<img"), "{}", page.body);
}
