//! Against a real server.

#![allow(clippy::print_stdout, reason = "the figures are what these tests are for")]

mod engines;
mod leases;
mod rows;

use fleetgate_tests::Postgres as Server;

use super::{GatewayId, Postgres};
use crate::config::PostgresUrl;
use crate::ledger::record::{Provenance, Record};

/// A gateway's handle, with an identity of its own.
fn gateway(url: &str) -> Postgres {
    let folder = tempfile::tempdir().unwrap();
    handle(url, GatewayId::of(folder.path()).unwrap())
}

fn handle(url: &str, id: GatewayId) -> Postgres {
    Postgres::new(PostgresUrl::parse(url).unwrap(), id)
}

async fn number(server: &Server, sql: &str) -> i64 {
    server.sql("ledger", sql).await.parse().unwrap()
}

fn record(id: u128, started_at: i64, cost: Option<i64>) -> Record<'static> {
    Record {
        id,
        kind: "call",
        host: "mac",
        host_source: "key",
        workload: "claude",
        key_alias: "vk-mac",
        key_hash: "k",
        user_id: Some("anna"),
        team_id: None,
        customer: None,
        tags: vec!["a", "b\"c"],
        endpoint: "chat",
        model_requested: "gpt-x",
        model: "gpt-4.1-mini",
        provider: "openai",
        deployment_id: "d",
        status: "success",
        http_status: Some(200),
        error: None,
        usage: Some("{\"input\":3}"),
        input_tokens: Some(3),
        cache_read_tokens: Some(0),
        cache_write_tokens: Some(0),
        output_tokens: Some(4),
        reasoning_tokens: Some(0),
        cost_nanousd: cost,
        reserved_nanousd: None,
        usage_source: "provider",
        price_source: "catalogue",
        price_name: None,
        service_tier: None,
        started_at,
        first_byte_at: None,
        ended_at: started_at + 1000,
        user_agent: None,
        upstream_id: None,
        destination: None,
        bytes_up: None,
        bytes_down: Some(u64::MAX),
        provenance: Provenance::default(),
        address: None,
        next_proxy: None,
    }
}
