//! What a budget counts is what its rows say: at every look under load, and to the nano-dollar once the calls are over.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use fleetgate_tests::load::{CHAT_MODEL, MESSAGES_MODEL};
use fleetgate_tests::upstream::openai::chat_events;
use fleetgate_tests::upstream::{anthropic, openai};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Books, Call, Gateway, MASTER_KEY, Postgres, Reply, Upstream, eventually};
use fleetgate_wire::virtual_key::KeyHash;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Calls of one round, at each gateway.
const CALLS: usize = 30;
const ROUNDS: usize = 6;
/// How often the observer looks before the calls of a round can all end.
const LOOKS: usize = 3;
const CAP: f64 = 500.0;

/// Gateways that serve one key, of a team with a budget too.
struct Fleet {
    gateways: Vec<Gateway>,
    key: String,
    hash: String,
}

/// What a budget says of itself, in nano-dollars.
#[derive(Debug, Clone, Copy)]
struct Level {
    spent: i64,
    reserved: i64,
}

#[allow(clippy::cast_possible_truncation, reason = "dollars of a test are few")]
fn nanos(dollars: &Value) -> i64 {
    (dollars.as_f64().unwrap_or_else(|| panic!("no dollars: {dollars}")) * 1e9).round() as i64
}

/// The sum of a family's samples whose labels hold this, in nano-dollars.
fn sampled(page: &str, family: &str, label: &str) -> i64 {
    let of_family = |line: &&str| line.split(['{', ' ']).next() == Some(family) && line.contains(label);
    page.lines().filter(of_family).map(|line| nanos(&line.rsplit(' ').next().unwrap().parse().unwrap())).sum()
}

impl Fleet {
    async fn start(gateways: usize, database: Option<&str>, upstream: &Upstream) -> Self {
        let mut all = Vec::new();
        for _ in 0..gateways {
            let gw = Gateway::start(|c| {
                let c = c.deployment(CHAT_MODEL, "openai/gpt-4.1-mini", upstream, &json!({}));
                let c = c.deployment(MESSAGES_MODEL, "anthropic/claude-sonnet-4-5", upstream, &json!({}));
                // The provider fails often here, and shall be asked again at once.
                let c = c.set("router_settings", "disable_cooldowns", json!(true));
                database.into_iter().fold(c, |c, url| c.database(url))
            });
            all.push(gw.await);
        }
        let team = json!({"team_id": "ml", "max_budget": CAP, "budget_duration": "30d"});
        all[0].admin_post("/team/new", &team).await;
        let key =
            all[0].key(&json!({"key_alias": "vk-mac", "team_id": "ml", "user_id": "ada", "max_budget": CAP})).await;
        for gw in &all {
            eventually("key and budgets are known", async || {
                let known = gw.get("/v1/models").bearer(&key).send().await.status == 200;
                let budgets = gw.admin_get("/api/budgets").await["budgets"].take();
                let budgets = budgets.as_array().unwrap();
                let loaded = budgets.iter().filter(|level| level["is_loading"] == false).count();
                (known && loaded == 2).then_some(())
            })
            .await;
        }
        let hash = KeyHash::digest(&key).to_string();
        Self { gateways: all, key, hash }
    }

    fn scopes(&self) -> [String; 2] {
        [format!("key:{}", self.hash), "team:ml".to_owned()]
    }

    /// The budget of a scope: what all have spent, and what all have set aside.
    async fn level(&self, scope: &str) -> Level {
        let (mut spent, mut reserved) = (0, 0);
        for gw in &self.gateways {
            let budgets = gw.admin_get("/api/budgets").await["budgets"].take();
            let level = budgets.as_array().unwrap().iter().find(|level| level["scope"] == scope).unwrap().clone();
            spent = level["spent_nanousd"].as_i64().unwrap().max(spent);
            let here = level["reserved_nanousd"].as_i64().unwrap();
            assert!(here >= 0 && level["spent_nanousd"].as_i64() >= Some(0), "{level}");
            if let Some(spent_here) = level["spent_here_nanousd"].as_i64() {
                assert!((0..=level["granted_nanousd"].as_i64().unwrap()).contains(&(spent_here + here)), "{level}");
            }
            reserved += here;
        }
        Level { spent, reserved }
    }

    /// The sum of all rows: what they cost, and what is kept for those whose cost nobody knows. Each gateway brings its own rows in
    /// before it answers.
    async fn rows(&self) -> (i64, i64) {
        let mut sums = (0, 0);
        for gw in &self.gateways {
            let books = Books::of(gw).await.0;
            let unknown = books.values().filter(|row| row.cost_nanousd.is_none());
            sums = (
                books.values().filter_map(|row| row.cost_nanousd).sum(),
                unknown.filter_map(|row| row.reserved_nanousd).sum(),
            );
        }
        sums
    }

