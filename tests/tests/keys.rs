//! Virtual keys: where a caller may carry one, and LiteLLM's management API for them.

use std::fs;

use fleetgate_tests::upstream::PROVIDER_KEY;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Answer, Gateway, MASTER_KEY, Upstream, eventually};
use serde_json::{Value, json};

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(|c| c.model("gpt-x", upstream).model("gpt-y", upstream)).await
}

async fn chat(gw: &Gateway, key: &str, model: &str) -> Answer {
    gw.post("/v1/chat/completions").bearer(key).json(&chat_request(model)).send().await
}

fn sha256_hex(key: &str) -> String {
    fleetgate_wire::virtual_key::KeyHash::digest(key).to_string()
}

#[tokio::test]
async fn a_key_is_found_in_every_header_that_clients_use() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    let bearer = format!("Bearer {key}");
    let headers = [
        ("x-litellm-api-key", key.as_str()),
        ("x-litellm-api-key", &bearer),
        ("authorization", &bearer),
        ("api-key", &key),
        ("x-api-key", &key),
        ("x-goog-api-key", &key),
        ("ocp-apim-subscription-key", &key),
        ("proxy-authorization", &bearer),
    ];
    for (name, value) in headers {
        let call = gw.post("/v1/chat/completions").header(name, value).json(&chat_request("gpt-x"));
        let answer = call.send().await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    for request in upstream.requests() {
        assert!(!request.everything().contains(&key), "{}", request.everything());
        assert_eq!(request.header("authorization"), format!("Bearer {PROVIDER_KEY}"));
    }
    assert_eq!(gw.rows().await.iter().filter(|row| row.key_alias == "vk-mac").count(), headers.len());
}

#[tokio::test]
async fn a_made_key_is_answered_as_litellm_does() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let fields = json!({"key_alias": "vk-hermes", "max_budget": 5.0, "budget_duration": "30d", "metadata": {"a": 1}});
    let made = gw.admin_post("/key/generate", &fields).await;
    let key = made["key"].as_str().unwrap_or_default();
    assert!(key.starts_with("sk-"), "{made}");
    assert_eq!(made["token"], sha256_hex(key));
    assert_eq!(made["token_id"], made["token"]);
    assert_eq!(made["key_name"], format!("sk-...{}", &key[key.len() - 4..]));
    for (name, value) in fields.as_object().into_iter().flatten() {
        assert_eq!(made[name], *value, "{name}");
    }
    assert_eq!((&made["expires"], &made["models"], &made["spend"]), (&Value::Null, &json!([]), &json!(0.0)));

    let info = gw.admin_get(&format!("/key/info?key={key}")).await;
    assert_eq!((&info["key"], &info["info"]["key_alias"]), (&json!(key), &json!("vk-hermes")));
    let by_hash = gw.admin_get(&format!("/key/info?key={}", sha256_hex(key))).await;
    assert_eq!(by_hash["info"]["key_alias"], "vk-hermes");
    assert!(!info["info"].to_string().contains(key), "the key's text is shown once, when it is made");
}

#[tokio::test]
async fn a_key_of_the_callers_own_choice_works_and_an_alias_is_unique() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let own = "sk-Xn3Q0d0cFv0mJq1mT9wq7g";
    assert_eq!(gw.key(&json!({"key": own, "key_alias": "own"})).await, own);
    chat(&gw, own, "gpt-x").await.expect(200);
    let again = gw.post("/key/generate").bearer(MASTER_KEY).json(&json!({"key_alias": "own"})).send().await;
    assert_eq!(again.expect(400).json()["error"]["param"], "key_alias");
}

#[tokio::test]
async fn the_list_of_keys_is_paged() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let mut hashes = Vec::new();
    for alias in ["a", "b", "c"] {
        hashes.push(json!(sha256_hex(&gw.key(&json!({"key_alias": alias})).await)));
    }
    let all = gw.admin_get("/key/list").await;
    assert_eq!((&all["total_count"], &all["current_page"], &all["total_pages"]), (&json!(3), &json!(1), &json!(1)));
    let listed = all["keys"].as_array().cloned().unwrap_or_default();
    assert!(hashes.iter().all(|hash| listed.contains(hash)), "{all}");
    let page = gw.admin_get("/key/list?page=2&size=2").await;
    assert_eq!((page["keys"].as_array().map(Vec::len), &page["total_pages"]), (Some(1), &json!(2)));
    let full = gw.admin_get("/key/list?return_full_object=true&key_alias=b").await;
    assert_eq!((full["keys"].as_array().map(Vec::len), &full["keys"][0]["key_alias"]), (Some(1), &json!("b")));
}

