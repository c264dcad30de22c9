use proptest::prelude::*;

use super::*;

fn item(code: &str, quantity: u32, cents: u128) -> Item {
    Item { code: code.into(), quantity, unit_price: Cents(cents) }
}

/// Thirty tablets of lisinopril, dispensed.
fn done() -> Performed {
    Performed {
        source: Source::Prescription,
        texts: vec!["lisinopril 10 MG Oral Tablet".into()],
        units: 30,
        contested: false,
    }
}

/// So many units of something, dispensed.
fn dispensed(text: &str, units: u32) -> Performed {
    Performed { texts: vec![text.into()], units, ..done() }
}

const POLICY: Policy<'static> =
    Policy { plan: "plus", copayment: 1_000, remaining: Cents(100_000), authorised: None };

fn decided(policy: &Policy<'_>, items: &[(&str, u32, u128)], done: &Performed) -> Adjudication {
    let items: Vec<Item> =
        items.iter().map(|(code, quantity, cents)| item(code, *quantity, *cents)).collect();
    adjudicate(policy, &items, done, Tariff::demonstration()).unwrap()
}

/// What is approved of each item, in cents, and the flags.
#[track_caller]
fn check(
    policy: &Policy<'_>,
    items: &[(&str, u32, u128)],
    done: &Performed,
    expected: (&[u128], Flags),
) {
    let decided = decided(policy, items, done);
    let approved: Vec<u128> = decided.items.iter().map(|item| item.approved.0).collect();
    assert_eq!((&*approved, decided.flags()), expected, "{decided:?}");
    // What holds of every decision.
    assert_eq!(decided.approved.0, approved.iter().sum::<u128>());
    assert!(decided.approved <= decided.claimed);
    assert!(decided.share <= decided.approved && decided.share <= policy.remaining);
    assert_eq!(decided.share.plus(decided.copayment()), Some(decided.approved));
    assert!(decided.items.iter().all(|item| item.approved <= item.claimed));
    assert_eq!(decided.flags() == Flags::NONE, decided.approved == decided.claimed);
    let cut = decided.items.iter().filter(|item| item.approved < item.claimed);
    assert!(cut.clone().all(|item| !item.findings.is_empty()), "each cut has a reason");
}

const FEE: (&str, u32, u128) = ("RX-DISPENSING-FEE", 1, 450);
const TABLETS: (&str, u32, u128) = ("RX-LISINOPRIL-10", 30, 12);

#[test]
fn what_the_tariff_pays_is_approved_whole() {
    check(&POLICY, &[TABLETS, FEE], &done(), (&[360, 450], Flags::NONE));
    check(&POLICY, &[("RX-LISINOPRIL-10", 10, 3)], &done(), (&[30], Flags::NONE));
    let test =
        Performed { source: Source::LabOrder, texts: vec![String::new()], units: 1, ..done() };
    check(&POLICY, &[("LAB-TEST", 1, 2_800)], &test, (&[2_800], Flags::NONE));
    let hip = Performed {
        source: Source::Surgery,
        texts: vec!["total replacement of the left hip".into()],
        units: 1,
        ..done()
    };
    check(&POLICY, &[("OP-HIP", 1, 1_000)], &hip, (&[1_000], Flags::NONE));
}

#[test]
fn what_is_too_dear_is_cut_to_the_tariff() {
    check(&POLICY, &[("RX-LISINOPRIL-10", 30, 20)], &done(), (&[360], Flags::EXCESSIVE));
    check(
        &POLICY,
        &[TABLETS, ("RX-DISPENSING-FEE", 1, 451)],
        &done(),
        (&[360, 450], Flags::EXCESSIVE),
    );
    check(&POLICY, &[("RX-DISPENSING-FEE", 2, 450)], &done(), (&[450], Flags::EXCESSIVE));
    let many = Performed { units: 200, ..done() };
    check(&POLICY, &[("RX-LISINOPRIL-10", 200, 12)], &many, (&[1_200], Flags::EXCESSIVE));
}

