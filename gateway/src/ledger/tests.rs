use std::os::unix::fs::PermissionsExt;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::seen::{Sighting, Straggler};
use fleetgate_wire::usage::UsageSource;
use fleetgate_wire::workload::Workload;
use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::auth::{Caller, CallerHost, CallerKey, MASTER_HASH, Origin};
use crate::ledger::journal::Batch;
use crate::price::{Cost, PriceSource};

pub(super) mod seen;
pub(super) mod spend;

struct World {
    ledger: Ledger,
    path: PathBuf,
    _dir: TempDir,
}

async fn world() -> World {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sub/ledger.db");
    let ledger = Ledger::open_file(&path, Durability::Process).await.unwrap();
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
        self.ledger.begin(&entry).await.unwrap().record(&entry)
    }

    async fn healthy(&self) {
        while self.ledger.trouble().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn count(&self) -> usize {
        self.ledger.rows(&Filter { limit: 100_000, ..Filter::default() }).await.unwrap().len()
    }
}

pub(super) fn entry(change: impl FnOnce(&mut Entry)) -> Entry {
    let caller = Caller {
        key: CallerKey::Master,
        key_hash: MASTER_HASH.into(),
        host: CallerHost::Address([127, 0, 0, 1].into()),
        workload: Workload::unknown(),
        customer: None,
        tags: Vec::new(),
        origin: Origin::default(),
    };
    let mut entry = Entry {
        id: Uuid::now_v7(),
        kind: Kind::Call,
        caller: caller.into(),
        endpoint: "chat",
        model_requested: "gpt-x".into(),
        model: "gpt-x".into(),
        provider: "openai",
        deployment_id: "d".into(),
        status: Status::Success,
        http_status: Some(200),
        error: None,
        usage: None,
        usage_source: UsageSource::None,
        cost: Cost::UNPRICED,
        service_tier: None,
        reserved: None,
        started_at: Timestamp::UNIX_EPOCH,
        first_byte_at: None,
        ended_at: Timestamp::UNIX_EPOCH,
        user_agent: None,
        upstream_id: None,
        destination: None,
        bytes: None,
        address: None,
        next_proxy: None,
    };
    change(&mut entry);
    entry
}

const BREAK: &str = "ALTER TABLE entry RENAME TO entry_away";
const MEND: &str = "ALTER TABLE entry_away RENAME TO entry";

/// A record as the journal has it, with this identifier.
pub(super) fn record(id: u128) -> Record<'static> {
    Record {
        id,
        kind: "call",
        host: "mac",
        host_source: "key",
        workload: "claude-glm",
        key_alias: "vk-mac",
        key_hash: "00ff",
        user_id: None,
        team_id: None,
        customer: None,
        tags: Vec::new(),
        endpoint: "chat",
        model_requested: "gpt-x",
        model: "gpt-x",
        provider: "openai",
        deployment_id: "d",
        status: "success",
        http_status: Some(200),
        error: None,
        usage: None,
        input_tokens: Some(1),
        cache_read_tokens: None,
        cache_write_tokens: None,
        output_tokens: None,
        reasoning_tokens: None,
        cost_nanousd: Some(5),
        reserved_nanousd: None,
        usage_source: "provider",
        price_source: "catalogue",
        price_name: None,
        service_tier: None,
        started_at: 0,
        first_byte_at: None,
        ended_at: 0,
        user_agent: None,
        upstream_id: None,
        destination: None,
        bytes_up: None,
        bytes_down: None,
        provenance: Provenance::default(),
        address: None,
        next_proxy: None,
    }
}

#[tokio::test]
async fn a_broken_database_stops_new_calls_and_keeps_the_rows_of_those_under_way() {
    let world = world().await;
    let under_way = entry(|_| ());
    let late = world.ledger.begin(&under_way).await.unwrap();
    world.elsewhere(BREAK).await;
    // The row is durable: it is in the journal.
    world.record(entry(|_| ())).await.await.unwrap();
    eventually(|| world.ledger.trouble().is_some()).await;
    assert!(matches!(world.ledger.begin(&under_way).await, Err(LedgerError::Unavailable { .. })));
    late.record(&under_way).await.unwrap();
    assert!(world.ledger.delete_keys(Vec::new()).await.is_err(), "nothing else is changed meanwhile");
    world.elsewhere(MEND).await;
    world.healthy().await;
    assert_eq!(world.count().await, 2);
    world.record(entry(|_| ())).await.await.unwrap();
    assert_eq!(world.count().await, 3);
}

