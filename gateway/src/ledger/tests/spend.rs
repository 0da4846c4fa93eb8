use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::scope::Scope;
use fleetgate_wire::spend::Sums;
use proptest::prelude::*;

use super::*;
use crate::ledger::journal::Batch;

const USAGE: &str = r#"{"input":10,"output":2}"#;
const SCOPES: [&str; 4] = ["global:all", "key:00ff", "tag:nightly", "key_model:00ff/gpt-x"];

/// Of [`minutes`], what counts from the fifth to the tenth: cost, and what is held.
pub(in crate::ledger) const IN_FIVE_MINUTES: [(&str, (i64, i64)); 13] = [
    ("global:all", (5067, 9)),
    ("key:00ff", (5067, 9)),
    ("host:mac", (5067, 9)),
    ("workload:claude-glm", (5067, 9)),
    ("model:gpt-x", (5067, 9)),
    ("provider:openai", (5067, 9)),
    ("deployment:d", (5067, 9)),
    ("key_model:00ff/gpt-x", (5067, 9)),
    ("key_model:00ff/gpt-y", (0, 0)),
    ("user:anna", (60, 0)),
    ("team:lab", (60, 0)),
    ("customer:c", (60, 0)),
    ("tag:nightly \"x\"", (60, 0)),
];

/// A call before, at the beginning of, in, and at the end of five minutes, and some that count otherwise.
pub(in crate::ledger) fn minutes() -> Vec<Record<'static>> {
    let at = |id: u128, micros: i64, cost: Option<i64>| Record {
        started_at: 900_000_000 + micros,
        cost_nanousd: cost,
        ..record(id)
    };
    let minute = |minute: i64| minute * 60_000_000;
    let named = Record {
        user_id: Some("anna"),
        team_id: Some("lab"),
        customer: Some("c"),
        tags: vec!["a", "nightly \"x\""],
        ..at(4, minute(7), Some(60))
    };
    vec![
        at(1, minute(5) - 1, Some(1)),
        at(2, minute(5), Some(1000)),
        at(3, minute(10) - 1, Some(4000)),
        named,
        at(5, minute(10), Some(2)),
        Record { reserved_nanousd: Some(9), ..at(6, minute(6), None) },
        Record { kind: "tunnel", ..at(7, minute(6), Some(7)) },
    ]
}

/// Ten tokens in and two out, without a price.
fn unpriced(id: u128) -> Record<'static> {
    Record {
        cost_nanousd: None,
        price_source: "unpriced",
        usage: Some(USAGE),
        input_tokens: Some(10),
        output_tokens: Some(2),
        ..record(id)
    }
}

fn at(nanos: i64) -> Cost {
    Cost { amount: Some(NanoDollars(nanos)), source: PriceSource::Catalogue, price_name: Some("list".into()) }
}

