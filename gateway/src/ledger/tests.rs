use std::os::unix::fs::PermissionsExt;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::workload::Workload;
use jiff::Timestamp;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::auth::{Caller, CallerHost, CallerKey};
use crate::price::{Cost, PriceSource};

struct World {
    ledger: Ledger,
    path: PathBuf,
    _dir: TempDir,
}

async fn world() -> World {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sub/ledger.db");
    let ledger = Ledger::open(&path, Durability::Process).await.unwrap();
    World { ledger, path, _dir: dir }
}

impl World {
    /// Another program changes the file.
    async fn elsewhere(&self, sql: &'static str) {
        let mut connection = SqliteConnectOptions::new().filename(&self.path).connect().await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn record(&self, entry: Entry) -> Receipt {
        self.ledger.reserve().await.unwrap().record(entry)
    }

    async fn count(&self) -> usize {
        self.ledger.rows(&Filter { limit: 100_000, ..Filter::default() }).await.unwrap().len()
    }
}

fn entry(change: impl FnOnce(&mut Entry)) -> Entry {
    let caller = Caller {
        key: CallerKey::Master,
        host: CallerHost::Address([127, 0, 0, 1].into()),
        workload: Workload::unknown(),
    };
    let mut entry = Entry {
        id: Uuid::now_v7(),
        kind: Kind::Call,
        caller,
        endpoint: "chat",
        model_requested: "gpt-x".into(),
        model: "gpt-x".into(),
        provider: "openai".into(),
        deployment_id: "d".into(),
        status: Status::Success,
        http_status: Some(200),
        error: None,
        usage: None,
        cost: Cost::UNPRICED,
        started_at: Timestamp::UNIX_EPOCH,
        first_byte_at: None,
        ended_at: Timestamp::UNIX_EPOCH,
        user_agent: None,
        upstream_id: None,
        destination: None,
        bytes: None,
    };
    change(&mut entry);
    entry
}

const BREAK: &str = "ALTER TABLE entry RENAME TO entry_away";
const MEND: &str = "ALTER TABLE entry_away RENAME TO entry";

#[tokio::test]
async fn what_cannot_be_written_is_reported_refused_kept_and_written_later() {
    let world = world().await;
    let late = world.ledger.reserve().await.unwrap();
    world.elsewhere(BREAK).await;
    assert!(world.record(entry(|_| ())).await.await.is_err());
    assert!(world.ledger.trouble().is_some());
    assert!(matches!(world.ledger.reserve().await, Err(LedgerError::Unavailable { .. })));
    // A call that was under way hears of it at once too, and so does an administrator.
    let second = Duration::from_secs(2);
    assert!(timeout(second, late.record(entry(|_| ()))).await.expect("an answer hangs").is_err());
    let deleting = timeout(second, world.ledger.delete_keys(Vec::new())).await;
    assert!(deleting.expect("a change of a key hangs").is_err());
    world.elsewhere(MEND).await;
    while world.ledger.trouble().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.count().await, 2);
    assert!(world.record(entry(|_| ())).await.await.is_ok());
}

#[tokio::test]
async fn a_ledger_that_cannot_write_does_not_keep_the_process_alive() {
    let world = world().await;
    world.elsewhere(BREAK).await;
    assert!(world.record(entry(|_| ())).await.await.is_err());
    timeout(Duration::from_secs(20), world.ledger.close()).await.expect("it gives up in the end");
}

#[tokio::test]
async fn a_row_handed_over_before_the_end_is_written_and_twice_the_same_is_one() {
    let world = world().await;
    let same = entry(|_| ());
    for _ in 0..2 {
        drop(world.record(same.clone()).await);
    }
    for _ in 0..700 {
        drop(world.record(entry(|_| ())).await);
    }
    world.ledger.close().await;
    let again = Ledger::open(&world.path, Durability::Power).await.unwrap();
    assert_eq!(again.rows(&Filter { limit: 10_000, ..Filter::default() }).await.unwrap().len(), 701);
}

#[tokio::test]
async fn strangers_texts_are_kept_to_a_length_and_any_character_is_fine() {
    let world = world().await;
    let long = "🦊".repeat(10_000);
    let mut odd = entry(|entry| {
        entry.model.clone_from(&long);
        entry.error = Some(long.clone());
        entry.user_agent = Some("tab\tnul\0 ü".into());
        entry.usage = Some(fleetgate_wire::usage::Usage { input: u64::MAX, ..Default::default() });
    });
    odd.shorten();
    world.record(odd).await.await.unwrap();
    let row = world.ledger.rows(&Filter { limit: 1, ..Filter::default() }).await.unwrap().remove(0);
    assert_eq!((row.model.chars().count(), row.error.unwrap().chars().count()), (512, 512));
    assert_eq!(row.user_agent.as_deref(), Some("tab\tnul\0 ü"));
    assert_eq!(row.input_tokens, Some(i64::MAX as u64));
}

#[tokio::test]
async fn a_days_spend_counts_every_row_however_many() {
    let world = world().await;
    let mut receipts = Vec::new();
    for number in 0..10_100u64 {
        let costing = entry(|entry| {
            entry.cost = Cost::new(Some(NanoDollars(2)), PriceSource::Catalogue);
            entry.started_at = Timestamp::from_second(86_400 + i64::try_from(number).unwrap()).unwrap();
        });
        receipts.push(world.record(costing).await);
    }
    drop(world.record(entry(|entry| entry.kind = Kind::Tunnel)).await);
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let days = world.ledger.spend_by_day(None, None).await.unwrap();
    let day = DaySpend {
        day: "1970-01-02".into(),
        key_hash: "master".into(),
        user: String::new(),
        model: "gpt-x".into(),
        cost_nanousd: 20_200,
    };
    assert_eq!(days, [day]);
    let later = Timestamp::from_second(86_400 + 10_000).unwrap();
    assert_eq!(world.ledger.spend_by_day(Some(later), None).await.unwrap()[0].cost_nanousd, 200);
}

#[tokio::test]
async fn the_files_belong_to_their_owner_alone() {
    let world = world().await;
    world.record(entry(|_| ())).await.await.unwrap();
    let folder = world.path.parent().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
    assert!(std::fs::read_dir(folder).unwrap().count() >= 2, "the log of writes is there");
}
