//! Keys and budgets of several gateways on one database. What `/api/budgets` says where several gateways share them is the same on each, and what the rows say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::upstream::Upstream;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, MASTER_KEY, Postgres, eventually};
use serde_json::{Value, json};

async fn budget(gw: &Gateway) -> Value {
    gw.admin_get("/api/budgets").await["budgets"][0].take()
}

#[tokio::test]
async fn each_gateway_tells_what_all_of_them_have_spent() {
    let mut postgres = Postgres::start().await;
    let url = postgres.database("fleet").await;
    let upstream = Upstream::start().await;
    let start = async || {
        Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({})).database(&url)).await
    };
    let (one, other) = (start().await, start().await);
    let key = one.key(&json!({"key_alias": "vk-mac", "max_budget": 5})).await;
    for (gw, calls) in [(&one, 2), (&other, 3)] {
        for _ in 0..calls {
            // The other one hears of the key a moment later.
            eventually("the key is known", async || {
                let call = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x"));
                (call.send().await.status == 200).then_some(())
            })
            .await;
        }
    }
    // Each gateway brings its own rows into the database, a moment after their calls.
    let rows = eventually("all rows", async || Some(one.rows().await).filter(|rows| rows.len() == 5)).await;
    let rows: i64 = rows.iter().filter_map(|row| row.cost_nanousd).sum();
    let (here, there) = (budget(&one).await, budget(&other).await);
    for (level, part) in [(&here, 2), (&there, 3)] {
        assert_eq!(level["spent_nanousd"], rows, "{level}");
        assert_eq!(level["spent_here_nanousd"], rows / 5 * part, "{level}");
        assert_eq!(level["is_of_all_gateways"], true, "{level}");
    }
    postgres.stop().await;
    let alone = eventually("the database is away", async || {
        Some(budget(&one).await).filter(|level| level["is_of_all_gateways"] == false)
    })
    .await;
    assert_eq!(alone["spent_nanousd"], alone["spent_here_nanousd"], "{alone}");
}

#[tokio::test]
async fn a_reset_on_one_gateway_holds_on_the_others() {
    let postgres = Postgres::start().await;
    let url = postgres.database("reset").await;
    let upstream = Upstream::start().await;
    let start = async || {
        Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({})).database(&url)).await
    };
    let (one, other) = (start().await, start().await);
    // Worth a few calls.
    let key = one.key(&json!({"key_alias": "vk-mac", "max_budget": 0.002, "budget_duration": "30d"})).await;
    let status = async |gw: &Gateway| {
        let mut request = chat_request("gpt-x");
        request["max_tokens"] = json!(20);
        gw.post("/v1/chat/completions").bearer(&key).json(&request).send().await.status.as_u16()
    };
    eventually("the budget is spent", async || (status(&other).await == 402).then_some(())).await;
    let path = format!("/key/{key}/reset_spend");
    let reset = one.admin_post(&path, &json!({"reset_to": 0.0})).await;
    assert_eq!(reset["spend"], 0.0, "{reset}");
    eventually("the other one lets calls pass again", async || (status(&other).await == 200).then_some(())).await;
}

#[tokio::test]
async fn gauges_and_soft_limits_know_what_the_other_gateways_spent() {
    let (postgres, upstream) = (Postgres::start().await, Upstream::start().await);
    let url = postgres.database("fleet").await;
    let soft = json!([{"scope": "host:mac", "soft_budget": 0.0005, "budget_duration": "1d"}]);
    let start = async || {
        Gateway::start(|c| {
            let c = c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({}));
            c.set("fleetgate", "budgets", soft.clone()).database(&url)
        })
        .await
    };
    let both = [start().await, start().await];
    let key = both[0].key(&json!({"key_alias": "vk-mac", "host": "mac", "max_budget": 5})).await;
    // One call costs $0.00042; what both spend passes the soft limit, what one spends does not.
    for gw in &both {
        eventually("the key is known", async || {
            let call = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x"));
            (call.send().await.status == 200).then_some(())
        })
        .await;
    }
    for gw in &both {
        eventually("its gauges count both calls", async || {
            let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
            let says =
                |family: &str, value: &str| page.lines().any(|line| line.starts_with(family) && line.ends_with(value));
            let left = says("litellm_remaining_api_key_budget_metric{", " 4.999160000");
            (left && says("fleetgate_budget_soft_reached{", " 1")).then_some(())
        })
        .await;
        let told = |log: &str| log.lines().filter(|line| line.contains("a soft budget is reached")).count();
        eventually("it says so once", async || (told(&gw.stderr()) == 1).then_some(())).await;
    }
}