#[tokio::test]
async fn a_blocked_key_is_refused_until_it_is_unblocked() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    gw.admin_post("/key/block", &json!({"key": key})).await;
    let refused = chat(&gw, &key, "gpt-x").await.expect(401);
    let error = &refused.json()["error"];
    assert!(error["message"].as_str().unwrap_or_default().contains("blocked"), "{error}");
    assert_eq!((&error["type"], &error["code"]), (&json!("auth_error"), &json!("401")));
    assert_eq!(refused.header("x-should-retry"), "false");
    gw.admin_post("/key/unblock", &json!({"key": sha256_hex(&key)})).await;
    chat(&gw, &key, "gpt-x").await.expect(200);
}

#[tokio::test]
async fn a_key_reaches_only_its_models() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "models": ["gpt-x"]})).await;
    chat(&gw, &key, "gpt-x").await.expect(200);
    let refused = chat(&gw, &key, "gpt-y").await.expect(403);
    let error = &refused.json()["error"];
    assert_eq!((&error["type"], &error["param"]), (&json!("key_model_access_denied"), &json!("model")));
    let message = error["message"].as_str().unwrap_or_default();
    for phrase in ["is not available for this API key, or the model name is invalid", "not allowed to access model"] {
        assert!(message.contains(phrase), "{message}");
    }
    assert_eq!(gw.rows().await.len(), 1, "a refused call writes no row");
    assert_eq!(upstream.requests().len(), 1);
    let listed = gw.get("/v1/models").bearer(&key).send().await.expect(200).json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "a key sees its own models only: {listed}");

    gw.admin_post("/key/update", &json!({"key": key, "models": ["gpt-*"]})).await;
    chat(&gw, &key, "gpt-y").await.expect(200);
}

#[tokio::test]
async fn unknown_deleted_and_missing_keys_are_told_apart() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    let deleted = gw.admin_post("/key/delete", &json!({"keys": [key]})).await;
    assert_eq!(deleted["deleted_keys"].as_array().map(Vec::len), Some(1), "{deleted}");
    for unknown in [key.as_str(), "sk-nobody-has-ever-seen-this"] {
        let body = chat(&gw, unknown, "gpt-x").await.expect(401).json();
        assert_eq!((&body["error"]["type"], &body["error"]["param"]), (&json!("token_not_found_in_db"), &json!("key")));
        assert!(!body.to_string().contains(unknown), "a refusal never repeats a key: {body}");
    }
    let none = gw.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await.expect(401).json();
    assert!(none["error"]["message"].as_str().unwrap_or_default().contains("No api key passed in"), "{none}");
    let junk = chat(&gw, "DUMMY_KEY", "gpt-x").await.expect(401).json();
    assert!(!junk.to_string().contains("DUMMY_KEY"), "{junk}");
    assert!(upstream.requests().is_empty() && gw.rows().await.is_empty());
}

#[tokio::test]
async fn a_key_expires() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-brief", "duration": "1s"})).await;
    let refused = eventually("the key expires", async || {
        let answer = chat(&gw, &key, "gpt-x").await;
        (answer.status == 401).then_some(answer)
    });
    assert_eq!(refused.await.json()["error"]["type"], "expired_key");
    gw.admin_post("/key/update", &json!({"key": key, "duration": "1h"})).await;
    chat(&gw, &key, "gpt-x").await.expect(200);
}

