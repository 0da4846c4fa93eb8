//! A budget of every scope: whoever is beyond it is refused in its name, and nobody else.

use fleetgate_tests::upstream::Upstream;
use fleetgate_tests::{Call, Gateway, eventually};
use serde_json::{Value, json};

/// A cap that pays for one answer of the fake provider ($0.00042) and not for two.
const ONE_CALL_CAP: f64 = 0.000_7;

async fn gateway(upstream: &Upstream, budgets: Value) -> Gateway {
    Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({}))
            .deployment("gpt-y", "openai/gpt-4.1-mini", upstream, &json!({}))
            .set("fleetgate", "budgets", budgets)
    })
    .await
}

fn budget(scope: &str) -> Value {
    json!([{"scope": scope, "max_budget": ONE_CALL_CAP, "budget_duration": "30d"}])
}

fn request(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "word ".repeat(240)}]})
}

fn call(gw: &Gateway, key: &str) -> Call {
    gw.post("/v1/chat/completions").bearer(key).json(&request("gpt-x"))
}

/// One call passes; the next is refused in this scope's name.
async fn spends(call: Call, scope: &str) {
    call.clone().send().await.expect(200);
    let refused = call.send().await.expect(402).json();
    assert_eq!(refused["error"]["details"]["scope"], scope, "{refused}");
}

async fn passes(call: Call) {
    call.send().await.expect(200);
}

#[tokio::test]
async fn each_host_has_a_budget_of_its_own() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, budget("host:*")).await;
    let mac = gw.key(&json!({"host": "mac"})).await;
    let same_mac = gw.key(&json!({"host": "mac"})).await;
    let pi = gw.key(&json!({"host": "pi"})).await;
    spends(call(&gw, &mac), "host:mac").await;
    call(&gw, &same_mac).send().await.expect(402);
    spends(call(&gw, &pi), "host:pi").await;
}

#[tokio::test]
async fn a_workload_has_a_budget_on_every_host() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, budget("workload:nightly")).await;
    let mac = gw.key(&json!({"host": "mac"})).await;
    let pi = gw.key(&json!({"host": "pi"})).await;
    spends(call(&gw, &mac).header("x-fleetgate-workload", "nightly"), "workload:nightly").await;
    call(&gw, &pi).header("x-fleetgate-workload", "nightly").send().await.expect(402);
    passes(call(&gw, &pi).header("x-fleetgate-workload", "daily")).await;
}

#[tokio::test]
async fn a_model_has_a_budget_by_the_name_that_callers_use() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, budget("model:gpt-x")).await;
    let key = gw.key(&json!({})).await;
    spends(call(&gw, &key), "model:gpt-x").await;
    passes(gw.post("/v1/chat/completions").bearer(&key).json(&request("gpt-y"))).await;
}

#[tokio::test]
async fn teams_users_and_customers_share_a_budget_over_their_keys() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let free = gw.key(&json!({})).await;
    gw.admin_post("/team/new", &json!({"team_id": "ml", "max_budget": ONE_CALL_CAP})).await;
    gw.admin_post("/user/new", &json!({"user_id": "ada", "max_budget": ONE_CALL_CAP, "auto_create_key": false})).await;
    gw.admin_post("/customer/new", &json!({"user_id": "acme", "max_budget": ONE_CALL_CAP})).await;
    for (fields, scope) in [(json!({"team_id": "ml"}), "team:ml"), (json!({"user_id": "ada"}), "user:ada")] {
        let (one, other) = (gw.key(&fields).await, gw.key(&fields).await);
        spends(call(&gw, &one), scope).await;
        call(&gw, &other).send().await.expect(402);
    }
    let mut body = request("gpt-x");
    body["user"] = json!("acme");
    spends(gw.post("/v1/chat/completions").bearer(&free).json(&body), "customer:acme").await;
    passes(call(&gw, &free)).await;
}

#[tokio::test]
async fn a_tag_has_a_budget_wherever_it_is_said() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    gw.admin_post("/tag/new", &json!({"name": "nightly", "max_budget": ONE_CALL_CAP})).await;
    let key = gw.key(&json!({})).await;
    spends(call(&gw, &key).header("x-litellm-tags", "a, nightly"), "tag:nightly").await;
    let mut body = request("gpt-x");
    body["metadata"] = json!({"tags": ["nightly"]});
    gw.post("/v1/chat/completions").bearer(&key).json(&body).send().await.expect(402);
    passes(call(&gw, &key).header("x-litellm-tags", "a")).await;
}

#[tokio::test]
async fn litellms_budget_for_everything_holds_for_the_administrator_too() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({})).set(
            "litellm_settings",
            "max_budget",
            json!(ONE_CALL_CAP),
        )
    })
    .await;
    let key = gw.key(&json!({})).await;
    spends(call(&gw, &key), "global:all").await;
    call(&gw, fleetgate_tests::MASTER_KEY).send().await.expect(402);
}

