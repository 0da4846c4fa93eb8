//! Who spent how much, and old calls by today's prices: over the API and as people type it.

use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, MASTER_KEY, Postgres, Upstream};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};

/// 800 uncached at 0.4, 200 cached at 0.1, 50 produced at 1.6 dollars a million.
const GPT_COST: i64 = 800 * 400 + 200 * 100 + 50 * 1600;
/// All 1000 at 1 dollar, 50 produced at 2 dollars a million.
const OWN_COST: i64 = 1000 * 1000 + 50 * 2000;

/// Two calls of `gpt-x` and one of `nameless`, which has no price, by the host mac; one of `gpt-x` by the host dgx.
async fn spent(upstream: &Upstream, database: Option<&str>) -> (Gateway, String) {
    let gw = Gateway::start(|c| {
        let c = database.into_iter().fold(c, |c, url| c.database(url));
        let nameless = "openai/a-model-without-price";
        c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({})).deployment(
            "nameless",
            nameless,
            upstream,
            &json!({}),
        )
    })
    .await;
    let mac = gw.key(&json!({"key_alias": "vk-mac", "host": "mac", "user_id": "anna"})).await;
    let dgx = gw.key(&json!({"key_alias": "vk-dgx", "host": "dgx"})).await;
    for (key, model) in [(&mac, "gpt-x"), (&mac, "gpt-x"), (&mac, "nameless"), (&dgx, "gpt-x")] {
        let call = gw.post("/v1/chat/completions").bearer(key).json(&chat_request(model));
        call.header("x-litellm-tags", "nightly,eu").send().await.expect(200);
    }
    (gw, mac)
}

fn known_cost(rows: &[Row]) -> i64 {
    rows.iter().filter_map(|row| row.cost_nanousd).sum()
}

#[tokio::test]
async fn sums_are_those_of_the_rows() {
    check_sums(None).await;
}

#[tokio::test]
async fn sums_are_those_of_the_rows_on_postgresql() {
    let server = Postgres::start().await;
    check_sums(Some(&server.database("ledger").await)).await;
}

async fn check_sums(database: Option<&str>) {
    let upstream = Upstream::start().await;
    let (gw, _) = spent(&upstream, database).await;
    let answer = gw.admin_get("/api/spend?by=host,key&since=1d").await;
    let total = &answer["total"];
    assert_eq!((&total["calls"], &total["unpriced_calls"]), (&json!(4), &json!(1)));
    assert_eq!((&total["input_tokens"], &total["output_tokens"]), (&json!(4_000), &json!(200)));
    assert_eq!(total["cost_nanousd"], 3 * GPT_COST);
    assert_eq!(known_cost(&gw.rows().await), 3 * GPT_COST);
    let group = |number: usize| {
        let group = &answer["groups"][number];
        ["host", "key_alias", "calls", "cost_nanousd", "unpriced_calls"].map(|name| group[name].clone())
    };
    assert_eq!(group(0), [json!("mac"), json!("vk-mac"), json!(3), json!(2 * GPT_COST), json!(1)]);
    assert_eq!(group(1), [json!("dgx"), json!("vk-dgx"), json!(1), json!(GPT_COST), json!(0)]);
    let by_tag = gw.admin_get("/api/spend?by=tag").await;
    let tags: Vec<&Value> = by_tag["groups"].as_array().into_iter().flatten().map(|group| &group["tag"]).collect();
    assert_eq!(tags, ["eu", "nightly"]);
    assert_eq!(by_tag["total"], *total, "a call with two tags counts once in the total");
    assert_eq!(gw.admin_get("/api/spend?until=2020-01-01").await["total"]["calls"], 0);
}

#[tokio::test]
async fn spend_is_the_administrators_alone_and_what_cannot_be_read_is_refused() {
    let upstream = Upstream::start().await;
    let (gw, key) = spent(&upstream, None).await;
    gw.get("/api/spend").bearer(&key).send().await.expect(403);
    gw.get("/api/spend/unpriced").bearer(&key).send().await.expect(403);
    gw.post("/api/spend/reprice").bearer(&key).json(&json!({})).send().await.expect(403);
    for path in ["/api/spend?by=colour", "/api/spend?since=yesterday", "/api/spend/unpriced?until=x"] {
        gw.get(path).bearer(MASTER_KEY).send().await.expect(400);
    }
    gw.post("/api/spend/reprice").bearer(MASTER_KEY).json(&json!({"models": "x"})).send().await.expect(400);
}

#[tokio::test]
async fn a_model_without_a_price_is_listed_and_priced_when_its_entry_names_one() {
    check_repricing(None).await;
}

#[tokio::test]
async fn old_calls_are_priced_anew_on_postgresql_too() {
    let server = Postgres::start().await;
    check_repricing(Some(&server.database("ledger").await)).await;
}