#[tokio::test]
async fn only_the_administrator_manages_keys() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    for path in ["/key/generate", "/key/delete", "/key/block", "/key/update"] {
        let body = json!({"keys": [key], "key": key});
        let refused = gw.post(path).bearer(&key).json(&body).send().await;
        assert!(matches!(refused.status.as_u16(), 401 | 403), "{path}: {} {}", refused.status, refused.text());
        let nobody = gw.post(path).json(&body).send().await;
        assert_eq!(nobody.status, 401, "{path}");
    }
    for path in ["/key/list", "/api/logs", "/api/config", "/spend/logs"] {
        let refused = gw.get(path).bearer(&key).send().await;
        assert!(matches!(refused.status.as_u16(), 401 | 403), "{path}: {} {}", refused.status, refused.text());
    }
    let own = gw.get("/key/info").bearer(&key).send().await.expect(200).json();
    assert_eq!(own["info"]["key_alias"], "vk-mac", "a key may look at itself");
}

#[tokio::test]
async fn the_files_hold_hashes_and_never_a_key() {
    let upstream = Upstream::start().await;
    let mut gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-canary-alias"})).await;
    chat(&gw, &key, "gpt-x").await.expect(200);
    gw.restart().await;
    chat(&gw, &key, "gpt-x").await.expect(200);
    let mut alias_seen = false;
    for entry in fs::read_dir(gw.dir()).expect("the gateway's directory").flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!holds(&key), "{} holds a virtual key", entry.path().display());
        if entry.path() != gw.config_file() {
            assert!(!holds(PROVIDER_KEY) && !holds(MASTER_KEY), "{} holds a secret", entry.path().display());
            alias_seen |= holds("vk-canary-alias");
        }
    }
    assert!(alias_seen, "the look into the files found nothing at all");
}

#[tokio::test]
async fn curl_without_a_content_type_is_understood() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let body = r#"{"key_alias":"vk-curl"}"#;
    let head = format!("POST /key/generate HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {MASTER_KEY}\r\n");
    let kind = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n";
    let request = format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len());
    let answer = fleetgate_tests::client::raw(gw.address(), request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("vk-curl"), "{answer}");
}

#[tokio::test]
async fn many_changes_at_once_are_all_made_and_all_in_force() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let one = gw.key(&json!({"key_alias": "one"})).await;
    let mut others = Vec::new();
    for number in 0..8 {
        others.push(gw.key(&json!({"key_alias": format!("other-{number}")})).await);
    }
    let mut changes = tokio::task::JoinSet::new();
    for (number, other) in others.iter().enumerate() {
        let field = format!("field_{number}");
        changes.spawn(gw.post("/key/update").bearer(MASTER_KEY).json(&json!({"key": one, field: number})).send());
        changes.spawn(gw.post("/key/block").bearer(MASTER_KEY).json(&json!({"key": other})).send());
    }
    for answer in changes.join_all().await {
        answer.expect(200);
    }
    let info = gw.admin_get(&format!("/key/info?key={one}")).await;
    for (number, other) in others.iter().enumerate() {
        assert_eq!(info["info"][format!("field_{number}")], number, "a change was overwritten: {info}");
        chat(&gw, other, "gpt-x").await.expect(401);
    }
}

#[tokio::test]
async fn a_key_cannot_take_the_name_of_another() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let (one, _) = (gw.key(&json!({"key_alias": "one"})).await, gw.key(&json!({"key_alias": "two"})).await);
    let update = |body: Value| gw.post("/key/update").bearer(MASTER_KEY).json(&body).send();
    let taken = update(json!({"key": one, "key_alias": "two"})).await.expect(400);
    assert_eq!(taken.json()["error"]["param"], "key_alias", "{}", taken.text());
    assert_eq!(gw.admin_get(&format!("/key/info?key={one}")).await["info"]["key_alias"], "one");
    update(json!({"key": one, "key_alias": "one"})).await.expect(200);
    let unknown = gw.post("/key/delete").bearer(MASTER_KEY).json(&json!({"keys": [one, "sk-unknown-key-0001"]}));
    unknown.send().await.expect(404);
    chat(&gw, &one, "gpt-x").await.expect(200);
    let listed = gw.admin_get("/key/list?return_full_object=True").await;
    assert_eq!(listed["keys"][0]["key_alias"], "two", "{listed}");
}