#[test]
fn what_says_more_than_the_record_is_flagged_and_cut() {
    // As something dearer, more of it, something else, and of another workflow.
    check(&POLICY, &[("RX-LISINOPRIL-BRAND", 30, 48)], &done(), (&[360], Flags::UPCODED));
    check(&POLICY, &[("RX-LISINOPRIL-10", 90, 12)], &done(), (&[360], Flags::UPCODED));
    check(&POLICY, &[("RX-TRAMADOL-50", 20, 18)], &done(), (&[240], Flags::UPCODED));
    check(&POLICY, &[("LAB-TEST", 1, 2_800)], &done(), (&[0], Flags::UPCODED));
    let unknown = Performed { texts: vec!["metformin 500 MG".into()], ..done() };
    check(&POLICY, &[TABLETS], &unknown, (&[0], Flags::UPCODED));
    let hip = Performed {
        source: Source::Surgery,
        texts: vec!["replacement of the left hip".into()],
        units: 1,
        ..done()
    };
    let limit = Policy { remaining: Cents(10_000_000), ..POLICY };
    check(&limit, &[("OP-KNEE", 1, 1_240_000)], &hip, (&[1_150_000], Flags::UPCODED));
}

#[test]
fn no_document_makes_an_operation_dearer_than_another_says() {
    let operation = |referral: &str, report: &str| Performed {
        source: Source::Surgery,
        texts: vec![referral.into(), report.into()],
        units: 1,
        ..done()
    };
    let limit = Policy { remaining: Cents(10_000_000), ..POLICY };
    let (hip, cataract) = (("OP-HIP", 1, 1_150_000), ("OP-CATARACT", 1, 165_000));
    let (both, upcoded) = ((&[1_150_000][..], Flags::NONE), (&[165_000][..], Flags::UPCODED));
    check(&limit, &[hip], &operation("a new hip", "total hip replacement"), both);
    // The report says more than the referral, or less.
    check(&limit, &[hip], &operation("cataract", "total hip replacement"), upcoded);
    check(&limit, &[hip], &operation("a new hip", "cataract of the left eye"), upcoded);
    let less = (&[165_000][..], Flags::NONE);
    check(&limit, &[cataract], &operation("a new hip", "cataract of the left eye"), less);
    // What nobody pays for was done, or referred for.
    let nothing = (&[0][..], Flags::UPCODED);
    check(&limit, &[hip], &operation("a new hip", "opened and closed again"), nothing);
    check(&limit, &[hip], &operation("to be seen", "total hip replacement"), nothing);
}

#[test]
fn one_service_is_paid_once_whatever_it_is_claimed_as() {
    let eye = Performed {
        source: Source::Surgery,
        texts: vec!["cataract of the right eye".into()],
        units: 1,
        ..done()
    };
    let limit = Policy { remaining: Cents(10_000_000), ..POLICY };
    let (cataract, hip, knee) =
        (("OP-CATARACT", 1, 165_000), ("OP-HIP", 1, 1_150_000), ("OP-KNEE", 1, 1_240_000));
    check(&limit, &[cataract, hip, knee], &eye, (&[165_000, 0, 0], Flags::UPCODED));
    check(&limit, &[knee, cataract, hip], &eye, (&[165_000, 0, 0], Flags::UPCODED));
    // Thirty tablets under three codes, each for what it is at most.
    let (tramadol, brand) = (("RX-TRAMADOL-50", 20, 18), ("RX-LISINOPRIL-BRAND", 20, 48));
    check(
        &POLICY,
        &[tramadol, brand, TABLETS, FEE],
        &done(),
        (&[240, 120, 0, 450], Flags::UPCODED),
    );
    // Nor are more units paid for under two codes than under one.
    let many = Performed { units: 200, ..done() };
    let flags = Flags::UPCODED.and(Flags::EXCESSIVE);
    let items = [("RX-LISINOPRIL-10", 80, 12), ("RX-LISINOPRIL-BRAND", 80, 48)];
    check(&POLICY, &items, &many, (&[960, 240], flags));
}

