//! Rows, keys, and who hears of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetgate_tests::wait::soon;
use fleetgate_tests::{ClosedPort, eventually};
use fleetgate_wire::virtual_key::KeyHash;
use serde_json::json;

use super::{Server, gateway, number, record};
use crate::auth::KeyRecord;
use crate::ledger::keys::KeyChange;
use crate::ledger::postgres::Change;
use crate::ledger::tests::{seen, spend};
use crate::ledger::{Filter, Span};

fn key(name: &str) -> KeyRecord {
    let now = "2026-01-01T00:00:00Z";
    let fields = json!({
        "token": KeyHash::digest(name), "key_name": "sk-...abcd", "key_alias": name, "created_at": now, "updated_at": now,
        "models": ["gpt-x", "o*"], "other": {"max_budget": 1.5},
    });
    serde_json::from_value(fields).unwrap()
}

#[tokio::test]
async fn a_row_is_applied_once_however_often_it_comes() {
    let server = Server::start().await;
    let postgres = gateway(&server.database("ledger").await);
    let all: Vec<_> = (0..500).map(|id| record(id, 1_000_000_000 * i64::try_from(id).unwrap(), Some(3))).collect();
    postgres.apply(&all[..300], || ()).await.unwrap();
    postgres.apply(&all[200..], || ()).await.unwrap();
    postgres.apply(&all, || ()).await.unwrap();
    postgres.apply(&[], || ()).await.unwrap();
    assert_eq!(number(&server, "SELECT count(*) FROM entry").await, 500);
    for scope in ["global:all", "key:k", "host:mac", "user:anna", "tag:a", "tag:b\"c", "key_model:k/gpt-x"] {
        let sums = format!("SELECT sum(cost_nanousd) * 1000 + sum(calls) FROM spend WHERE scope = '{scope}'");
        assert_eq!(number(&server, &sums).await, 1_500_500, "{scope}");
    }
    let by_bucket = "SELECT count(*) FROM spend s WHERE scope = 'global:all' AND cost_nanousd <> \
                     (SELECT sum(cost_nanousd) FROM entry WHERE started_at / 900000000 = s.bucket)";
    assert_eq!(number(&server, by_bucket).await, 0);
}