async fn apply(world: &World, rows: &[Record<'_>]) {
    let Store::Sqlite(sqlite) = &world.ledger.store else { unreachable!("a file") };
    sqlite.apply(Batch::of(rows), || ()).await.unwrap();
}

/// Name of the group, its calls and its cost.
async fn groups(world: &World, by: &[&str]) -> Vec<(String, u64, i64)> {
    let by: Vec<_> = by.iter().map(|word| Dimension::parse(word).unwrap()).collect();
    let spend = world.ledger.spend(&by, Span::default()).await.unwrap();
    let name = |columns: &serde_json::Map<String, serde_json::Value>| {
        columns.values().map(|cell| cell.as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>().join(" ")
    };
    let line = |group: &fleetgate_wire::spend::Group| (name(&group.columns), group.sums.calls, group.sums.cost_nanousd);
    spend.groups.iter().map(line).collect()
}

#[tokio::test]
async fn what_was_spent_in_a_short_window_is_that_of_its_rows_and_no_neighbours() {
    let world = world().await;
    apply(&world, &minutes()).await;
    for (scope, expected) in IN_FIVE_MINUTES {
        let moment = |minute: i64| Timestamp::from_second(900 + 60 * minute).unwrap();
        let spent = world.ledger.spent(&scope.parse().unwrap(), moment(5), Some(moment(10))).await.unwrap().0;
        let sum = spent.iter().map(|one| (one.cost.0, one.held.0)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        assert_eq!(sum, expected, "{scope}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_counted_and_no_part_of_the_cost() {
    let world = world().await;
    let rows = [
        record(1),
        Record { usage_source: "estimated", ..record(2) },
        unpriced(3),
        Record { usage_source: "none", usage: None, input_tokens: None, output_tokens: None, ..unpriced(4) },
        Record { status: "interrupted", reserved_nanousd: Some(700), usage_source: "none", ..unpriced(5) },
        Record { reserved_nanousd: Some(900), ..record(6) },
        Record { kind: "tunnel", cost_nanousd: Some(0), ..record(7) },
    ];
    apply(&world, &rows).await;
    let spend = world.ledger.spend(&[], Span::default()).await.unwrap();
    let expected = Sums {
        calls: 6,
        input_tokens: 1 + 1 + 10 + 10 + 1,
        output_tokens: 2 + 2,
        cost_nanousd: 15,
        unpriced_calls: 1,
        uncounted_calls: 1,
        estimated_calls: 1,
        interrupted_calls: 1,
        interrupted_reserved_nanousd: 700,
        ..Sums::default()
    };
    assert_eq!(spend.total, expected);
    assert!(spend.groups.is_empty());
}

#[tokio::test]
async fn groups_come_by_cost_and_times_in_their_order() {
    const HOUR: i64 = 3_600_000_000;
    let world = world().await;
    let rows = [
        Record { host: "dgx", started_at: 25 * HOUR, tags: vec!["a", "b"], ..record(1) },
        Record { host: "dgx", started_at: 26 * HOUR, tags: vec!["b"], ..record(2) },
        Record { host: "mac", cost_nanousd: Some(50), user_id: Some("anna"), ..record(3) },
    ];
    apply(&world, &rows).await;
    let line = |name: &str, calls, cost| (name.to_owned(), calls, cost);
    assert_eq!(groups(&world, &["host"]).await, [line("mac", 1, 50), line("dgx", 2, 10)]);
    assert_eq!(groups(&world, &["day"]).await, [line("1970-01-01", 1, 50), line("1970-01-02", 2, 10)]);
    assert_eq!(groups(&world, &["month"]).await, [line("1970-01", 3, 60)]);
    assert_eq!(
        groups(&world, &["hour", "host"]).await[1..],
        [line("dgx 1970-01-02T01", 1, 5), line("dgx 1970-01-02T02", 1, 5)]
    );
    assert_eq!(groups(&world, &["tag"]).await, [line("-", 1, 50), line("b", 2, 10), line("a", 1, 5)]);
    assert_eq!(groups(&world, &["key", "user"]).await, [line("vk-mac 00ff anna", 1, 50), line("vk-mac 00ff -", 2, 10)]);
    let since = Timestamp::from_second(25 * 3_600 + 1).unwrap();
    let late = world.ledger.spend(&[], Span { since: Some(since), until: None }).await.unwrap();
    let early = world.ledger.spend(&[], Span { since: None, until: Some(since) }).await.unwrap();
    assert_eq!((late.total.calls, early.total.calls), (1, 2));
}

#[tokio::test]
async fn a_providers_absurd_count_does_not_stop_the_sums() {
    let world = world().await;
    apply(
        &world,
        &[Record { input_tokens: Some(u64::MAX), ..record(1) }, Record { input_tokens: Some(u64::MAX), ..record(2) }],
    )
    .await;
    assert_eq!(world.ledger.spend(&[], Span::default()).await.unwrap().total.calls, 2);
}

#[tokio::test]
async fn models_without_a_price_are_listed_with_their_newest_call() {
    let world = world().await;
    let rows = [
        record(1),
        unpriced(2),
        Record { started_at: 5_000_000, ..unpriced(3) },
        Record { model: "other", ..unpriced(4) },
        Record { usage_source: "none", ..unpriced(5) },
        Record { status: "interrupted", ..unpriced(6) },
    ];
    apply(&world, &rows).await;
    let listed = world.ledger.unpriced(Span::default()).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|model| (model.model.as_str(), model.calls, model.input_tokens)).collect();
    assert_eq!(seen, [("gpt-x", 2, 20), ("other", 1, 10)]);
    assert_eq!((listed[0].newest.as_str(), listed[0].deployment_id.as_str()), ("1970-01-01T00:00:05.000000Z", "d"));
}

#[tokio::test]
async fn a_new_price_changes_rows_and_sums_once_and_the_first_figure_stays() {
    let world = world().await;
    let rows = [
        Record { tags: vec!["nightly"], reserved_nanousd: Some(90), ..unpriced(1) },
        Record { usage: Some(USAGE), tags: vec!["nightly"], ..record(2) },
        Record { usage: Some(USAGE), price_source: "provider", tags: vec!["nightly"], ..record(3) },
        Record { status: "interrupted", usage_source: "none", usage: None, ..unpriced(4) },
    ];
    apply(&world, &rows).await;
    let all = Repricing::default();
    let reprice = async |wanted: &Repricing, nanos: i64| {
        let batches = std::sync::atomic::AtomicU32::new(0);
        let counted = || {
            batches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let repriced = world.ledger.reprice(wanted, |_| at(nanos), counted).await.unwrap();
        (repriced.changed, repriced.before_nanousd, repriced.after_nanousd, batches.into_inner())
    };
    let dry = Repricing { dry_run: true, ..all.clone() };
    assert_eq!(reprice(&dry, 7).await, (2, 5, 14, 0));
    assert_eq!(sums(&world).await, [(10, 90); 4], "nothing changed");
    assert_eq!(reprice(&all, 7).await, (2, 5, 14, 1));
    assert_eq!(reprice(&all, 7).await, (0, 0, 0, 0), "what is done is not done again");
    assert_eq!(reprice(&all, 8).await, (2, 14, 16, 1));
    let cost =
        |row: fleetgate_wire::row::Row| (row.cost_nanousd, row.cost_before_nanousd, row.price_source, row.price_name);
    let mut seen: Vec<_> =
        world.ledger.rows(&Filter { limit: 9, ..Filter::default() }).await.unwrap().into_iter().map(cost).collect();
    seen.reverse();
    let list = Some("list".to_owned());
    assert_eq!(seen[0], (Some(8), None, "catalogue".to_owned(), list.clone()));
    assert_eq!(seen[1], (Some(8), Some(5), "catalogue".to_owned(), list));
    assert_eq!(seen[2], (Some(5), None, "provider".to_owned(), None), "what a provider reported stays");
    assert_eq!(seen[3].0, None, "nobody knows what an interrupted call used");
    assert_eq!(sums(&world).await, [(21, 0); 4]);
}

/// Cost, and what is held for calls without one, of each of [`SCOPES`] by the roll-ups.
async fn sums(world: &World) -> [(i64, i64); 4] {
    let mut sums = [(0, 0); 4];
    for (sum, scope) in sums.iter_mut().zip(SCOPES) {
        let scope = Scope::parse(scope).unwrap();
        let (buckets, _) = world.ledger.spent(&scope, Timestamp::MIN, None).await.unwrap();
        *sum = buckets.iter().fold(*sum, |sum, bucket| (sum.0 + bucket.cost.0, sum.1 + bucket.held.0));
    }
    sums
}

#[tokio::test]
async fn two_at_once_change_each_row_once_and_new_rows_are_written_meanwhile() {
    let world = world().await;
    let rows: Vec<_> = (1..=700).map(|id| Record { tags: vec!["nightly"], ..unpriced(id) }).collect();
    apply(&world, &rows).await;
    let all = Repricing { model: Some("gpt-x".into()), ..Repricing::default() };
    let one = world.ledger.reprice(&all, |_| at(3), || ());
    let other = world.ledger.reprice(&all, |_| at(3), || ());
    let later = Record { tags: vec!["nightly"], cost_nanousd: Some(1), ..record(900) };
    let (one, other, ()) = tokio::join!(one, other, apply(&world, std::slice::from_ref(&later)));
    assert_eq!(one.unwrap().changed + other.unwrap().changed, 700);
    assert_eq!(sums(&world).await, [(2_101, 0); 4]);
    let none = Repricing { model: Some("another".into()), ..all };
    assert_eq!(world.ledger.reprice(&none, |_| at(9), || ()).await.unwrap().rows, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn groups_add_up_to_the_total(rows in prop::collection::vec((0..3usize, 0..3usize, prop::option::of(0..1_000i64)), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let names = ["a", "b", "c"];
            let row = |(id, (host, model, cost)): (usize, &(usize, usize, Option<i64>))| {
                Record { host: names[*host], model: names[*model], cost_nanousd: *cost, ..record(id as u128 + 1) }
            };
            let rows: Vec<_> = rows.iter().enumerate().map(row).collect();
            for chunk in rows.chunks(32) {
                apply(&world, chunk).await;
            }
            let spend = world.ledger.spend(&[Dimension::Host, Dimension::Model], Span::default()).await.unwrap();
            let add = |pick: fn(&Sums) -> i64| spend.groups.iter().map(|group| pick(&group.sums)).sum::<i64>();
            assert_eq!(add(|sums| sums.cost_nanousd), rows.iter().filter_map(|row| row.cost_nanousd).sum::<i64>());
            assert_eq!(add(|sums| sums.cost_nanousd), spend.total.cost_nanousd);
            assert_eq!(add(|sums| sums.calls as i64), i64::try_from(rows.len()).unwrap());
        });
    }
}