#[tokio::test]
async fn where_a_providers_money_is_gone_another_one_answers() {
    let (dear, cheap) = (Upstream::start().await, Upstream::start().await);
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &dear, &json!({"order": 1}))
            .deployment("gpt-x", "groq/llama-3.3-70b-versatile", &cheap, &json!({"order": 2}))
            .set(
                "router_settings",
                "provider_budget_config",
                json!({"openai": {"budget_limit": ONE_CALL_CAP, "time_period": "30d"}}),
            )
    })
    .await;
    let key = gw.key(&json!({})).await;
    for _ in 0..3 {
        passes(call(&gw, &key)).await;
    }
    assert_eq!((dear.requests().len(), cheap.requests().len()), (1, 2));
    let rows: Vec<_> = gw.rows().await.iter().map(|row| (row.provider.clone(), row.status.clone())).collect();
    let row = |provider: &str| (provider.to_owned(), "success".to_owned());
    assert_eq!(rows, [row("groq"), row("groq"), row("openai")], "what never went out has no row");
}

#[tokio::test]
async fn where_a_deployments_money_is_gone_the_next_one_answers_and_then_none() {
    let (one, other) = (Upstream::start().await, Upstream::start().await);
    let budget = |order: u64| json!({"order": order, "max_budget": ONE_CALL_CAP, "budget_duration": "30d"});
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &one, &budget(1)).deployment(
            "gpt-x",
            "openai/gpt-4.1-mini",
            &other,
            &budget(2),
        )
    })
    .await;
    let key = gw.key(&json!({})).await;
    passes(call(&gw, &key)).await;
    passes(call(&gw, &key)).await;
    let refused = call(&gw, &key).send().await.expect(402).json();
    let scope = refused["error"]["details"]["scope"].as_str().unwrap_or_default();
    assert!(scope.starts_with("deployment:"), "{refused}");
    assert_eq!((one.requests().len(), other.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_key_has_budgets_for_single_models() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let limit = json!({"gpt-x": {"budget_limit": ONE_CALL_CAP, "time_period": "30d"}});
    let key = gw.key(&json!({"model_max_budget": limit})).await;
    let hash = fleetgate_wire::virtual_key::KeyHash::digest(&key);
    spends(call(&gw, &key), &format!("key_model:{hash}/gpt-x")).await;
    passes(gw.post("/v1/chat/completions").bearer(&key).json(&request("gpt-y"))).await;
}

#[tokio::test]
async fn of_several_windows_the_one_that_is_spent_refuses() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let windows = json!([
        {"max_budget": 1, "budget_duration": "1d"}, {"max_budget": ONE_CALL_CAP, "budget_duration": "30d"},
    ]);
    let key = gw.key(&json!({"budget_limits": windows})).await;
    passes(call(&gw, &key)).await;
    let refused = call(&gw, &key).send().await.expect(402).json();
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("The budget is for 30d"), "{message}");
    let budgets = gw.admin_get("/api/budgets").await;
    let spent: Vec<_> = budgets["budgets"].as_array().into_iter().flatten().map(|b| &b["spent_nanousd"]).collect();
    assert_eq!(spent, [&json!(420_000), &json!(420_000)], "{budgets}");
}

#[tokio::test]
async fn a_named_budget_holds_for_each_who_refers_to_it() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    gw.admin_post("/budget/new", &json!({"budget_id": "small", "max_budget": ONE_CALL_CAP})).await;
    for _ in 0..2 {
        let key = gw.key(&json!({"budget_id": "small"})).await;
        let hash = fleetgate_wire::virtual_key::KeyHash::digest(&key);
        spends(call(&gw, &key), &format!("key:{hash}")).await;
    }
}

#[tokio::test]
async fn a_soft_budget_warns_and_never_blocks() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let key = gw.key(&json!({"key_alias": "vk-soft", "soft_budget": 0.000_1})).await;
    for _ in 0..3 {
        passes(call(&gw, &key)).await;
    }
    let warnings = || gw.stderr().lines().filter(|line| line.contains("soft")).count();
    // The line is written beside the calls.
    eventually("a warning", async || (warnings() > 0).then_some(())).await;
    passes(call(&gw, &key)).await;
    assert_eq!(warnings(), 1, "{}", gw.stderr());
}

#[tokio::test]
async fn a_temporary_increase_holds_until_its_time() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let increase =
        |expiry: &str| json!({"max_budget": ONE_CALL_CAP, "temp_budget_increase": 1, "temp_budget_expiry": expiry});
    let key = gw.key(&increase("2999-01-01T00:00:00Z")).await;
    passes(call(&gw, &key)).await;
    passes(call(&gw, &key)).await;
    let over = gw.key(&increase("2020-01-01")).await;
    let hash = fleetgate_wire::virtual_key::KeyHash::digest(&over);
    spends(call(&gw, &over), &format!("key:{hash}")).await;
}

#[tokio::test]
async fn a_budget_that_comes_later_knows_what_was_spent_before() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let key = gw.key(&json!({})).await;
    passes(call(&gw, &key)).await;
    gw.admin_post("/key/update", &json!({"key": key, "max_budget": ONE_CALL_CAP})).await;
    let refused = call(&gw, &key).send().await.expect(402).json();
    assert_eq!(refused["error"]["details"]["spent"], json!(0.000_42), "{refused}");
    gw.admin_post("/key/update", &json!({"key": key, "max_budget": null})).await;
    passes(call(&gw, &key)).await;
}
