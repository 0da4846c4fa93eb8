//! Teams, users, budgets, tags and customers, with LiteLLM's shapes.

use fleetgate_tests::client::{Answer, Tunnel};
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, MASTER_KEY, Upstream};
use http::StatusCode;
use serde_json::{Value, json};

async fn order(gw: &Gateway, path: &str, body: &Value) -> Answer {
    gw.post(path).bearer(MASTER_KEY).json(body).send().await
}

/// The status and message of a refusal.
async fn refused(gw: &Gateway, path: &str, body: &Value) -> (StatusCode, String) {
    let answer = order(gw, path, body).await;
    (answer.status, answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_team_is_made_changed_listed_and_deleted_with_its_keys() {
    let gw = Gateway::start(|c| c).await;
    let fields = json!({"team_id": "ml", "team_alias": "ML", "max_budget": 12.5, "budget_duration": "7d", "rpm_limit": 60,
                        "models": ["gpt-x"], "metadata": {"cost_centre": 7}, "team_member_budget": 3});
    let made = gw.admin_post("/team/new", &fields).await;
    for (name, value) in fields.as_object().into_iter().flatten() {
        assert_eq!(made[name], *value, "{name}: {made}");
    }
    assert_eq!(
        (&made["spend"], &made["blocked"], &made["members_with_roles"]),
        (&json!(0.0), &json!(false), &json!([]))
    );

    let changed = gw.admin_post("/team/update", &json!({"team_id": "ml", "max_budget": 20, "rpm_limit": null})).await;
    assert_eq!(changed["team_id"], "ml");
    assert_eq!((&changed["data"]["max_budget"], &changed["data"]["rpm_limit"]), (&json!(20), &Value::Null));
    assert_eq!(changed["data"]["budget_duration"], "7d", "an absent field stays");

    let key = gw.key(&json!({"key_alias": "vk-ml", "team_id": "ml"})).await;
    let info = gw.admin_get("/team/info?team_id=ml").await;
    assert_eq!((&info["team_id"], &info["team_info"]["team_alias"]), (&json!("ml"), &json!("ML")));
    assert_eq!(info["keys"][0]["key_alias"], "vk-ml");
    let own = gw.get("/team/info?team_id=ml").bearer(&key).send().await;
    assert_eq!(own.expect(200).json()["team_info"]["team_id"], "ml", "a key may look at its own team");
    assert_eq!(gw.admin_get("/team/list").await[0]["keys"][0]["key_alias"], "vk-ml");

    assert_eq!(gw.admin_post("/team/block", &json!({"team_id": "ml"})).await["blocked"], true);
    assert_eq!(gw.admin_post("/team/unblock", &json!({"team_id": "ml"})).await["blocked"], false);
    assert_eq!(gw.admin_post("/team/delete", &json!({"team_ids": ["ml"]})).await, json!({"deleted_teams": ["ml"]}));
    assert_eq!(refused(&gw, "/team/update", &json!({"team_id": "ml"})).await.0, 404);
    assert_eq!(gw.admin_get("/key/list").await["total_count"], 0, "its keys went with it");
}

#[tokio::test]
async fn a_blocked_team_or_user_stops_its_keys_and_no_others() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    gw.admin_post("/team/new", &json!({"team_id": "ml"})).await;
    gw.admin_post("/user/new", &json!({"user_id": "ada", "auto_create_key": false})).await;
    let of_team = gw.key(&json!({"team_id": "ml"})).await;
    let of_user = gw.key(&json!({"user_id": "ada", "team_id": "nobody-made-this-one"})).await;
    let call = |key: &str| gw.post("/v1/chat/completions").bearer(key).json(&chat_request("gpt-x")).send();
    gw.admin_post("/team/block", &json!({"team_id": "ml"})).await;
    let refused = call(&of_team).await.expect(401).json();
    let message = refused["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("team ml is blocked") && message.contains("/team/unblock"), "{message}");
    assert_eq!(refused["error"]["type"], "auth_error");
    let credentials = format!("Proxy-Authorization: Bearer {of_team}\r\n");
    assert_eq!(Tunnel::open(gw.address(), "127.0.0.1:443", &credentials).await.status(), 401, "nor is there a tunnel");
    call(&of_user).await.expect(200);
    gw.admin_post("/team/unblock", &json!({"team_id": "ml"})).await;
    call(&of_team).await.expect(200);
    gw.admin_post("/user/update", &json!({"user_id": "ada", "blocked": true})).await;
    call(&of_user).await.expect(401);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn members_come_and_go() {
    let gw = Gateway::start(|c| c).await;
    let made = gw.admin_post("/team/new", &json!({"team_alias": "ops"})).await;
    let id = made["team_id"].as_str().expect("a team without an identifier gets one").to_owned();
    gw.admin_post("/user/new", &json!({"user_id": "ada", "auto_create_key": false})).await;
    let add = json!({"team_id": id, "member": [{"role": "user", "user_id": "ada"}, {"role": "admin", "user_email": "g@x.y"}]});
    let team = gw.admin_post("/team/member_add", &add).await;
    assert_eq!(team["members_with_roles"].as_array().map(Vec::len), Some(2), "{team}");
    assert_eq!(refused(&gw, "/team/member_add", &add).await.0, 400, "twice is once");
    assert_eq!(gw.admin_get("/user/info?user_id=ada").await["teams"][0]["team_alias"], "ops");
    assert_eq!(gw.admin_get("/team/list?user_id=ada").await.as_array().map(Vec::len), Some(1));
    let gone = gw.admin_post("/team/member_delete", &json!({"team_id": id, "user_id": "ada"})).await;
    assert_eq!(gone["members_with_roles"], json!([{"role": "admin", "user_email": "g@x.y"}]));
    assert_eq!(refused(&gw, "/team/member_delete", &json!({"team_id": id, "user_id": "ada"})).await.0, 404);
}

#[tokio::test]
async fn a_new_user_gets_a_key_unless_he_wants_none() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let fields = json!({"user_id": "ada", "user_email": "ada@x.y", "user_role": "internal_user", "max_budget": 5, "key_alias": "vk-ada"});
    let made = gw.admin_post("/user/new", &fields).await;
    let key = made["key"].as_str().expect("a key").to_owned();
    assert_eq!(
        (&made["user_id"], &made["max_budget"], &made["user_email"]),
        (&json!("ada"), &json!(5), &json!("ada@x.y"))
    );
    gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await.expect(200);
    assert_eq!(gw.only_row().await.user.as_deref(), Some("ada"));

    let own = gw.get("/user/info").bearer(&key).send().await.expect(200).json();
    assert_eq!((&own["user_id"], &own["user_info"]["user_email"]), (&json!("ada"), &json!("ada@x.y")));
    assert_eq!(own["keys"][0]["key_alias"], "vk-ada");
    assert!(!own.to_string().contains(&key), "the key's text is shown once");
    let key_info = gw.admin_get(&format!("/key/info?key={key}")).await;
    assert_eq!(key_info["info"]["max_budget"], Value::Null, "the limit is the user's, not the key's");

    let plain = gw.admin_post("/user/new", &json!({"user_id": "bob", "auto_create_key": false})).await;
    assert_eq!((plain.get("key"), &plain["user_id"]), (None, &json!("bob")));
    let changed = gw.admin_post("/user/update", &json!({"user_email": "ada@x.y", "max_budget": 9})).await;
    assert_eq!((&changed["user_id"], &changed["data"]["max_budget"]), (&json!("ada"), &json!(9)));
    let list = gw.admin_get("/user/list?page_size=1&page=2").await;
    assert_eq!(
        (&list["total"], &list["total_pages"], &list["users"][0]["user_id"]),
        (&json!(2), &json!(2), &json!("bob"))
    );

    // Refused whole: neither the user nor the key is made.
    let taken = refused(&gw, "/user/new", &json!({"user_id": "eve", "key_alias": "vk-ada"})).await;
    assert_eq!(taken.0, 400, "{}", taken.1);
    gw.get("/user/info?user_id=eve").bearer(MASTER_KEY).send().await.expect(404);

    assert_eq!(gw.admin_post("/user/delete", &json!({"user_ids": ["ada"]})).await, json!(1));
    gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await.expect(401);
}

#[tokio::test]
async fn a_budget_is_referred_to_by_its_name() {
    let gw = Gateway::start(|c| c).await;
    let made =
        gw.admin_post("/budget/new", &json!({"budget_id": "small", "max_budget": 1, "budget_duration": "1d"})).await;
    assert_eq!(
        (&made["budget_id"], &made["max_budget"], &made["tpm_limit"]),
        (&json!("small"), &json!(1), &Value::Null)
    );
    let named = gw.admin_post("/budget/new", &json!({"max_budget": 2})).await;
    assert!(named["budget_id"].as_str().is_some_and(|id| !id.is_empty()), "{named}");
    gw.admin_post("/budget/update", &json!({"budget_id": "small", "rpm_limit": 3})).await;
    let info = gw.admin_post("/budget/info", &json!({"budgets": ["small", "no-such"]})).await;
    assert_eq!((info.as_array().map(Vec::len), &info[0]["rpm_limit"]), (Some(1), &json!(3)));
    assert_eq!(gw.admin_get("/budget/list").await.as_array().map(Vec::len), Some(2));
    let settings = gw.admin_get("/budget/settings?budget_id=small").await;
    let field = settings.as_array().into_iter().flatten().find(|field| field["field_name"] == "max_budget").cloned();
    assert_eq!(
        field.map(|field| (field["field_value"].clone(), field["stored_in_db"].clone())),
        Some((json!(1), json!(true)))
    );

    let key = gw.key(&json!({"key_alias": "vk", "budget_id": "small"})).await;
    for path in ["/key/generate", "/customer/new", "/user/new"] {
        let body = json!({"user_id": "u", "budget_id": "no-such"});
        let (status, message) = refused(&gw, path, &body).await;
        assert!(status == 400 && message.contains("no-such"), "{path}: {status} {message}");
    }
    let held = refused(&gw, "/budget/delete", &json!({"id": "small"})).await;
    assert!(held.0 == 400 && held.1.contains("key vk"), "{held:?}");
    gw.admin_post("/key/delete", &json!({"keys": [key]})).await;
    assert_eq!(gw.admin_post("/budget/delete", &json!({"id": "small"})).await["budget_id"], "small");
    assert_eq!(refused(&gw, "/budget/delete", &json!({"id": "small"})).await.0, 404);
}

#[tokio::test]
async fn a_tag_is_known_by_its_name() {
    let gw = Gateway::start(|c| c).await;
    let made =
        gw.admin_post("/tag/new", &json!({"name": "nightly", "description": "batch jobs", "max_budget": 3})).await;
    assert_eq!((&made["message"], &made["tag"]["max_budget"]), (&json!("Tag nightly created successfully"), &json!(3)));
    gw.admin_post("/tag/update", &json!({"name": "nightly", "models": ["gpt-x"]})).await;
    let info = gw.admin_post("/tag/info", &json!({"names": ["nightly"]})).await;
    assert_eq!(
        (&info["nightly"]["models"], &info["nightly"]["description"]),
        (&json!(["gpt-x"]), &json!("batch jobs"))
    );
    assert_eq!(gw.admin_get("/tag/list").await[0]["name"], "nightly");
    let gone = gw.admin_post("/tag/delete", &json!({"name": "nightly"})).await;
    assert_eq!(gone["message"], "Tag nightly deleted successfully");
    assert_eq!(refused(&gw, "/tag/info", &json!({"names": ["nightly"]})).await.0, 404);
}

#[tokio::test]
async fn a_customer_answers_under_both_names() {
    let gw = Gateway::start(|c| c).await;
    gw.admin_post("/budget/new", &json!({"budget_id": "free", "max_budget": 0.5})).await;
    let made = gw.admin_post("/customer/new", &json!({"user_id": "acme", "alias": "ACME", "budget_id": "free"})).await;
    assert_eq!((&made["user_id"], &made["litellm_budget_table"]["max_budget"]), (&json!("acme"), &json!(0.5)));
    let info = gw.admin_get("/end_user/info?end_user_id=acme").await;
    assert_eq!((&info["alias"], &info["blocked"]), (&json!("ACME"), &json!(false)));
    gw.admin_post("/end_user/update", &json!({"user_id": "acme", "max_budget": 2})).await;
    assert_eq!(gw.admin_get("/customer/list").await[0]["max_budget"], 2);
    gw.admin_post("/customer/block", &json!({"user_ids": ["acme", "new-one"]})).await;
    assert_eq!(gw.admin_get("/customer/info?end_user_id=new-one").await["blocked"], true);
    let left = gw.admin_post("/customer/unblock", &json!({"user_ids": ["acme"]})).await;
    assert_eq!(left, json!({"blocked_users": ["new-one"]}));
    let gone = gw.admin_post("/customer/delete", &json!({"user_ids": ["acme"]})).await;
    let message = "Successfully deleted customers with ids: ['acme']";
    assert_eq!(gone, json!({"deleted_customers": 1, "message": message}));
    gw.get("/customer/info?end_user_id=acme").bearer(MASTER_KEY).send().await.expect(404);
}

#[tokio::test]
async fn a_blocked_customer_is_refused_whatever_key_names_him() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let key = gw.key(&json!({"key_alias": "shop"})).await;
    gw.admin_post("/customer/block", &json!({"user_ids": ["acme"]})).await;
    let ask = |customer: &str| {
        let mut request = chat_request("gpt-x");
        request["user"] = json!(customer);
        request
    };
    for key in [key.as_str(), MASTER_KEY] {
        let refused = gw.post("/v1/chat/completions").bearer(key).json(&ask("acme")).send().await.expect(401).text();
        assert!(refused.contains("customer acme is blocked") && refused.contains("/customer/unblock"), "{refused}");
        gw.post("/v1/chat/completions").bearer(key).json(&ask("other")).send().await.expect(200);
    }
    let named = gw.post("/v1/chat/completions").bearer(&key).header("x-litellm-end-user-id", "acme");
    named.json(&chat_request("gpt-x")).send().await.expect(401);
    gw.admin_post("/customer/unblock", &json!({"user_ids": ["acme"]})).await;
    gw.post("/v1/chat/completions").bearer(&key).json(&ask("acme")).send().await.expect(200);
    assert_eq!(upstream.requests().len(), 3, "nothing of the blocked one went out");
}

const MAKERS: [(&str, &str); 5] = [
    ("/team/new", "team_id"),
    ("/user/new", "user_id"),
    ("/budget/new", "budget_id"),
    ("/tag/new", "name"),
    ("/customer/new", "user_id"),
];

#[tokio::test]
async fn a_name_is_taken_once_and_a_limit_that_cannot_be_meant_is_refused() {
    let gw = Gateway::start(|c| c).await;
    for (path, id) in MAKERS {
        order(&gw, path, &json!({id: "x"})).await.expect(200);
        let (status, message) = refused(&gw, path, &json!({id: "x"})).await;
        assert!(status == 400 && message.contains("already exists"), "{path}: {status} {message}");
        for (field, value) in [
            ("max_budget", json!(-1)),
            ("max_budget", json!("5")),
            ("budget_duration", json!("often")),
            ("blocked", json!("yes")),
            ("models", json!("gpt-x")),
        ] {
            let (status, message) = refused(&gw, path, &json!({id: "y", field: value})).await;
            let named = if field == "budget_duration" { "duration" } else { field };
            assert!(status == 400 && message.contains(named), "{path} {field}: {status} {message}");
        }
        let (status, _) = refused(&gw, path, &json!({id: 5})).await;
        assert_eq!(status, 400, "{path}: an identifier is a text");
        // What LiteLLM's callers send is kept, whatever it is.
        let kept = order(&gw, path, &json!({id: "z", "some_new_field": {"a": [1]}})).await.expect(200).json();
        assert!(kept.to_string().contains("some_new_field"), "{path}: {kept}");
    }
}

#[tokio::test]
async fn entities_outlive_the_process() {
    let mut gw = Gateway::start(|c| c).await;
    for (path, id) in MAKERS {
        gw.admin_post(path, &json!({id: "x", "max_budget": 7, "auto_create_key": false})).await;
    }
    gw.restart().await;
    assert_eq!(gw.admin_get("/team/info?team_id=x").await["team_info"]["max_budget"], 7);
    assert_eq!(gw.admin_get("/user/info?user_id=x").await["user_info"]["max_budget"], 7);
    assert_eq!(gw.admin_get("/budget/list").await[0]["max_budget"], 7);
    assert_eq!(gw.admin_get("/tag/list").await[0]["max_budget"], 7);
    assert_eq!(gw.admin_get("/customer/info?end_user_id=x").await["max_budget"], 7);
}

#[tokio::test]
async fn only_the_administrator_manages_entities() {
    let gw = Gateway::start(|c| c).await;
    gw.admin_post("/team/new", &json!({"team_id": "other"})).await;
    let key = gw.key(&json!({"team_id": "own", "user_id": "me"})).await;
    for (path, id) in MAKERS {
        gw.post(path).bearer(&key).json(&json!({id: "mine"})).send().await.expect(403);
        gw.post(path).json(&json!({id: "mine"})).send().await.expect(401);
    }
    for path in [
        "/team/list",
        "/team/info?team_id=other",
        "/user/info?user_id=you",
        "/budget/list",
        "/tag/list",
        "/customer/list",
    ] {
        gw.get(path).bearer(&key).send().await.expect(403);
        gw.get(path).send().await.expect(401);
    }
}

#[tokio::test]
async fn what_was_spent_is_shown_by_key_user_team_and_model() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("dear", "openai/gpt-4o", &upstream, &json!({})).deployment(
            "cheap",
            "openai/gpt-4o-mini",
            &upstream,
            &json!({}),
        )
    })
    .await;
    gw.admin_post("/team/new", &json!({"team_id": "ml"})).await;
    for user in ["ada", "bob"] {
        gw.admin_post("/user/new", &json!({"user_id": user, "auto_create_key": false})).await;
    }
    let small = gw.key(&json!({"key_alias": "small", "user_id": "ada", "team_id": "ml"})).await;
    let large = gw.key(&json!({"key_alias": "large", "user_id": "bob", "team_id": "ml"})).await;
    gw.key(&json!({"key_alias": "idle"})).await;
    for (key, model) in [(&small, "cheap"), (&large, "dear"), (&large, "cheap")] {
        gw.post("/v1/chat/completions").bearer(key).json(&chat_request(model)).send().await.expect(200);
    }
    let near = |found: &Value, nanos: i64| (found.as_f64().unwrap_or(-1.0) - nanos as f64 / 1e9).abs() < 1e-12;
    let rows = gw.rows().await;
    let cost = |alias: &str| -> i64 {
        rows.iter().filter(|row| row.key_alias == alias).filter_map(|row| row.cost_nanousd).sum()
    };
    let (of_small, of_large) = (cost("small"), cost("large"));
    assert!(of_small > 0 && of_large > of_small, "{of_small} {of_large}");

    let team = gw.admin_get("/team/info?team_id=ml").await;
    assert!(near(&team["team_info"]["spend"], of_small + of_large), "{team}");
    assert!(near(&gw.admin_get("/global/spend").await["spend"], of_small + of_large));
    let keys = gw.admin_get("/spend/keys").await;
    let names: Vec<&Value> = keys.as_array().into_iter().flatten().map(|key| &key["key_alias"]).collect();
    assert_eq!(names, ["large", "small", "idle"]);
    assert!(near(&keys[0]["spend"], of_large), "{keys}");
    let users = gw.admin_get("/spend/users?limit=1").await;
    assert_eq!((users.as_array().map(Vec::len), &users[0]["user_id"]), (Some(1), &json!("bob")));
    assert!(near(&users[0]["spend"], of_large), "{users}");
    let recent = gw.admin_get("/global/spend/keys?limit=2").await;
    assert_eq!((&recent[0]["key_alias"], &recent[1]["key_alias"]), (&json!("large"), &json!("small")));
    assert!(near(&recent[1]["total_spend"], of_small), "{recent}");
    let models = gw.admin_get("/global/spend/models").await;
    assert_eq!(models.as_array().map(Vec::len), Some(2), "{models}");
    assert_eq!(models[0]["model"], rows.iter().find(|row| row.model_requested == "dear").expect("its row").model);
    gw.get("/global/spend").bearer(&small).send().await.expect(403);
}
