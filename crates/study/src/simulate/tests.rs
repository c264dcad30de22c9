use super::*;

fn inputs(name: &str) -> Inputs {
    let population = presets().into_iter().find(|preset| preset.name == name).unwrap();
    Inputs {
        population,
        layout: Layout::default(),
        engine: Engine::default(),
        price: Price { gwei: 1.367, usd_per_ether: 1_857.16 },
    }
}

/// A hundred people, whose year can be worked out by hand.
fn village() -> Inputs {
    let mut inputs = inputs("city");
    inputs.population = Population {
        name: "village".into(),
        people: 100.0,
        institutions: 2.0,
        records: 30.0,
        reads: 60.0,
        signatures: 4.0,
        joining: 0.01,
    };
    inputs
}

#[test]
fn a_village_is_what_it_is_by_hand() {
    let inputs = village();
    let year = inputs.year().unwrap();
    // 1,500 records at each of two institutions are two batches of up to a thousand; 3,000 reads are one batch.
    assert_eq!((year.joining, year.signatures, year.anchors, year.appends), (3.0, 400.0, 4.0, 2.0));
    assert_eq!(year.transactions, 409.0);
    let gas = |name: &str| operation(name).gas;
    let joining = gas("account.create") + gas("relationship.propose") + gas("relationship.accept");
    let expected = joining
        + 400.0 * gas("consent.grant")
        + 4.0 * gas("record.anchor-batch")
        + 2.0 * gas("access-log.append");
    assert_eq!(year.gas, expected);
    assert_eq!(year.ether, expected * 1.367 * 1e-9);
    assert_eq!(year.usd, year.ether * 1_857.16);
    // A year has more seconds than the village has transactions.
    assert_eq!(year.blocks, 409.0);
    let engine = &inputs.engine;
    assert_eq!(
        year.vault_bytes,
        3_000.0 * engine.record_bytes * 2.0 + 6_000.0 * engine.receipt_bytes
    );
    assert_eq!(year.institution_vault_bytes, year.vault_bytes / 2.0);
    let slots = 700.0 + 10.0 * (7.0 + 404.0);
    assert_eq!(year.state_bytes, slots * engine.state_bytes_per_slot);
    // Two batches a year: a record waits for half a year, which tells that a thousand is too many for a village.
    assert_eq!(year.anchor_wait_seconds, YEAR_SECONDS / 2.0);
}

#[test]
fn without_batches_each_record_is_a_transaction() {
    let mut inputs = village();
    inputs.layout.batch = 1.0;
    let alone = inputs.year().unwrap();
    assert_eq!(alone.anchors, 3_000.0);
    let gas = operation("record.propose").gas;
    let batched = village().year().unwrap();
    let rest = batched.gas - 4.0 * operation("record.anchor-batch").gas;
    assert_eq!(alone.gas, rest + 3_000.0 * gas);
}

#[test]
fn more_work_takes_no_less_of_anything() {
    let more: [fn(&mut Inputs); 6] = [
        |inputs| inputs.population.people *= 2.0,
        |inputs| inputs.population.records *= 2.0,
        |inputs| inputs.population.reads *= 2.0,
        |inputs| inputs.population.signatures *= 2.0,
        |inputs| inputs.population.joining *= 2.0,
        |inputs| inputs.layout.copies += 1.0,
    ];
    for preset in presets() {
        let inputs = inputs(&preset.name);
        let before = inputs.year().unwrap();
        for change in more {
            let mut changed = inputs.clone();
            change(&mut changed);
            let after = changed.year().unwrap();
            let figures = |year: &Year| {
                [
                    year.transactions,
                    year.blocks,
                    year.gas,
                    year.log_bytes,
                    year.state_bytes,
                    year.vault_bytes,
                    year.validator_bytes_per_second,
                    year.institution_bytes_per_second,
                    year.usd,
                ]
            };
            for (one, other) in figures(&before).into_iter().zip(figures(&after)) {
                assert!(other >= one, "{}: {one} became {other}", preset.name);
            }
        }
    }
}

#[test]
fn larger_batches_cost_less_and_wait_longer() {
    let mut inputs = inputs("ireland");
    let mut earlier: Option<Year> = None;
    for batch in [1.0, 10.0, 100.0, 1_000.0] {
        inputs.layout.batch = batch;
        let year = inputs.year().unwrap();
        if let Some(earlier) = earlier {
            assert!(year.gas < earlier.gas && year.log_bytes < earlier.log_bytes);
            assert!(year.anchor_wait_seconds > earlier.anchor_wait_seconds);
        }
        earlier = Some(year);
    }
}

