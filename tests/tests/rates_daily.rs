//! Calls and tokens in a day: they outlive a restart, and gateways share them.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Answer, Gateway, Postgres, Upstream, eventually};
use serde_json::json;

async fn call(gw: &Gateway, key: &str) -> Answer {
    gw.post("/v1/chat/completions").bearer(key).json(&chat_request("gpt-x")).send().await
}

#[track_caller]
fn assert_limited(refused: &Answer, measure: &str) {
    assert_eq!((refused.status.as_u16(), refused.header("rate_limit_type")), (429, measure), "{}", refused.text());
    let retry_after: u64 = refused.header("retry-after").parse().expect("whole seconds");
    assert!((1..=86_400).contains(&retry_after), "{retry_after}");
    assert!(refused.header("reset_at").ends_with("00:00 UTC"), "{}", refused.header("reset_at"));
    assert!(refused.text().contains(&format!("Limit type: {measure}. ")), "{}", refused.text());
}

#[tokio::test]
async fn a_days_limits_outlive_kill_9() {
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let calls = gw.key(&json!({"key_alias": "calls", "rpd_limit": 2})).await;
    // Each answer has 1,050 tokens, many more than these requests let expect.
    let tokens = gw.key(&json!({"key_alias": "tokens", "tpd_limit": 2000})).await;
    let team = json!({"team_id": "ml", "rpd_limit": 1});
    gw.admin_post("/team/new", &team).await;
    let teams = gw.key(&json!({"team_id": "ml"})).await;
    for key in [&calls, &calls, &tokens, &tokens, &teams] {
        call(&gw, key).await.expect(200);
    }
    for _ in 0..2 {
        assert_limited(&call(&gw, &calls).await, "requests_per_day");
        assert_limited(&call(&gw, &tokens).await, "tokens_per_day");
        assert_limited(&call(&gw, &teams).await, "requests_per_day");
        gw.kill().await;
        gw.start_again().await;
    }
    assert_eq!(upstream.requests().len(), 5);
    gw.admin_post("/key/update", &json!({"key": calls, "rpd_limit": 3})).await;
    call(&gw, &calls).await.expect(200);
    assert_limited(&call(&gw, &calls).await, "requests_per_day");
}

#[tokio::test]
async fn hosts_and_deployments_have_days_of_their_own() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-x", &first, &json!({"order": 1, "rpd": 1}))
            .deployment("gpt-x", "openai/gpt-x", &second, &json!({"order": 2}))
            .set("router_settings", "optional_pre_call_checks", json!(["enforce_model_rate_limits"]))
            .set("fleetgate", "rates", json!([{"scope": "host:*", "rpd": 2}]))
    })
    .await;
    let mac = gw.key(&json!({"host": "mac"})).await;
    for _ in 0..2 {
        call(&gw, &mac).await.expect(200);
    }
    assert_limited(&call(&gw, &mac).await, "requests_per_day");
    let other = gw.key(&json!({"host": "pi"})).await;
    call(&gw, &other).await.expect(200);
    assert_eq!(
        (first.requests().len(), second.requests().len()),
        (1, 2),
        "the next deployment takes what the first may not"
    );
}

#[tokio::test]
async fn gateways_share_a_day_and_one_that_is_killed_brings_nothing_back() {
    let postgres = Postgres::start().await;
    let url = postgres.database("days").await;
    let upstream = Upstream::start().await;
    let start = async || Gateway::start(|c| c.model("gpt-x", &upstream).database(&url)).await;
    let (mut one, other) = (start().await, start().await);
    let key = one.key(&json!({"rpd_limit": 20})).await;
    // The other one hears of the key a moment later.
    eventually("the key is known", async || (call(&other, &key).await.status == 200).then_some(())).await;
    for _ in 0..12 {
        call(&one, &key).await;
        call(&other, &key).await;
    }
    one.kill().await;
    one.start_again().await;
    for _ in 0..12 {
        call(&one, &key).await;
        call(&other, &key).await;
    }
    let passed = upstream.requests().len();
    println!("{passed} calls of a key with 20 a day passed through two gateways, one of which was killed");
    assert!((8..=20).contains(&passed), "{passed}");
}
