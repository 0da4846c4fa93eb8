//! Three gateways on one PostgreSQL never exceed a cap together, and leave none half used. The figures are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use fleetgate_tests::burst::{ONE_CALL, burst, dear_request};
use fleetgate_tests::upstream::Upstream;
use fleetgate_tests::{Call, Gateway, Postgres, eventually};
use serde_json::{Value, json};

/// Three gateways on one PostgreSQL that all know a key with this cap.
async fn three(server: &Postgres, upstream: &Upstream, cap: f64) -> ([Gateway; 3], String) {
    let gateways = trio(server, upstream, &json!([]), 5).await;
    let key = shared_key(&gateways, &json!({"key_alias": "vk-shared", "max_budget": cap})).await;
    (gateways, key)
}

/// Three gateways on one PostgreSQL with these budgets.
async fn trio(server: &Postgres, upstream: &Upstream, budgets: &Value, wait: u64) -> [Gateway; 3] {
    let url = server.database("ledger").await;
    // What gpt-4.1-mini costs.
    let price = json!({
        "input_cost_per_token": 4e-7, "output_cost_per_token": 1.6e-6, "cache_read_input_token_cost": 1e-7,
    });
    let model = json!({});
    let start = || {
        Gateway::start(|c| {
            let c = c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &model);
            let c = c.deployment("gpt-capped", "openai/gpt-4.1-mini", upstream, &model);
            let c = c.deployment("gpt-elsewhere", "mistral/mistral-small-latest", upstream, &price);
            c.set("fleetgate", "budgets", budgets.clone()).set("fleetgate", "budget_wait", json!(wait)).database(&url)
        })
    };
    [start().await, start().await, start().await]
}

/// A key that all of them know.
async fn shared_key(gateways: &[Gateway; 3], fields: &Value) -> String {
    let key = gateways[0].key(fields).await;
    for gw in gateways {
        eventually("the key is known", async || {
            (gw.get("/v1/models").bearer(&key).send().await.status == 200).then_some(())
        })
        .await;
    }
    key
}