async fn check_repricing(database: Option<&str>) {
    let upstream = Upstream::start().await;
    let (mut gw, key) = spent(&upstream, database).await;
    let listed = gw.admin_get("/api/spend/unpriced").await;
    let model = &listed["unpriced"][0];
    assert_eq!(listed["unpriced"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(
        (&model["model"], &model["calls"], &model["input_tokens"]),
        (&json!("a-model-without-price"), &json!(1), &json!(1000))
    );
    assert!(
        model["entry"].as_str().is_some_and(|entry| entry.starts_with("nameless (") && entry.contains("config.yaml:"))
    );
    assert!(model["advice"].as_str().is_some_and(|advice| advice.contains("input_cost_per_token")), "{model}");
    let nothing = gw.admin_post("/api/spend/reprice", &json!({})).await;
    assert_eq!((&nothing["rows"], &nothing["changed"], &nothing["unpriced"]), (&json!(4), &json!(0), &json!(1)));

    // The entry's id is made of its parameters: with a price in it, it is another entry.
    let prices = json!({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6});
    gw.restart_with_models(|c| {
        let nameless = "openai/a-model-without-price";
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &prices)
            .deployment("nameless", nameless, &upstream, &prices)
    })
    .await;
    let advice = gw.admin_get("/api/spend/unpriced").await["unpriced"][0]["advice"].to_string();
    assert!(advice.contains("by now"), "{advice}");
    let one = json!({"model": "nameless", "since": "1d", "dry_run": true});
    let dry = gw.admin_post("/api/spend/reprice", &one).await;
    assert_eq!(
        (&dry["changed"], &dry["newly_priced"], &dry["after_nanousd"]),
        (&json!(1), &json!(1), &json!(OWN_COST))
    );
    assert_eq!(known_cost(&gw.rows().await), 3 * GPT_COST, "a dry run changes nothing");

    let all = gw.admin_post("/api/spend/reprice", &json!({})).await;
    let figures = ["rows", "changed", "newly_priced", "before_nanousd", "after_nanousd", "unpriced"]
        .map(|name| all[name].clone());
    assert_eq!(figures, [4, 4, 1, 3 * GPT_COST, 4 * OWN_COST, 0].map(|figure| json!(figure)));
    let again = gw.admin_post("/api/spend/reprice", &json!({})).await;
    assert_eq!(again["changed"], 0, "what is done is not done again");

    let rows = gw.rows().await;
    let seen: Vec<_> = rows.iter().map(|row| (row.cost_nanousd, row.cost_before_nanousd)).collect();
    assert_eq!(seen, [Some(GPT_COST), None, Some(GPT_COST), Some(GPT_COST)].map(|before| (Some(OWN_COST), before)));
    assert!(rows.iter().all(|row| row.price_source == "override"), "{rows:#?}");
    assert_eq!(gw.admin_get("/api/spend").await["total"]["cost_nanousd"], 4 * OWN_COST);
    let info = gw.admin_get(&format!("/key/info?key={key}")).await;
    assert_eq!(info["info"]["spend"], json!(0.0033), "the key's spend follows");
    assert_eq!(gw.admin_get("/api/spend/unpriced").await, json!({"unpriced": []}));
}

#[tokio::test]
async fn the_command_shows_a_table_a_list_and_json() {
    let upstream = Upstream::start().await;
    let (gw, _) = spent(&upstream, None).await;
    let table = gw.fleetgate(&["spend", "--by", "host", "--by", "user"]).await;
    let lines: Vec<String> =
        table.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "host user calls in cached out cost unknown", "{}", table.said());
    assert_eq!(lines[1], "mac anna 3 3000 600 150 $0.00084 1");
    assert_eq!(lines[2], "dgx - 1 1000 200 50 $0.00042 -");
    assert_eq!(lines[3], "total 4 4000 800 200 $0.00126 1");
    assert!(lines[4].starts_with("unpriced calls: 1 ("), "{}", lines[4]);

    let json = gw.fleetgate(&["spend", "--json", "--since", "7d"]).await;
    let groups: Vec<Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
    assert_eq!(
        groups.iter().filter_map(|group| group["cost_nanousd"].as_i64()).sum::<i64>(),
        3 * GPT_COST,
        "{}",
        json.said()
    );
    for name in ["host", "workload", "key_alias", "model", "provider", "input_tokens", "cache_read_tokens"] {
        assert!(groups[0].get(name).is_some(), "{name}: {}", groups[0]);
    }

    let unpriced = gw.fleetgate(&["spend", "--unpriced"]).await;
    assert!(
        unpriced.stdout.contains("a-model-without-price") && unpriced.stdout.contains("base_model"),
        "{}",
        unpriced.said()
    );
    let reprice = gw.fleetgate(&["spend", "reprice", "--model", "nameless"]).await;
    assert!(
        reprice.stdout.starts_with("0 of 1 calls changed") && reprice.stdout.contains("1 still"),
        "{}",
        reprice.said()
    );
    let wrong = gw.fleetgate(&["spend", "--by", "colour"]).await;
    assert!(
        !wrong.status.success() && wrong.stderr.contains("colour") && wrong.stderr.contains("workload"),
        "{}",
        wrong.said()
    );
}