#[test]
fn each_preset_gets_to_a_layout_that_holds() {
    let bottlenecks = |name: &str| {
        let (steps, layout) = steps(&inputs(name)).unwrap();
        let last = steps.last().unwrap();
        assert!(last.bottleneck.times <= 1.0, "{name}: {last:?}");
        assert_eq!(steps[0].remedy, None);
        assert!(steps[1..].iter().all(|step| step.remedy.is_some()));
        (steps, layout)
    };
    let (steps, layout) = bottlenecks("city");
    assert_eq!((steps.len(), layout.ledgers), (1, 1.0), "a city needs no batches");
    let (_, ireland) = bottlenecks("ireland");
    assert_eq!(ireland.ledgers, 1.0, "Ireland is one ledger");
    let (_, world) = bottlenecks("world");
    assert!(world.ledgers > 1.0 && world.batch > 1.0 && world.stores, "{world:?}");
}

#[test]
fn the_bottleneck_is_the_largest_load() {
    let mut inputs = inputs("city");
    inputs.engine.gateway_reads_per_second = 1e-6;
    let loads = inputs.loads().unwrap();
    assert_eq!(loads[0].resource, Resource::Reads);
    assert!(loads.windows(2).all(|pair| pair[0].times >= pair[1].times));
    let (steps, layout) = steps(&inputs).unwrap();
    assert!(matches!(steps[1].remedy, Some(Remedy::Gateways(_))), "{steps:?}");
    assert!(layout.gateways > 1.0);
}

#[test]
fn figures_that_cannot_be_are_refused() {
    #[track_caller]
    fn check(change: impl Fn(&mut Inputs), expected: &str) {
        let mut inputs = inputs("city");
        change(&mut inputs);
        assert_eq!(inputs.year().unwrap_err().to_string(), expected);
        assert_eq!(steps(&inputs).unwrap_err().to_string(), expected);
    }
    check(|inputs| inputs.population.people = 0.0, "`people` must be a number above 0");
    check(
        |inputs| inputs.population.institutions = -1.0,
        "`institutions` must be a number above 0",
    );
    check(|inputs| inputs.layout.batch = f64::NAN, "`batch` must be a number above 0");
    check(|inputs| inputs.engine.gas_per_second = 0.0, "`gas_per_second` must be a number above 0");
    check(|inputs| inputs.population.records = -1.0, "`records` must be 0 or a number above it");
    check(|inputs| inputs.price.gwei = f64::INFINITY, "`gwei` must be 0 or a number above it");
    check(|inputs| inputs.population.people = 1e16, "`people` must not be above 1000000000000000");
}

#[test]
fn every_figure_of_the_engine_says_where_it_is_from() {
    let engine = Engine::default();
    let named = engine.named().map(|(name, _)| name);
    assert_eq!(named, ENGINE_SOURCES.map(|(name, _)| name));
    for (name, source) in ENGINE_SOURCES {
        assert!(source.starts_with("measured: ") || source.starts_with("chosen"), "{name}");
    }
    // The file that overrides them has the same names.
    let text = serde_json::to_value(&engine).unwrap();
    for (name, value) in engine.named() {
        assert_eq!(text[name].as_f64(), Some(value));
    }
    assert!(serde_json::from_str::<Engine>("{\"gas_per_minute\":1}").is_err());
}

/// The default is what the rate of transactions comes to with the operations of today.
#[test]
fn gas_in_a_second_follows_from_the_measured_rate() {
    let engine = Engine::default();
    let mix = 0.85 * operation("record.propose").gas + 0.15 * operation("consent.grant-by-key").gas;
    let follows = engine.transactions_per_second * mix;
    assert!((engine.gas_per_second / follows - 1.0).abs() < 0.01, "{follows}");
}

#[test]
fn nothing_to_do_takes_nothing() {
    let mut inputs = inputs("city");
    let population = &mut inputs.population;
    for rate in [&mut population.records, &mut population.reads, &mut population.signatures] {
        *rate = 0.0;
    }
    population.joining = 0.0;
    let year = inputs.year().unwrap();
    assert_eq!((year.transactions, year.gas, year.log_bytes, year.usd), (0.0, 0.0, 0.0, 0.0));
}