#[tokio::test]
async fn what_was_spent_in_a_short_window_is_that_of_its_rows() {
    let server = Server::start().await;
    let postgres = gateway(&server.database("ledger").await);
    postgres.apply(&spend::minutes(), || ()).await.unwrap();
    for (scope, expected) in spend::IN_FIVE_MINUTES {
        let moment = |minute: i64| jiff::Timestamp::from_second(900 + 60 * minute).unwrap();
        let (spent, ()) = postgres.spent(scope, moment(5), Some(moment(10)), || ()).await.unwrap();
        let sum = spent.iter().map(|one| (one.cost.0, one.held.0)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        assert_eq!(sum, expected, "{scope}");
    }
}

#[tokio::test]
async fn stragglers_and_sightings_are_told_as_a_file_tells_them() {
    let server = Server::start().await;
    let postgres = gateway(&server.database("ledger").await);
    postgres.apply(&seen::rows()[..6], || ()).await.unwrap();
    postgres.apply(&seen::rows(), || ()).await.unwrap();
    let shown = postgres.rows(&Filter { limit: 10, ..Filter::default() }).await.unwrap();
    let stragglers = postgres.stragglers(Span::default()).await.unwrap();
    seen::check(&shown, &stragglers, &postgres.sightings().await.unwrap());
}

#[tokio::test]
async fn rows_come_back_as_they_went_in() {
    let server = Server::start().await;
    let postgres = gateway(&server.database("ledger").await);
    let mut tunnel = record(2, 2_000_000, None);
    (tunnel.kind, tunnel.tags) = ("tunnel", Vec::new());
    postgres.apply(&[record(1, 1_000_000, Some(7)), tunnel], || ()).await.unwrap();
    let rows = postgres.rows(&Filter { limit: 10, ..Filter::default() }).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["tunnel", "call"]);
    assert_eq!((rows[1].tags.clone(), rows[1].cost_nanousd), (vec!["a".to_owned(), "b\"c".to_owned()], Some(7)));
    assert_eq!(rows[1].started_at, "1970-01-01T00:00:01.000000Z");
    assert_eq!((rows[0].cost_nanousd, rows[0].bytes_down), (None, Some(i64::MAX as u64)));
    let one = Filter { request_id: Some(rows[1].request_id.clone()), limit: 10, ..Filter::default() };
    assert_eq!(postgres.rows(&one).await.unwrap().len(), 1);
    let days = postgres.spend_by_day(None, None).await.unwrap();
    assert_eq!((days.len(), days[0].day.as_str(), days[0].cost_nanousd), (1, "1970-01-01", 7));
    assert_eq!(postgres.spend_of("k").await.unwrap().cost_nanousd, 7);
    let (buckets, read) = postgres.spent("host:mac", jiff::Timestamp::UNIX_EPOCH, None, || 5).await.unwrap();
    assert_eq!((buckets.len(), buckets[0].bucket, buckets[0].cost.0, read), (1, 0, 7, 5));
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_at_once_and_found_when_it_is_back() {
    let nobody = ClosedPort::new().unwrap();
    let away = gateway(&format!("postgres://u@{}/ledger", nobody.address()));
    assert!(soon("an error", away.apply(&[record(1, 1, None)], || ())).await.is_err());

    let mut server = Server::start().await;
    let postgres = gateway(&server.database("ledger").await);
    postgres.apply(&[record(1, 1, Some(1))], || ()).await.unwrap();
    server.crash().await;
    server.restart().await;
    eventually("the next batch", async || postgres.apply(&[record(2, 1, Some(1))], || ()).await.ok()).await;
    assert_eq!(number(&server, "SELECT count(*) FROM entry").await, 2);
}

#[tokio::test]
async fn a_changed_key_is_known_to_other_gateways_at_once() {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let (here, there) = (gateway(&url), Arc::new(gateway(&url)));
    let mut changes = there.changes();
    let listening = tokio::spawn(Arc::clone(&there).listen());
    assert_eq!(soon("the first look", changes.recv()).await.unwrap(), Change::Everything);
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let change = match round % 3 {
            0 => KeyChange::Insert(key(&format!("vk-{round}"))),
            1 => KeyChange::Update(key(&format!("vk-{}", round - 1))),
            _ => KeyChange::Delete(vec![KeyHash::digest(&format!("vk-{}", round - 2))]),
        };
        let start = Instant::now();
        here.change_key(&change).await.unwrap();
        assert_eq!(soon("the change", changes.recv()).await.unwrap(), Change::Keys);
        there.keys().await.unwrap();
        slowest = slowest.max(start.elapsed());
    }
    println!("a change was known elsewhere after {slowest:?} at most");
    assert!(slowest < Duration::from_secs(1));
    assert_eq!(there.keys().await.unwrap().len(), 1);
    let taken = here.change_key(&KeyChange::Insert(key("vk-18"))).await.unwrap_err();
    assert!(taken.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation));
    listening.abort();
}

#[tokio::test]
async fn who_did_not_listen_for_a_while_reads_everything() {
    let mut server = Server::start().await;
    let postgres = Arc::new(gateway(&server.database("ledger").await));
    let mut changes = postgres.changes();
    let listening = tokio::spawn(Arc::clone(&postgres).listen());
    assert_eq!(soon("the first look", changes.recv()).await.unwrap(), Change::Everything);
    server.stop().await;
    server.restart().await;
    assert_eq!(soon("the look after the gap", changes.recv()).await.unwrap(), Change::Everything);
    listening.abort();
}

#[tokio::test]
async fn litellms_queries_run_and_its_own_tables_are_left_alone() {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let theirs =
        "CREATE TABLE \"LiteLLM_VerificationToken\" (token TEXT); CREATE TABLE \"LiteLLM_SpendLogs\" (request_id TEXT)";
    server.sql("ledger", theirs).await;
    let postgres = gateway(&url);
    let mut call = record(1, 1_700_000_000_000_000, Some(1_500_000_000));
    call.key_hash = "master";
    postgres.apply(&[call], || ()).await.unwrap();
    postgres.change_key(&KeyChange::Insert(key("vk-mac"))).await.unwrap();
    assert_eq!(number(&server, "SELECT count(*) FROM \"LiteLLM_SpendLogs\"").await, 0);
    let spend = "SET search_path = fleetgate; SELECT \"startTime\", spend, total_tokens, api_key, request_tags->>0, \
                 metadata->>'user_api_key_alias', status FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" > '2023-01-01'";
    let expected = "2023-11-14 22:13:20|1.5|7|litellm_proxy_master_key|a|vk-mac|success";
    assert_eq!(server.sql("ledger", spend).await, expected);
    let keys = "SET search_path = fleetgate; SELECT key_alias, max_budget, models, blocked, expires IS NULL \
                FROM \"LiteLLM_VerificationToken\" WHERE spend < max_budget";
    assert_eq!(server.sql("ledger", keys).await, "vk-mac|1.5|{gpt-x,o*}|f|t");
    // A second gateway finds the same tables.
    assert_eq!(gateway(&url).keys().await.unwrap().len(), 1);
}
