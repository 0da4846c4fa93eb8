//! What an administrator changes on one gateway is in force for calls through the others. The figures are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use std::time::{Duration, Instant};

use fleetgate_tests::upstream::Upstream;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, Postgres, eventually};
use serde_json::{Value, json};

/// Two gateways on one database, and how long each change took to get from the first to the second.
struct Pair {
    one: Gateway,
    other: Gateway,
    took: Vec<(String, Duration)>,
}

impl Pair {
    async fn status(&self, key: &str) -> u16 {
        let mut request = chat_request("gpt-x");
        request["max_tokens"] = json!(20);
        request["user"] = json!("acme");
        let call = self.other.post("/v1/chat/completions").bearer(key).header("x-litellm-tags", "nightly");
        call.json(&request).send().await.status.as_u16()
    }

    /// Waits until the second gateway answers the key so.
    async fn until(&self, what: &str, key: &str, status: u16) {
        let answers = async || (self.status(key).await == status).then_some(());
        eventually(&format!("{what}: {status} on the other gateway"), answers).await;
    }

    /// Orders something at the first gateway and waits until the second acts on it.
    async fn change(&mut self, key: &str, path: &str, body: Value, status: u16) {
        let what = format!("{path} {body}").replace(key, "…");
        self.one.admin_post(path, &body).await;
        let start = Instant::now();
        self.until(&what, key, status).await;
        self.took.push((what, start.elapsed()));
    }

    async fn key(&self, fields: &Value) -> String {
        let key = self.one.key(fields).await;
        self.until("a new key", &key, 200).await;
        key
    }

    fn tell(mut self) {
        self.took.sort_by_key(|(_, took)| *took);
        let (slowest, most) = &self.took[self.took.len() - 1];
        let median = self.took[self.took.len() / 2].1;
        println!(
            "{} kinds of changes reach the other gateway: median {} ms, most {} ms ({slowest})",
            self.took.len(),
            median.as_millis(),
            most.as_millis()
        );
    }
}

async fn pair(server: &Postgres, upstream: &Upstream) -> Pair {
    let url = server.database("ledger").await;
    let start = async || {
        Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({})).database(&url)).await
    };
    Pair { one: start().await, other: start().await, took: Vec::new() }
}

#[tokio::test]
async fn whatever_is_changed_of_a_key_holds_on_the_other_gateway() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let mut pair = pair(&server, &upstream).await;
    let key = pair.key(&json!({"key_alias": "vk-mac"})).await;
    for (fields, status) in [
        (json!({"max_budget": 0}), 402),
        (json!({"temp_budget_increase": 1, "temp_budget_expiry": "2999-01-01T00:00:00Z"}), 200),
        (json!({"temp_budget_increase": null, "temp_budget_expiry": null}), 402),
        (json!({"max_budget": 1}), 200),
        (json!({"max_budget": 0}), 402),
        (json!({"max_budget": null}), 200),
        (json!({"rpm_limit": 0}), 429),
        (json!({"rpm_limit": null}), 200),
        (json!({"tpm_limit": 0}), 429),
        (json!({"tpm_limit": null}), 200),
        (json!({"max_parallel_requests": 0}), 429),
        (json!({"max_parallel_requests": null}), 200),
        (json!({"models": ["another"]}), 403),
        (json!({"models": []}), 200),
    ] {
        let mut fields = fields;
        fields["key"] = json!(key);
        pair.change(&key, "/key/update", fields, status).await;
    }
    pair.change(&key, "/key/block", json!({"key": key}), 401).await;
    pair.change(&key, "/key/unblock", json!({"key": key}), 200).await;

    let spent = pair.key(&json!({"key_alias": "vk-spent", "max_budget": 0.002, "budget_duration": "30d"})).await;
    pair.until("its budget is spent", &spent, 402).await;
    pair.change(&spent, &format!("/key/{spent}/reset_spend"), json!({"reset_to": 0}), 200).await;
    pair.change(&key, "/key/delete", json!({"keys": [key]}), 401).await;
    pair.tell();
}

#[tokio::test]
async fn whatever_is_changed_of_teams_users_customers_tags_and_named_budgets_holds_on_the_other_gateway() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let mut pair = pair(&server, &upstream).await;
    pair.one.admin_post("/budget/new", &json!({"budget_id": "small", "max_budget": 1})).await;
    pair.one.admin_post("/team/new", &json!({"team_id": "ml"})).await;
    pair.one.admin_post("/user/new", &json!({"user_id": "ada", "auto_create_key": false})).await;
    pair.one.admin_post("/customer/new", &json!({"user_id": "acme"})).await;
    pair.one.admin_post("/tag/new", &json!({"name": "nightly"})).await;
    let key = pair.key(&json!({"team_id": "ml", "user_id": "ada", "budget_id": "small"})).await;
    let mut changes = Vec::new();
    for (path, id, name) in [
        ("/team/update", "team_id", "ml"),
        ("/user/update", "user_id", "ada"),
        ("/customer/update", "user_id", "acme"),
        ("/tag/update", "name", "nightly"),
        ("/budget/update", "budget_id", "small"),
    ] {
        for (field, value, status) in [("max_budget", json!(0), 402), ("max_budget", json!(1), 200)] {
            changes.push((path, json!({id: name, field: value}), status));
        }
    }
    for (path, id, name) in [("/team/update", "team_id", "ml"), ("/user/update", "user_id", "ada")] {
        changes.push((path, json!({id: name, "rpm_limit": 0}), 429));
        changes.push((path, json!({id: name, "rpm_limit": null}), 200));
    }
    changes.push(("/user/update", json!({"user_id": "ada", "blocked": true}), 401));
    changes.push(("/user/update", json!({"user_id": "ada", "blocked": false}), 200));
    changes.push(("/customer/block", json!({"user_ids": ["acme"]}), 401));
    changes.push(("/customer/unblock", json!({"user_ids": ["acme"]}), 200));
    changes.push(("/customer/delete", json!({"user_ids": ["acme"]}), 200));
    changes.push(("/team/block", json!({"team_id": "ml"}), 401));
    changes.push(("/team/unblock", json!({"team_id": "ml"}), 200));
    for (path, body, status) in changes {
        pair.change(&key, path, body, status).await;
    }
    pair.tell();
}