#[test]
fn what_is_claimed_as_something_cheaper_is_told() {
    let cheaper = decided(&POLICY, &[("RX-LISINOPRIL-10", 30, 12)], &dispensed("amoxicillin", 30));
    assert_eq!((cheaper.approved, cheaper.flags()), (Cents(360), Flags::NONE));
    let told = Finding::Otherwise { code: "RX-AMOXICILLIN-500".into() };
    assert_eq!(cheaper.items[0].findings, [told]);
    assert!(
        cheaper.items[0].findings[0].to_string().ends_with("of what RX-AMOXICILLIN-500 is for")
    );
}

#[test]
fn what_the_plan_excludes_is_excluded_under_another_code_too() {
    let (basic, done) = (Policy { plan: "basic", ..POLICY }, dispensed("sildenafil", 8));
    let items =
        [("RX-TRAMADOL-50", 8, 18), ("RX-LISINOPRIL-10", 8, 12), ("RX-AMOXICILLIN-500", 8, 25)];
    let flags = Flags::NOT_COVERED.and(Flags::UPCODED);
    check(&basic, &items, &done, (&[0, 0, 0], flags));
    // What was granted for something else does not pay for it, and neither is more paid for than was done.
    let granted = Policy { authorised: Some(Cents(10_000)), ..basic };
    check(&granted, &items[..1], &done, (&[0], flags));
    check(&granted, &[("RX-SILDENAFIL-50", 9, 320)], &done, (&[0], flags));
    check(&granted, &[("RX-SILDENAFIL-50", 8, 320)], &done, (&[2_560], Flags::NONE));
    check(&POLICY, &[("RX-SILDENAFIL-50", 8, 320)], &done, (&[2_560], Flags::NONE));
}

#[test]
fn what_the_plan_or_the_tariff_does_not_know_is_not_covered() {
    check(&POLICY, &[("RX-PLANTED", 1, 1)], &done(), (&[0], Flags::NOT_COVERED));
    let basic = Policy { plan: "basic", ..POLICY };
    let flags = Flags::NOT_COVERED;
    check(
        &basic,
        &[("RX-SILDENAFIL-50", 8, 320), FEE],
        &dispensed("sildenafil", 8),
        (&[0, 450], flags),
    );
    // The brand, which was not ordered either.
    let flags = flags.and(Flags::UPCODED);
    check(&basic, &[("RX-LISINOPRIL-BRAND", 30, 48), TABLETS], &done(), (&[0, 360], flags));
}

#[test]
fn an_item_counts_once() {
    check(&POLICY, &[TABLETS, TABLETS], &done(), (&[360, 0], Flags::DUPLICATE));
}

#[test]
fn what_did_not_happen_is_not_paid() {
    let contested = Performed { contested: true, ..done() };
    check(&POLICY, &[TABLETS, FEE], &contested, (&[0, 0], Flags::UPCODED));
}

#[test]
fn the_limit_cuts_from_the_last_item_on() {
    let policy = Policy { remaining: Cents(700), ..POLICY };
    // A share of 700 is of at most 778 cents: 778 * 0.9 = 700.2.
    check(&policy, &[TABLETS, FEE], &done(), (&[360, 418], Flags::EXCESSIVE));
    let policy = Policy { remaining: Cents(0), ..POLICY };
    // Of one cent, the share rounds to none.
    check(&policy, &[TABLETS, FEE], &done(), (&[1, 0], Flags::EXCESSIVE));
    let policy = Policy { remaining: Cents(0), copayment: WHOLE, ..POLICY };
    check(&policy, &[TABLETS, FEE], &done(), (&[360, 450], Flags::NONE));
    let policy = Policy { remaining: Cents(729), ..POLICY };
    check(&policy, &[TABLETS, FEE], &done(), (&[360, 450], Flags::NONE));
}

