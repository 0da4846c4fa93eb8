//! Whatever docs/metrics.md names is on the page once a call of each kind has been made.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "what is missing is what a reader wants")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fleetgate_tests::upstream::openai::{chat_request, stream_request};
use fleetgate_tests::{Call, Gateway, MASTER_KEY, Reply, Upstream, eventually};
use serde_json::json;

/// Every metric that the page of the documentation names.
fn documented() -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = fs::read_to_string(file).expect("the documentation");
    let spans = text.split('`').skip(1).step_by(2);
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let of_ours = |name: &&str| name.starts_with("litellm_") || name.starts_with("fleetgate_");
    // A label is named like a metric.
    spans.filter(is_name).filter(of_ours).filter(|name| *name != "litellm_model_name").map(str::to_owned).collect()
}

fn chat(gw: &Gateway, key: &str, model: &str) -> Call {
    gw.post("/v1/chat/completions").bearer(key).json(&chat_request(model))
}

/// A sample's line, by the family's name.
fn has_sample(page: &str, name: &str) -> bool {
    page.lines().any(|line| {
        line.strip_prefix(name).is_some_and(|rest| ["{", " ", "_bucket{"].iter().any(|next| rest.starts_with(next)))
    })
}

#[tokio::test]
async fn every_metric_that_is_documented_has_a_sample_after_a_call_of_each_kind() {
    let (upstream, collector) = (Upstream::start().await, Upstream::start().await);
    collector.always(Reply::json(200, &json!({})));
    let free = json!({"input_cost_per_token": 0, "output_cost_per_token": 0});
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({"order": 1}))
            .deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({"order": 2, "timeout": 60}))
            .deployment("free", "openai/self-made", &upstream, &free)
            .deployment("lone", "openai/gpt-4.1-mini", &upstream, &json!({}))
            .set("router_settings", "fallbacks", json!([{"lone": ["free"]}]))
            .set("fleetgate", "otel", json!({"endpoint": collector.origin()}))
    })
    .await;
    let budget = json!({"max_budget": 5, "soft_budget": 4, "budget_duration": "1d"});
    let with = |more: &serde_json::Value| {
        let mut all = budget.clone();
        all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        all
    };
    gw.admin_post("/team/new", &with(&json!({"team_id": "ml"}))).await;
    let key = gw.key(&with(&json!({"key_alias": "vk", "team_id": "ml"}))).await;
    chat(&gw, &key, "gpt-x").send().await.expect(200);
    gw.post("/v1/chat/completions").bearer(&key).json(&stream_request("gpt-x")).send().await.expect(200);
    chat(&gw, &key, "free").send().await.expect(200);
    upstream.reply(Reply::json(429, &json!({"error": {"message": "slow down"}})).header("retry-after", "3600"));
    chat(&gw, &key, "gpt-x").send().await.expect(200);
    let down = Reply::json(500, &json!({"error": {"message": "down"}}));
    upstream.reply(down.clone());
    assert_eq!(chat(&gw, &key, "lone").send().await.expect(200).header("x-litellm-model-group"), "free");
    upstream.reply(down.clone());
    upstream.reply(down);
    chat(&gw, &key, "lone").send().await.expect(500);
    let poor = gw.key(&json!({"max_budget": 0})).await;
    chat(&gw, &poor, "gpt-x").send().await.expect(402);
    let slow = gw.key(&json!({"rpm_limit": 0})).await;
    chat(&gw, &slow, "gpt-x").send().await.expect(429);

    let dear = json!({"id": "c", "choices": [], "usage": {"prompt_tokens": 9_000_000, "completion_tokens": 9, "total_tokens": 9_000_009}});
    upstream.reply(Reply::json(200, &dear));
    chat(&gw, &key, "gpt-x").send().await.expect(200);

    let documented = documented();
    assert!(documented.len() > 30, "{documented:?}");
    eventually("all that is documented is there", async || {
        let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
        let missing: Vec<_> = documented.iter().filter(|name| !has_sample(&page, name)).collect();
        if !missing.is_empty() {
            println!("not there yet: {missing:?}");
        }
        missing.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deployments_state_follows_its_attempts() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let entry = |id: &str, order: u32, upstream: &Upstream| {
        let params = json!({"model": "openai/gpt-x", "api_base": upstream.base(), "api_key": "x", "order": order});
        json!({"model_name": "gpt-x", "litellm_params": params, "model_info": {"id": id}})
    };
    let gw = Gateway::start(|c| {
        let c = c.entry(entry("one", 1, &first)).entry(entry("two", 2, &second));
        c.set("router_settings", "cooldown_time", json!(3600))
    })
    .await;
    let ids = ["one", "two"];
    let read = async |family: &str, id: &str, more: &str| {
        let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
        let labels = format!("{{litellm_model_name=\"gpt-x\",model_id=\"{id}\",api_provider=\"openai\"{more}}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(family)?.strip_prefix(&*labels).map(str::to_owned));
        line.and_then(|value| value.parse::<u64>().ok())
    };
    let state = async || {
        [read("litellm_deployment_state", ids[0], "").await, read("litellm_deployment_state", ids[1], "").await]
    };
    assert_eq!(state().await, [Some(0), Some(0)]);
    first.reply(Reply::json(500, &json!({})));
    chat(&gw, MASTER_KEY, "gpt-x").send().await.expect(200);
    assert_eq!(state().await, [Some(1), Some(0)], "one failure");
    chat(&gw, MASTER_KEY, "gpt-x").send().await.expect(200);
    assert_eq!(state().await, [Some(0), Some(0)], "and a success");
    first.reply(Reply::json(429, &json!({})));
    chat(&gw, MASTER_KEY, "gpt-x").send().await.expect(200);
    assert_eq!(state().await, [Some(2), Some(0)], "it is left out");
    assert_eq!(read("litellm_deployment_total_requests_total", ids[0], "").await, Some(3));
    assert_eq!(read("litellm_deployment_success_responses_total", ids[0], "").await, Some(1));
    let failures = "litellm_deployment_failure_responses_total";
    assert_eq!(read(failures, ids[0], ",exception_status=\"500\"").await, Some(1));
    assert_eq!(read(failures, ids[0], ",exception_status=\"429\"").await, Some(1));
    assert_eq!(read("litellm_deployment_cooled_down_total", ids[0], ",exception_status=\"429\"").await, Some(1));
}