#[tokio::test]
async fn what_the_database_does_not_take_before_the_end_is_there_after_the_next_start() {
    let world = world().await;
    world.elsewhere(BREAK).await;
    world.record(entry(|_| ())).await.await.unwrap();
    timeout(Duration::from_secs(20), world.ledger.close()).await.expect("it does not keep the process alive");
    world.elsewhere(MEND).await;
    let World { ledger, path, _dir } = world;
    drop(ledger);
    let again = Ledger::open_file(&path, Durability::Process).await.unwrap();
    assert_eq!(again.rows(&Filter { limit: 10, ..Filter::default() }).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_whose_end_nobody_saw_has_a_row_that_says_so() {
    let world = world().await;
    let reserved = Some(NanoDollars(700));
    let opened = entry(|entry| {
        entry.status = Status::Interrupted;
        entry.reserved = reserved;
        Arc::make_mut(&mut entry.caller).tags = vec!["nightly".into()];
    });
    let slot = world.ledger.begin(&opened).await.unwrap();
    world.record(entry(|_| ())).await.await.unwrap();
    // As after kill -9: nothing of this process runs on, and its files are as they were.
    let copy = world.path.with_file_name("copy.db");
    let spool = journal_folder(&copy);
    std::fs::create_dir(&spool).unwrap();
    for file in std::fs::read_dir(journal_folder(&world.path)).unwrap().flatten() {
        std::fs::copy(file.path(), spool.join(file.file_name())).unwrap();
    }
    for _ in 0..2 {
        let after = Ledger::open_file(&copy, Durability::Process).await.unwrap();
        let rows = after.rows(&Filter { limit: 10, ..Filter::default() }).await.unwrap();
        let mut seen: Vec<_> =
            rows.iter().map(|row| (row.status.as_str(), row.reserved_nanousd, row.cost_nanousd)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [("interrupted", Some(700), None), ("success", None, None)]);
        assert_eq!(rows.iter().find(|row| row.status == "interrupted").unwrap().tags, ["nightly"]);
        after.close().await;
    }
    drop(slot);
}

#[tokio::test]
async fn sums_are_those_of_the_rows_even_when_rows_come_twice() {
    let world = world().await;
    let Store::Sqlite(sqlite) = &world.ledger.store else { panic!("a file") };
    let rows: Vec<_> = (1..=100).map(record).collect();
    sqlite.apply(Batch::of(&rows[..60]), || ()).await.unwrap();
    sqlite.apply(Batch::of(&rows), || ()).await.unwrap();
    sqlite.apply(Batch::of(&rows[40..]), || ()).await.unwrap();
    let mut unknown = record(101);
    (unknown.cost_nanousd, unknown.reserved_nanousd) = (None, Some(70));
    sqlite.apply(Batch::of(&[unknown]), || ()).await.unwrap();
    for scope in ["global:all", "key:00ff", "host:mac", "key_model:00ff/gpt-x", "provider:openai"] {
        let spent = world.ledger.spent(&scope.parse().unwrap(), Timestamp::UNIX_EPOCH, None).await.unwrap().0;
        let (cost, held) = (NanoDollars(500), NanoDollars(70));
        assert_eq!(spent, [BucketSpend { bucket: 0, cost, held }], "{scope}");
    }
    assert_eq!(world.ledger.spent(&"host:dgx".parse().unwrap(), Timestamp::UNIX_EPOCH, None).await.unwrap().0, []);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_ledger_is_refused() {
    let world = world().await;
    let second = Ledger::open_file(&world.path, Durability::Process).await.map(drop);
    assert!(second.unwrap_err().to_string().contains("another gateway has it open"));
}

async fn eventually(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
    let World { ledger, path, _dir } = world;
    drop(ledger);
    let again = Ledger::open_file(&path, Durability::Power).await.unwrap();
    assert_eq!(again.rows(&Filter { limit: 10_000, ..Filter::default() }).await.unwrap().len(), 701);
}

#[tokio::test]
async fn strangers_texts_are_kept_to_a_length_and_any_character_is_fine() {
    let world = world().await;
    let long = "🦊".repeat(10_000);
    let odd = entry(|entry| {
        entry.model.clone_from(&long);
        entry.error = Some(long.clone());
        entry.user_agent = Some("tab\tü \0 nul".into());
        entry.usage = Some(fleetgate_wire::usage::Usage { input: u64::MAX, ..Default::default() });
    });
    world.record(odd).await.await.unwrap();
    let row = world.ledger.rows(&Filter { limit: 1, ..Filter::default() }).await.unwrap().remove(0);
    assert_eq!((row.model.len(), row.error.unwrap().len()), (400, 400));
    assert_eq!(row.user_agent.as_deref(), Some("tab\tü "), "PostgreSQL's texts hold no NUL");
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
    assert_eq!(world.count().await, 1);
    let folder = world.path.parent().unwrap();
    let mut seen = 0;
    for folder in [folder, &journal_folder(&world.path)] {
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            let private = if file.file_type().unwrap().is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, private, "{:?}", file.file_name());
            seen += 1;
        }
    }
    assert!(seen >= 4, "the file, its log of writes, the journal");
}