#[tokio::test]
async fn a_key_sees_the_models_that_it_may_call_and_no_others() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.model("gpt-x", &upstream).entry(json!({
            "model_name": "gpt-beta",
            "litellm_params": {"model": "openai/gpt-beta", "api_base": upstream.base(), "api_key": PROVIDER_KEY},
            "model_info": {"access_groups": ["beta"]},
        }))
    })
    .await;
    for (models, seen) in [
        (json!(["beta"]), vec!["gpt-beta"]),
        (json!(["all-team-models"]), vec!["gpt-x", "gpt-beta"]),
        (json!(["gpt-x"]), vec!["gpt-x"]),
        (json!(["gone"]), vec![]),
    ] {
        let key = gw.key(&json!({"models": models})).await;
        let list = gw.get("/v1/models").bearer(&key).send().await.expect(200).json();
        let names: Vec<&str> = list["data"].as_array().into_iter().flatten().filter_map(|m| m["id"].as_str()).collect();
        assert_eq!(names, seen, "{models}");
        for model in ["gpt-x", "gpt-beta"] {
            let reached = seen.contains(&model);
            chat(&gw, &key, model).await.expect(if reached { 200 } else { 403 });
            let one = gw.get(&format!("/v1/models/{model}")).bearer(&key).send().await;
            one.expect(if reached { 200 } else { 404 });
        }
        // Nor does it learn which names there are.
        chat(&gw, &key, "no-such-model").await.expect(if models == json!(["all-team-models"]) { 400 } else { 403 });
    }
}

#[tokio::test]
async fn a_limit_that_is_not_enforced_says_so() {
    let gw = Gateway::start(|c| c).await;
    let made = gw.admin_post("/key/generate", &json!({"guardrails": ["pii"], "allowed_routes": ["/v1/models"]})).await;
    assert_eq!(made["guardrails"][0], "pii");
    let warnings = made["fleetgate_warnings"].to_string();
    assert!(warnings.contains("guardrails") && warnings.contains("allowed_routes"), "{warnings}");
    let limits = json!({"max_budget": 5, "rpm_limit": 10, "tpm_limit": 1000, "max_parallel_requests": 2});
    let held = gw.admin_post("/key/generate", &limits).await;
    assert_eq!(held.get("fleetgate_warnings"), None, "these are in force");
}

#[tokio::test]
async fn several_keys_are_looked_at_and_changed_at_once() {
    let gw = Gateway::start(|c| c).await;
    let (one, two) = (gw.key(&json!({"key_alias": "one"})).await, gw.key(&json!({"key_alias": "two"})).await);
    gw.key(&json!({})).await;
    let aliases = gw.admin_get("/key/aliases").await;
    assert_eq!((&aliases["aliases"], &aliases["total_count"]), (&json!(["one", "two"]), &json!(2)));
    assert_eq!(gw.admin_get("/key/aliases?search=TW").await["aliases"], json!(["two"]));

    let info = gw.admin_post("/v2/key/info", &json!({"keys": [one, "sk-unknown-key-0001", two]})).await;
    let found: Vec<&Value> = info["info"].as_array().into_iter().flatten().map(|key| &key["key_alias"]).collect();
    assert_eq!(found, ["one", "two"]);
    let by_alias = gw.admin_post("/v2/key/info", &json!({"key_aliases": ["two"]})).await;
    assert_eq!(by_alias["info"][0]["token"], sha256_hex(&two));

    let changes = json!({"keys": [
        {"key": one, "max_budget": 3}, {"key": "sk-unknown-key-0001", "max_budget": 3}, {"key": two, "max_budget": -3},
    ]});
    let changed = gw.admin_post("/key/bulk_update", &changes).await;
    assert_eq!(
        (&changed["total_requested"], changed["successful_updates"].as_array().map(Vec::len)),
        (&json!(3), Some(1))
    );
    let reasons = changed["failed_updates"].to_string();
    assert!(reasons.contains("not found") && reasons.contains("max_budget"), "{reasons}");
    assert_eq!(gw.admin_get(&format!("/key/info?key={one}")).await["info"]["max_budget"], 3);
    assert_eq!(gw.admin_get(&format!("/key/info?key={two}")).await["info"]["max_budget"], Value::Null);

    let healthy = gw.post("/key/health").bearer(&one).send().await.expect(200).json();
    assert_eq!(healthy, json!({"key": "healthy", "logging_callbacks": null}));
    gw.post("/key/health").bearer("sk-unknown-key-0001").send().await.expect(401);
}