    async fn info(&self) -> i64 {
        nanos(&self.gateways[0].get("/key/info").bearer(&self.key).send().await.expect(200).json()["info"]["spend"])
    }

    async fn counted(&self) -> i64 {
        let mut counted = 0;
        for gw in &self.gateways {
            let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
            let label = format!("hashed_api_key=\"{}\"", self.hash);
            counted += sampled(&page, "litellm_spend_metric_total", &label);
            for left in page.lines().filter(|line| line.starts_with("fleetgate_budget_remaining_dollars{")) {
                let left = nanos(&left.rsplit(' ').next().unwrap().parse().unwrap());
                assert!((0..=nanos(&json!(CAP))).contains(&left), "{left}");
            }
        }
        counted
    }

    /// What the rows sum up to by each place that knows: its name and what it says, in nano-dollars.
    async fn surfaces(&self, gw: &Gateway) -> Vec<(String, i64)> {
        let mut said = Vec::new();
        let mut say = |what: &str, value: i64| said.push((what.to_owned(), value));
        say("/key/info", nanos(&gw.admin_get(&format!("/key/info?key={}", self.key)).await["info"]["spend"]));
        say("/key/info of itself", self.info().await);
        say("/key/list", nanos(&gw.admin_get("/key/list?return_full_object=true").await["keys"][0]["spend"]));
        say("/team/info", nanos(&gw.admin_get("/team/info?team_id=ml").await["team_info"]["spend"]));
        say("/team/list", nanos(&gw.admin_get("/team/list").await[0]["spend"]));
        say("/spend/keys", nanos(&gw.admin_get("/spend/keys").await[0]["spend"]));
        say("/global/spend", nanos(&gw.admin_get("/global/spend").await["spend"]));
        say("/global/spend/keys", nanos(&gw.admin_get("/global/spend/keys").await[0]["total_spend"]));
        let models = gw.admin_get("/global/spend/models").await;
        say("/global/spend/models", models.as_array().unwrap().iter().map(|model| nanos(&model["total_spend"])).sum());
        let logs = gw.admin_get(&format!("/spend/logs?api_key={}", self.hash)).await;
        say("/spend/logs", logs.as_array().unwrap().iter().map(|row| nanos(&row["spend"])).sum());
        let sums = gw.admin_get("/api/spend?by=key").await;
        say("/api/spend", sums["total"]["cost_nanousd"].as_i64().unwrap());
        say("/api/spend by key", sums["groups"][0]["cost_nanousd"].as_i64().unwrap());
        let typed = gw.fleetgate(&["spend", "--json", "--by", "key"]).await;
        let line: Value = serde_json::from_str(typed.stdout.lines().next().unwrap_or_default()).unwrap();
        say("fleetgate spend", line["cost_nanousd"].as_i64().unwrap());
        said
    }
}

/// Answers that fail or break off, for whoever asks next.
fn faults() -> Vec<Reply> {
    let failed = Reply::json(500, &json!({"error": {"message": "stumbled", "type": "server_error"}}));
    let mut broken = chat_events("gpt-4.1-mini", &["one"], false)[..2].to_vec();
    broken.push("data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n".to_owned());
    vec![
        Reply::stream(chat_events("gpt-4.1-mini", &["one", "two"], true)).close_after(2),
        failed,
        Reply::stream(anthropic::events("claude-sonnet-4-5", &["Hello, how", " are you?"])).reset_after(4),
        // Nobody counted this one: what was reserved stays reserved.
        Reply::literal(200, "{}"),
        Reply::stream(broken),
        openai::chat(&openai::chat_request("gpt-4.1-mini")),
    ]
}

/// A call of this number: streaming or not, over two dialects, read to its end or left at its head.
async fn one_call(call: Call, number: usize) {
    if let Ok(open) = call.try_open().await {
        if number.is_multiple_of(5) {
            drop(open);
        } else {
            open.finish().await;
        }
    }
}

impl Fleet {
    fn call(&self, gw: &Gateway, number: usize) -> Call {
        let (path, body) = match number % 4 {
            0 => ("/v1/chat/completions", openai::chat_request(CHAT_MODEL)),
            1 => ("/v1/chat/completions", openai::stream_request(CHAT_MODEL)),
            2 => ("/v1/messages", anthropic::request(MESSAGES_MODEL)),
            _ => ("/v1/messages", anthropic::stream_request(MESSAGES_MODEL)),
        };
        gw.post(path).bearer(&self.key).json(&body)
    }
}

/// What an observer saw last: none of it may ever go back.
#[derive(Default)]
struct Observer {
    looks: usize,
    spent: [i64; 2],
    info: i64,
    counted: i64,
    most_reserved: i64,
}

