//! `/key/{key}/reset_spend`, as LiteLLM has it: the key counts anew, and nothing else does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::upstream::Upstream;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, MASTER_KEY, eventually};
use serde_json::json;

const CHAT: &str = "/v1/chat/completions";

async fn status(gw: &Gateway, key: &str) -> u16 {
    let mut request = chat_request("gpt-x");
    request["max_tokens"] = json!(20);
    gw.post(CHAT).bearer(key).json(&request).send().await.status.as_u16()
}

async fn spend(gw: &Gateway, key: &str) -> f64 {
    gw.get("/key/info").bearer(key).send().await.expect(200).json()["info"]["spend"].as_f64().unwrap()
}

#[tokio::test]
async fn a_key_whose_spend_is_reset_may_spend_its_budget_again_and_only_it_counts_anew() {
    let upstream = Upstream::start().await;
    let build =
        |c: fleetgate_tests::gateway::Config| c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({}));
    let mut gw = Gateway::start(build).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "max_budget": 0.002, "budget_duration": "30d"})).await;
    eventually("the budget is spent", async || (status(&gw, &key).await == 402).then_some(())).await;
    let before = spend(&gw, &key).await;
    assert!(before > 0.0);

    let path = format!("/key/{key}/reset_spend");
    gw.post(&path).bearer(&key).json(&json!({"reset_to": 0})).send().await.expect(403);
    for wrong in [json!({"reset_to": 1}), json!({"reset_to": -1}), json!({"reset_to": "0"})] {
        let refused = gw.post(&path).bearer(MASTER_KEY).json(&wrong).send().await.expect(400);
        assert_eq!(refused.json()["error"]["param"], "reset_to", "{}", refused.text());
    }
    assert_eq!(status(&gw, &key).await, 402, "nothing has changed yet");
    let unknown = gw.post("/key/sk-nobodys-key-at-all/reset_spend").bearer(MASTER_KEY).json(&json!({"reset_to": 0}));
    unknown.send().await.expect(404);

    let reset = gw.admin_post(&path, &json!({"reset_to": 0})).await;
    assert_eq!((&reset["spend"], &reset["key_alias"]), (&json!(0.0), &json!("vk-mac")), "{reset}");
    assert!(reset["spend_reset_at"].is_string(), "{reset}");
    assert_eq!(status(&gw, &key).await, 200);
    let after = spend(&gw, &key).await;
    assert!(after > 0.0 && after < before, "{after} of {before}");
    let total = gw.admin_get("/global/spend").await["spend"].as_f64().unwrap();
    assert!((total - before - after).abs() < 1e-9, "{total} is {before} and {after}");
    let info = gw.get("/key/info").bearer(&key).send().await.expect(200).json();
    assert_eq!(info["info"]["budget_levels"].as_array().unwrap().len(), 1, "{info}");

    gw.restart().await;
    assert!((spend(&gw, &key).await - after).abs() < 1e-9, "a restart finds it as it was");
    eventually("the new budget ends too", async || (status(&gw, &key).await == 402).then_some(())).await;
    // The key can still be changed and deleted by its text.
    gw.admin_post("/key/update", &json!({"key": key, "max_budget": 1})).await;
    assert_eq!(status(&gw, &key).await, 200);
    gw.admin_post("/key/delete", &json!({"keys": [key]})).await;
    assert_eq!(status(&gw, &key).await, 401);
}