/// K7 of `Claims.sol`.
#[test]
fn what_was_granted_is_approved_unless_the_claim_is_wrong() {
    let granted = |cents| Policy { authorised: Some(Cents(cents)), plan: "basic", ..POLICY };
    let (brand, ordered) = (("RX-LISINOPRIL-BRAND", 10, 48), dispensed("Zestril", 30));
    check(&granted(0), &[brand], &ordered, (&[0], Flags::NOT_COVERED));
    check(&granted(300), &[brand], &ordered, (&[300], Flags::NOT_COVERED));
    check(&granted(480), &[brand], &ordered, (&[480], Flags::NONE));
    check(&granted(9_999), &[brand], &ordered, (&[480], Flags::NONE));
    // It does not bind to what is excessive or upcoded.
    check(&granted(9_999), &[("RX-LISINOPRIL-10", 30, 20)], &done(), (&[360], Flags::EXCESSIVE));
    check(&granted(9_999), &[("RX-LISINOPRIL-10", 90, 12)], &done(), (&[360], Flags::UPCODED));
    let limited = Policy { remaining: Cents(90), ..granted(480) };
    check(&limited, &[brand], &ordered, (&[101], Flags::NOT_COVERED.and(Flags::EXCESSIVE)));
}

#[test]
fn an_adjudicator_raises_at_most_to_what_is_claimed() {
    let items = [("RX-LISINOPRIL-10", 30, 20), ("RX-DISPENSING-FEE", 1, 500)];
    let mut raised = decided(&POLICY, &items, &done());
    assert_eq!((raised.approved, raised.claimed), (Cents(810), Cents(1_100)));
    raised.raise_to(Cents(700)).unwrap();
    assert_eq!(raised.approved, Cents(810), "nothing gets less");
    raised.raise_to(Cents(1_060)).unwrap();
    assert_eq!((raised.items[0].approved, raised.items[1].approved), (Cents(600), Cents(460)));
    assert_eq!((raised.approved, raised.flags()), (Cents(1_060), Flags::EXCESSIVE));
    raised.raise_to(Cents(u128::MAX)).unwrap();
    assert_eq!((raised.approved, raised.flags()), (Cents(1_100), Flags::NONE));
    assert_eq!((raised.share, raised.copayment()), (Cents(990), Cents(110)));
}

#[track_caller]
fn refused(policy: &Policy<'_>, items: &[Item], expected: RulesError) {
    let refused = adjudicate(policy, items, &done(), Tariff::demonstration());
    assert_eq!(refused, Err(expected));
}

#[test]
fn what_cannot_be_counted_is_refused() {
    refused(&POLICY, &[], RulesError::Items);
    let one = item("RX-DISPENSING-FEE", 1, 450);
    refused(&POLICY, &vec![one.clone(); ITEMS_MAX + 1], RulesError::Items);
    let most = item("RX-DISPENSING-FEE", 2, u128::MAX);
    refused(&POLICY, std::slice::from_ref(&most), RulesError::Overflow);
    refused(&POLICY, &[item("RX-DISPENSING-FEE", 1, u128::MAX), one.clone()], RulesError::Overflow);
    refused(
        &Policy { plan: "planted", ..POLICY },
        std::slice::from_ref(&one),
        RulesError::UnknownPlan,
    );
    refused(&Policy { copayment: WHOLE + 1, ..POLICY }, &[one], RulesError::Copayment);
    // The most there is of one item is counted, and cut.
    check(&POLICY, &[("RX-DISPENSING-FEE", 1, u128::MAX)], &done(), (&[450], Flags::EXCESSIVE));
    check(&POLICY, &[("RX-LISINOPRIL-10", 0, 12)], &done(), (&[0], Flags::NONE));
}

#[test]
fn tariffs_that_make_no_sense_are_refused() {
    let tariff = Tariff::demonstration();
    assert!(tariff.about.contains("insurer") && tariff.source.contains("own tariff"));
    assert_ne!(tariff.digest(), B256::ZERO);
    let text = include_str!("../tariff.json");
    for (from, to) in [
        ("\"RX-TRAMADOL-50\"", "\"RX-AMOXICILLIN-500\""),
        ("\"excluded\": [\"RX-SILDENAFIL-50\"", "\"excluded\": [\"RX-PLANTED\""),
        ("\"plan\": \"plus\"", "\"plan\": \"basic\""),
        ("\"cents\": 450", "\"cents\": 4.5"),
        ("\"cents\": 450", "\"cents\": -450"),
        ("\"words\": [\"hip\"]", "\"words\": [\"Hip\"]"),
        ("\"service\": \"surgery\"", "\"service\": \"planted\""),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        assert!(Tariff::parse(&wrong).is_err(), "{to}");
    }
    let other = Tariff::parse(&text.replacen("\"cents\": 450", "\"cents\": 451", 1)).unwrap();
    assert_ne!(other.digest(), tariff.digest());
}