impl Observer {
    async fn look(&mut self, fleet: &Fleet) {
        self.looks += 1;
        let (before, held_before) = fleet.rows().await;
        let [key, team] = fleet.scopes();
        let levels = [fleet.level(&key).await, fleet.level(&team).await];
        let (info, counted) = (fleet.info().await, fleet.counted().await);
        let (after, held_after) = fleet.rows().await;
        for (level, last) in levels.into_iter().zip(&mut self.spent) {
            let story = format!("{level:?} between rows of {before} + {held_before} and {after} + {held_after}");
            assert!(before + held_before <= level.spent + level.reserved, "money is missing: {story}");
            assert!(level.spent <= after + held_after, "money was counted without a row: {story}");
            assert!(level.spent >= *last, "it went back from {last}: {story}");
            self.most_reserved = self.most_reserved.max(level.reserved);
            *last = level.spent;
        }
        assert!((self.info..=after).contains(&info), "/key/info: {info} after {}, rows {after}", self.info);
        assert!((self.counted..=after).contains(&counted), "metric: {counted} after {}, rows {after}", self.counted);
        (self.info, self.counted) = (info, counted);
    }
}

async fn counters_are_the_rows(gateways: usize, server: Option<&Postgres>) {
    let url = match server {
        Some(server) => Some(server.database("ledger").await),
        None => None,
    };
    let upstream = Upstream::start().await;
    let fleet = Fleet::start(gateways, url.as_deref(), &upstream).await;
    let mut observer = Observer::default();
    for _ in 0..ROUNDS {
        // Some answers stop half-way until the observer has looked.
        let gate = Gate::new();
        for _ in 0..3 * gateways {
            upstream.reply(Reply::stream(chat_events("gpt-4.1-mini", &["one", "two"], true)).pause_after(1, &gate));
        }
        faults().into_iter().for_each(|fault| upstream.reply(fault));
        let mut calls = JoinSet::new();
        for number in 0..CALLS {
            for gw in &fleet.gateways {
                calls.spawn(one_call(fleet.call(gw, number), number));
            }
        }
        for look in 1.. {
            observer.look(&fleet).await;
            if look == LOOKS {
                gate.open();
            }
            while calls.try_join_next().is_some() {}
            if look >= LOOKS && calls.is_empty() {
                break;
            }
        }
    }
    at_rest(&fleet, server).await;
    let rows = Books::of(&fleet.gateways[0]).await.0;
    let other = rows.values().filter(|row| row.status != "success").count();
    println!(
        "{gateways} gateway(s): {} rows, {other} of them broken or left; {} looks, with up to {} nano-dollars in \
         flight: counters and rows never apart",
        rows.len(),
        observer.looks,
        observer.most_reserved
    );
}

/// Every place says the same, to the nano-dollar.
async fn at_rest(fleet: &Fleet, server: Option<&Postgres>) {
    for scope in fleet.scopes() {
        eventually("nothing is in flight", async || (fleet.level(&scope).await.reserved == 0).then_some(())).await;
    }
    let (cost, held) = fleet.rows().await;
    assert!(cost > 0 && held > 0, "calls of known and of unknown cost: {cost} and {held}");
    for scope in fleet.scopes() {
        assert_eq!(fleet.level(&scope).await.spent, cost + held, "{scope}");
    }
    for gw in &fleet.gateways {
        for (what, said) in fleet.surfaces(gw).await {
            assert_eq!(said, cost, "{what}");
        }
    }
    assert_eq!(fleet.counted().await, cost, "the metrics of all gateways");
    if let [gw] = fleet.gateways.as_slice() {
        let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
        let left = nanos(&json!(CAP)) - cost - held;
        for scope in ["key", "team"] {
            let label = format!("scope=\"{scope}\"");
            assert_eq!(sampled(&page, "fleetgate_budget_remaining_dollars", &label), left, "{scope}");
        }
        assert_eq!(sampled(&page, "litellm_remaining_api_key_budget_metric", &fleet.hash), left);
    }
    if let Some(server) = server {
        let rows = server.sql("ledger", "SELECT sum(cost_nanousd) FROM entry").await;
        assert_eq!(rows, cost.to_string(), "SQL");
        let sums =
            "SELECT DISTINCT sum(cost_nanousd) FROM spend WHERE scope LIKE 'key:%' OR scope = 'team:ml' GROUP BY scope";
        assert_eq!(server.sql("ledger", sums).await, cost.to_string(), "sums by scope");
        let leased = "SELECT coalesce(sum(granted - amount), 0) FROM lease WHERE rule LIKE 'key:%'";
        assert_eq!(server.sql("ledger", leased).await, (cost + held).to_string(), "what left the leases");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budgets_counter_is_the_sum_of_its_rows_at_any_time() {
    counters_are_the_rows(1, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_two_gateways_on_one_database_are_the_sum_of_their_rows_at_any_time() {
    let server = Postgres::start().await;
    counters_are_the_rows(2, Some(&server)).await;
}