/// Of a hundred callers at three gateways nine or ten pass, and the cap holds.
async fn nine_or_ten_of_a_hundred(server: &Postgres, what: &str, paid: &mut usize, call: impl Fn(usize) -> Call) {
    let before = spent_together(server, *paid).await;
    let seen = burst((0..100).map(call).collect()).await;
    let passed = seen.get(&200).copied().unwrap_or(0);
    *paid += passed;
    let spent = spent_together(server, *paid).await - before;
    println!("three gateways, a cap worth 10 calls, 100 callers, {what}: {seen:?}, {spent} of {} spent", 10 * ONE_CALL);
    assert!(spent <= 10 * ONE_CALL, "{what}: the cap was exceeded: {spent}");
    assert!((9..=10).contains(&passed), "{what}: {seen:?}");
    assert_eq!(passed + seen.get(&402).copied().unwrap_or(0), 100, "{what}: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_callers_of_three_gateways_nine_or_ten_pass_however_they_ask() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let gateways = trio(&server, &upstream, &json!([]), 120).await;
    #[allow(clippy::cast_precision_loss)]
    let cap = (10 * ONE_CALL) as f64 / 1e9;
    let mut paid = 0;
    for (stream, max_tokens) in [(false, None), (true, None), (false, Some(50)), (true, Some(200)), (false, Some(4000))]
    {
        let what = format!("stream {stream}, max_tokens {max_tokens:?}");
        let key = shared_key(&gateways, &json!({"key_alias": what, "max_budget": cap})).await;
        let body = dear_request(stream, max_tokens);
        let call = |n: usize| gateways[n % 3].post("/v1/chat/completions").bearer(&key).json(&body);
        nine_or_ten_of_a_hundred(&server, &what, &mut paid, call).await;
    }
    let key = shared_key(&gateways, &json!({"key_alias": "one after another", "max_budget": cap})).await;
    let mut passed = 0;
    for n in 0..14 {
        let answer = gateways[n % 3].post("/v1/chat/completions").bearer(&key).json(&dear_request(false, None));
        let answer = answer.send().await;
        passed += usize::from(answer.status == 200);
    }
    println!("three gateways, a cap worth 10 calls, one after another: {passed} passed");
    assert!((9..=10).contains(&passed), "{passed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_of_every_kind_of_scope_holds_at_three_gateways() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    #[allow(clippy::cast_precision_loss)]
    let cap = (10 * ONE_CALL) as f64 / 1e9;
    let scopes = ["host:capped", "workload:capped", "team:capped", "user:capped", "tag:capped", "model:gpt-capped"];
    let budget = |scope: &str| json!({"scope": scope, "max_budget": cap});
    let mut budgets: Vec<Value> = scopes.iter().map(|scope| budget(scope)).collect();
    budgets.push(budget("provider:mistral"));
    let gateways = trio(&server, &upstream, &json!(budgets), 120).await;
    gateways[0].admin_post("/team/new", &json!({"team_id": "capped"})).await;
    let mut paid = 0;
    for (kind, fields, model) in [
        ("host", json!({"host": "capped"}), "gpt-x"),
        ("workload", json!({}), "gpt-x"),
        ("team", json!({"team_id": "capped"}), "gpt-x"),
        ("user", json!({"user_id": "capped"}), "gpt-x"),
        ("tag", json!({}), "gpt-x"),
        ("model", json!({}), "gpt-capped"),
        ("provider", json!({}), "gpt-elsewhere"),
    ] {
        let mut fields = fields;
        fields["key_alias"] = json!(format!("vk-{kind}"));
        let key = shared_key(&gateways, &fields).await;
        let call = |n: usize| {
            // Of this provider's streams the fake one says no usage, since nobody asks it.
            let mut body = dear_request(n.is_multiple_of(2) && kind != "provider", n.is_multiple_of(3).then_some(100));
            body["model"] = json!(model);
            let call = gateways[n % 3].post("/v1/chat/completions").bearer(&key).json(&body);
            match kind {
                "workload" => call.header("x-fleetgate-workload", "capped"),
                "tag" => call.header("x-litellm-tags", "capped"),
                _ => call,
            }
        };
        nine_or_ten_of_a_hundred(&server, kind, &mut paid, call).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_for_everything_holds_at_three_gateways() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    #[allow(clippy::cast_precision_loss)]
    let budgets =
        json!([{"scope": "global:all", "max_budget": (10 * ONE_CALL) as f64 / 1e9, "budget_duration": "30d"}]);
    let gateways = trio(&server, &upstream, &budgets, 120).await;
    let keys = [0, 1, 2].map(|n| json!({"key_alias": format!("vk-{n}"), "host": format!("host-{n}")}));
    let keys = [
        shared_key(&gateways, &keys[0]).await,
        shared_key(&gateways, &keys[1]).await,
        shared_key(&gateways, &keys[2]).await,
    ];
    let call = |n: usize| {
        let body = dear_request(n.is_multiple_of(2), n.is_multiple_of(3).then_some(100));
        gateways[n % 3].post("/v1/chat/completions").bearer(&keys[n / 3 % 3]).json(&body)
    };
    nine_or_ten_of_a_hundred(&server, "global", &mut 0, call).await;
}

/// What successful calls cost in the database, once there are so many rows of them.
async fn spent_together(server: &Postgres, calls: usize) -> i64 {
    eventually("all rows", async || {
        let sums = "SELECT count(*), coalesce(sum(cost_nanousd), 0) FROM entry WHERE status = 'success'";
        let sums = server.sql("ledger", sums).await;
        let (rows, spent) = sums.split_once('|')?;
        (rows == calls.to_string()).then(|| spent.parse().expect("nano-dollars"))
    })
    .await
}

fn calls_paid_by(nanousd: i64) -> usize {
    usize::try_from(nanousd / ONE_CALL).expect("small")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_keep_a_cent_together_against_a_thousand_callers() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let (gateways, key) = three(&server, &upstream, 0.01).await;
    let call = |number: usize| {
        let body = dear_request(number.is_multiple_of(2), (number.is_multiple_of(3)).then_some(100));
        gateways[number % 3].post("/v1/chat/completions").bearer(&key).json(&body)
    };
    let seen = burst((0..1000).map(call).collect()).await;
    let passed = seen.get(&200).copied().unwrap_or(0);
    let spent = spent_together(&server, passed).await;
    println!(
        "a cap of $0.01, three gateways and 1,000 callers: {passed} passed, {spent} of 10000000 nano-dollars spent: {seen:?}"
    );
    assert!(spent <= 10_000_000, "the cap was exceeded: {spent}");
    assert!(passed + 1 >= calls_paid_by(10_000_000), "money was left unused: {passed}");
    assert_eq!(passed + seen.get(&402).copied().unwrap_or(0), 1000, "{seen:?}");
    let sums = server.sql("ledger", "SELECT sum(cost_nanousd) FROM spend WHERE scope LIKE 'key:%'").await;
    assert_eq!(sums, spent.to_string(), "what is granted from is the sum of the rows");
    let info = gateways[2].admin_get(&format!("/key/info?key={key}")).await;
    #[allow(clippy::cast_precision_loss)]
    let dollars = spent as f64 / 1e9;
    assert!((info["info"]["spend"].as_f64().unwrap_or_default() - dollars).abs() < 1e-9, "{info}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_gateway_had_leased_can_be_spent_after_its_restart() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let (mut gateways, key) = three(&server, &upstream, 0.05).await;
    let call = |gw: &Gateway| gw.post("/v1/chat/completions").bearer(&key).json(&dear_request(false, Some(100)));
    let mut passed = 0;
    for gw in &gateways {
        call(gw).send().await.expect(200);
        passed += 1;
    }
    let identity = std::fs::read_to_string(gateways[0].dir().join("gateway-id")).expect("a gateway has an identity");
    let leases = "SELECT coalesce(sum(amount), 0) FROM lease WHERE scope LIKE 'key:%' AND gateway";
    let leased = format!("{leases} = '{}'", identity.trim());
    // Calls that could cost far more than they do: what was granted for them stays in its hands.
    let in_hand = eventually("it has money in hand", async || {
        let long = gateways[0].post("/v1/chat/completions").bearer(&key).json(&dear_request(false, Some(2000)));
        passed += usize::from(long.send().await.status == 200);
        spent_together(&server, passed).await;
        server.sql("ledger", &leased).await.parse().ok().filter(|amount| *amount > ONE_CALL)
    })
    .await;
    gateways[0].kill().await;

    let storm = async |gateways: &[Gateway]| {
        let seen = burst((0..300).map(|number| call(&gateways[number % gateways.len()])).collect()).await;
        seen.get(&200).copied().unwrap_or(0)
    };
    let without = storm(&gateways[1..]).await;
    passed += without;
    let spent = spent_together(&server, passed).await;
    assert!(spent <= 50_000_000 - in_hand, "{spent} spent although {in_hand} were in the dead one's hands");
    gateways[0].restart().await;
    let returned = eventually("its leases are returned", async || {
        let left: i64 = server.sql("ledger", &leased).await.parse().expect("nano-dollars");
        (left < in_hand).then_some(in_hand - left)
    })
    .await;
    let mut again = 0;
    // A call waits no longer than it is told for what another gateway has; the next ones find it returned.
    loop {
        let more = storm(&gateways).await;
        again += more;
        if more == 0 {
            break;
        }
    }
    passed += again;
    let spent = spent_together(&server, passed).await;
    println!(
        "one of three gateways killed with {in_hand} nano-dollars in hand: {without} calls passed without it, {returned} returned at its \
         restart, {again} more passed then; {passed} in all, {spent} of 50000000 nano-dollars spent"
    );
    assert!(spent <= 50_000_000, "the cap was exceeded: {spent}");
    assert!(passed + 1 >= calls_paid_by(50_000_000), "money was left unused: {passed}");
}

/// Where a call goes and what it asks, made from a number.
fn random(seed: u64) -> u64 {
    // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Bursts and single calls in any order and of any kind at any gateway: as long as there is money, some gateway gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_is_used_up_by_calls_in_any_order_at_three_gateways() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let gateways = trio(&server, &upstream, &json!([]), 120).await;
    let mut paid = 0;
    for (round, duration) in [None, Some("30d"), Some("1mo"), None].into_iter().enumerate() {
        #[allow(clippy::cast_precision_loss)]
        let cap = (30 * ONE_CALL) as f64 / 1e9;
        let fields = json!({"key_alias": format!("vk-{round}"), "max_budget": cap, "budget_duration": duration});
        let key = shared_key(&gateways, &fields).await;
        let before = spent_together(&server, paid).await;
        let (mut passed, mut number) = (0, round as u64 * 1_000);
        let mut call = || {
            number += 1;
            let dice = random(number);
            let max_tokens = [None, Some(50), Some(200), Some(4000)][(dice >> 8) as usize % 4];
            let gw = &gateways[(dice >> 16) as usize % 3];
            gw.post("/v1/chat/completions").bearer(&key).json(&dear_request(dice.is_multiple_of(2), max_tokens))
        };
        for size in [1, 1, 7, 1, 1, 1, 4, 1, 9, 1, 1, 2, 1, 1, 12, 1, 1, 1, 1, 1, 1, 1] {
            let seen = burst((0..size).map(|_| call()).collect()).await;
            passed += seen.get(&200).copied().unwrap_or(0);
        }
        paid += passed;
        let spent = spent_together(&server, paid).await - before;
        println!(
            "three gateways, a cap worth 30 calls, {duration:?}, calls in any order: {passed} passed, {spent} spent"
        );
        assert!(spent <= 30 * ONE_CALL, "the cap was exceeded: {spent}");
        assert!(passed >= 29, "money was left unused: {passed} passed");
    }
}