#[test]
fn flags_are_said_in_words() {
    assert_eq!(Flags::NONE.to_string(), "no flags");
    assert_eq!(Flags(130).to_string(), "upcoded, contested");
    for source in ["prescription", "lab-order", "surgery"] {
        let parsed: Source = source.parse().unwrap();
        assert_eq!(Source::from_number(parsed.number()), Some(parsed));
    }
    assert!("planted".parse::<Source>().is_err());
}

/// Items as somebody may claim them, known to the tariff or not.
fn items() -> impl Strategy<Value = Vec<Item>> {
    let codes = Tariff::demonstration().lines.iter().map(|line| line.code.clone());
    let codes: Vec<String> = codes.chain(["RX-PLANTED".to_owned()]).collect();
    let item = (prop::sample::select(codes), 0_u32..120, 0_u128..60)
        .prop_map(|(code, quantity, cents)| Item { code, quantity, unit_price: Cents(cents) });
    prop::collection::vec(item, 1..6)
}

proptest! {
    /// Whatever is claimed: K3, K5 and K7 of `Claims.sol`, and what the contract takes.
    #[test]
    fn no_claim_gets_more_than_it_may(
        items in items(),
        (copayment, remaining) in (0..=WHOLE, 0_u128..5_000),
        authorised in prop::option::of(0_u128..5_000),
        contested in prop::bool::weighted(0.1),
        is_basic in any::<bool>(),
        text in prop::sample::select(vec!["lisinopril", "Zestril (lisinopril)", "sildenafil", "metformin"]),
        units in 0_u32..150,
    ) {
        let policy = Policy {
            plan: if is_basic { "basic" } else { "plus" },
            copayment,
            remaining: Cents(remaining),
            authorised: authorised.map(Cents),
        };
        let done = Performed { contested, ..dispensed(text, units) };
        let made = adjudicate(&policy, &items, &done, Tariff::demonstration()).unwrap();
        prop_assert_eq!(made.claimed, total(&items).unwrap());
        prop_assert!(made.approved <= made.claimed && made.share <= policy.remaining);
        prop_assert_eq!(made.approved.share(copayment), Some(made.share));
        prop_assert_eq!(made.share.plus(made.copayment()), Some(made.approved));
        prop_assert_eq!(made.flags() == Flags::NONE, made.approved == made.claimed);
        for item in &made.items {
            prop_assert!(item.approved <= item.claimed);
            prop_assert!(item.approved == item.claimed || !item.findings.is_empty());
        }
        // Whatever it is claimed as: not more of it than was done, and none dearer.
        let tariff = Tariff::demonstration();
        let is_worded = |item: &Item| tariff.line(&item.code).is_some_and(|line| !line.accompanies());
        let worded = items.iter().zip(&made.items).filter(|(item, _)| is_worded(item));
        let paid: u128 = worded.map(|(_, decided)| decided.approved.0).sum();
        let named = tariff.lines.iter().filter(|line| line.names(&done.texts[0]));
        let dearest = named.map(|line| line.cents).max().unwrap_or_default();
        let by_rules = u128::from(done.units) * u128::from(dearest);
        prop_assert!(paid <= by_rules.max(policy.authorised.unwrap_or_default().0));
        let unbound = Flags::DUPLICATE.and(Flags::UPCODED).and(Flags::EXCESSIVE);
        if !made.flags().has(unbound) {
            prop_assert!(made.approved >= policy.authorised.unwrap_or_default().min(made.claimed));
        }
        // An appeal never takes anything away.
        let mut raised = made.clone();
        raised.raise_to(Cents(remaining)).unwrap();
        prop_assert!(raised.approved >= made.approved && raised.approved <= raised.claimed);
    }
}
