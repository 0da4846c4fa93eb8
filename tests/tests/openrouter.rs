//! OpenRouter hands calls on to others: what a call there may cost has a bound that we set, and what it did cost counts.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::{Answer, Gateway, MASTER_KEY, Reply, Upstream};
use serde_json::{Value, json};

/// The longest answer that the price list knows of it.
const LONGEST: u64 = 16_384;

async fn gateway(upstream: &Upstream) -> Gateway {
    let base = json!({"api_base": format!("{}/api/v1", upstream.origin())});
    Gateway::start(|c| c.deployment("or", "openrouter/openai/gpt-4o", upstream, &base)).await
}

fn request(more: &Value) -> Value {
    let mut body = json!({"model": "or", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    body
}

async fn chat(gw: &Gateway, key: &str, body: &Value) -> Answer {
    gw.post("/v1/chat/completions").bearer(key).json(body).send().await
}

/// What OpenRouter says that its answer cost, in dollars.
fn costing(dollars: f64) -> Reply {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": dollars});
    let message = json!({"role": "assistant", "content": "Hello"});
    let choices = json!([{"index": 0, "finish_reason": "stop", "message": message}]);
    Reply::json(200, &json!({"id": "gen-1", "model": "openai/gpt-4o", "choices": choices, "usage": usage}))
}

#[tokio::test]
async fn a_call_without_a_limit_gets_one_that_the_reservation_pays_for() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let rich = 50.0;
    let poor = 0.01;
    for (max_budget, more, member, most) in [
        (rich, json!({}), "max_tokens", LONGEST),
        (rich, json!({"max_tokens": 1_000_000}), "max_tokens", LONGEST),
        (rich, json!({"max_completion_tokens": null, "reasoning": {"max_tokens": 30_000}}), "max_tokens", LONGEST),
        (poor, json!({"stream": true}), "max_tokens", 1_000),
        (poor, json!({"max_completion_tokens": 9_000}), "max_completion_tokens", 1_000),
    ] {
        let key = gw.key(&json!({"max_budget": max_budget})).await;
        let answer = chat(&gw, &key, &request(&more)).await.expect(200);
        let sent = upstream.requests().pop().expect("it was sent").json();
        let limit = sent[member].as_u64().expect("a limit was sent");
        assert!(limit <= most && limit >= most / 2, "{more}: {sent}");
        assert_eq!(answer.header("x-fleetgate-output-limit"), limit.to_string(), "{more}");
    }
    let asked = request(&json!({"max_tokens": 77}));
    let rich = gw.key(&json!({"max_budget": rich})).await;
    assert_eq!(chat(&gw, &rich, &asked).await.expect(200).header("x-fleetgate-output-limit"), "");
    assert_eq!(upstream.requests().pop().expect("it was sent").json()["max_tokens"], 77);
    // Without a budget nothing is put into a request.
    chat(&gw, MASTER_KEY, &request(&json!({}))).await.expect(200);
    assert_eq!(upstream.requests().pop().expect("it was sent").json().get("max_tokens"), None);
}

#[tokio::test]
async fn the_dearest_of_several_models_is_reserved() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk", "max_budget": 50})).await;
    let mut reserved = Vec::new();
    for models in [json!(null), json!(["openai/gpt-4o", "nobody/knows"]), json!(["anthropic/claude-opus-4.5"])] {
        let more = if models.is_null() { json!({}) } else { json!({"models": models}) };
        upstream.reply(costing(0.000_1));
        let mut body = request(&more);
        body["max_tokens"] = json!(1000);
        chat(&gw, &key, &body).await.expect(200);
        reserved.push(gw.rows().await[0].reserved_nanousd.expect("a reservation"));
    }
    assert!(reserved[0] > 1000 * 10_000 && reserved[1] >= reserved[0] && reserved[1] < 2 * reserved[0], "{reserved:?}");
    assert!(reserved[2] > 1000 * 25_000, "25 dollars a million: {reserved:?}");
}

#[tokio::test]
async fn what_costs_more_than_was_reserved_counts_wholly_and_raises_an_alarm() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk", "max_budget": 2.6})).await;
    let mut body = request(&json!({}));
    body["max_tokens"] = json!(100);
    for _ in 0..3 {
        upstream.reply(costing(0.9));
        chat(&gw, &key, &body).await.expect(200);
    }
    let costs: Vec<_> = gw.rows().await.iter().map(|row| (row.cost_nanousd, row.price_source.clone())).collect();
    assert!(costs.iter().all(|cost| *cost == (Some(900_000_000), "provider".to_owned())), "{costs:?}");
    let budget = gw.admin_get("/api/budgets").await["budgets"][0].take();
    assert_eq!((&budget["spent_nanousd"], &budget["reserved_nanousd"]), (&json!(2_700_000_000_i64), &json!(0)));
    let log = gw.stderr();
    let alarms: Vec<_> = log.lines().filter(|line| line.contains("more than was reserved")).collect();
    assert!(alarms.len() == 1 && alarms[0].contains("ERROR"), "one line a minute: {alarms:#?}");
    let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
    let counted = page.lines().find(|line| line.starts_with("fleetgate_budget_overruns_total{"));
    assert!(counted.is_some_and(|line| line.contains("api_provider=\"openrouter\"") && line.ends_with(" 3")), "{page}");
    chat(&gw, &key, &body).await.expect(402);
}
