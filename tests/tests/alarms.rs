//! What an operator hears of: refusals once a minute for each key, soft budgets, and price lists that are not taken.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Answer, Gateway, MASTER_KEY, Reply, Upstream, eventually};
use serde_json::{Value, json};

async fn call(gw: &Gateway, key: &str, model: &str) -> Answer {
    gw.post("/v1/chat/completions").bearer(key).json(&chat_request(model)).send().await
}

#[tokio::test]
async fn however_many_refusals_at_once_and_by_whatever_budgets_a_key_has_one_line() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({}))
            .deployment("gpt-y", "openai/gpt-4.1-mini", &upstream, &json!({}))
            .set("fleetgate", "budgets", json!([{"scope": "model:gpt-y", "max_budget": 0}]))
    })
    .await;
    let (eager, other) = (
        gw.key(&json!({"key_alias": "vk-eager", "max_budget": 0})).await,
        gw.key(&json!({"key_alias": "vk-other"})).await,
    );
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let model = if number % 2 == 0 { "gpt-x" } else { "gpt-y" };
        calls.spawn(gw.post("/v1/chat/completions").bearer(&eager).json(&chat_request(model)).send());
        calls.spawn(gw.post("/v1/chat/completions").bearer(&other).json(&chat_request("gpt-y")).send());
    }
    for answer in calls.join_all().await {
        answer.expect(402);
    }
    let log = gw.stderr();
    for alias in ["vk-eager", "vk-other"] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains("call refused") && line.contains(alias)).collect();
        assert!(lines.len() == 1 && lines[0].contains("Budget has been exceeded"), "{lines:#?}");
    }
    let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
    let refused = page.lines().filter(|line| line.starts_with("fleetgate_budget_refusals_total{"));
    let refused: u64 = refused.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(refused, 200, "the counters have them all");
}

#[tokio::test]
async fn a_soft_budget_is_told_of_once_and_shown_while_it_lasts() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({})).set(
            "fleetgate",
            "budgets",
            json!([{"scope": "host:mac", "soft_budget": 0.0005, "budget_duration": "1d"}]),
        )
    })
    .await;
    let key = gw.key(&json!({"key_alias": "vk", "host": "mac"})).await;
    // One call costs $0.00042.
    for (calls, reached) in [(1, 0), (2, 1), (3, 1)] {
        call(&gw, &key, "gpt-x").await.expect(200);
        let sample =
            format!("fleetgate_budget_soft_reached{{scope=\"host\",window=\"1d\",id=\"mac\",alias=\"\"}} {reached}");
        let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
        assert!(page.lines().any(|line| line == sample), "after {calls}: {page}");
    }
    assert!(upstream.requests().len() == 3, "it never blocks");
    let lines = || gw.stderr().lines().filter(|line| line.contains("soft budget") && line.contains("host:mac")).count();
    // The line is written beside the calls.
    eventually("the line", async || (lines() > 0).then_some(())).await;
    call(&gw, &key, "gpt-x").await.expect(200);
    assert_eq!(lines(), 1, "{}", gw.stderr());
}

/// A list in which the model costs a hundredth of a cent a token.
fn prices(only: bool) -> Value {
    let row = |price: f64| json!({"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": price, "output_cost_per_token": price});
    if only { json!({"gpt-4.1-mini": row(0.000_1)}) } else { json!({"nobody-else": row(0.000_1)}) }
}

async fn cost(gw: &Gateway) -> Option<i64> {
    call(gw, MASTER_KEY, "gpt-x").await.expect(200);
    gw.rows().await[0].cost_nanousd
}

const BUILT_IN: i64 = 800 * 400 + 200 * 100 + 50 * 1600;

#[tokio::test]
async fn a_price_list_that_shrinks_by_surprise_is_refused_by_url_and_by_file() {
    let (upstream, site) = (Upstream::start().await, Upstream::start().await);
    let start = async |source: (&str, String), allow: bool| {
        Gateway::start(|c| {
            c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({})).set(
                "fleetgate",
                "catalogue",
                json!({source.0: source.1, "refresh": "1h", "allow_shrink": allow}),
            )
        })
        .await
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("prices.json");
    for only in [true, false] {
        site.always(Reply::json(200, &prices(only)));
        std::fs::write(&file, prices(only).to_string()).expect("the directory is ours");
        for source in [("url", format!("{}/prices.json", site.origin())), ("file", file.display().to_string())] {
            let gw = start(source.clone(), false).await;
            eventually("the list is judged", async || gw.stderr().contains("new prices are not taken").then_some(()))
                .await;
            assert!(gw.stderr().contains("less than 90 %; if that is meant, set"), "{source:?}: {}", gw.stderr());
            assert_eq!(cost(&gw).await, Some(BUILT_IN), "{source:?}");
        }
    }
    for source in [("url", format!("{}/prices.json", site.origin())), ("file", file.display().to_string())] {
        site.always(Reply::json(200, &prices(true)));
        std::fs::write(&file, prices(true).to_string()).expect("the directory is ours");
        let gw = start(source.clone(), true).await;
        eventually("the list is taken", async || gw.stderr().contains("lets these prices in").then_some(())).await;
        let dear = async || (cost(&gw).await == Some(1050 * 100_000)).then_some(());
        eventually("calls cost what it says", dear).await;
    }
    site.always(Reply::json(500, &json!({})));
    let gw = start(("url", format!("{}/prices.json", site.origin())), false).await;
    eventually("the answer is judged", async || gw.stderr().contains("the answer was 500").then_some(())).await;
    assert_eq!(cost(&gw).await, Some(BUILT_IN));
}
