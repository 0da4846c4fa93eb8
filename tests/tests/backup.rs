//! A backup of a gateway that serves, restored elsewhere: every call that was answered before has its row, and the sums agree. The
//! figures are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fleetgate_tests::gateway::Config;
use fleetgate_tests::load::{CHAT_MODEL, MESSAGES_MODEL};
use fleetgate_tests::process::{Finished, Program};
use fleetgate_tests::upstream::Upstream;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Books, Gateway, Load, Postgres, Spent, eventually};
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

const CHAT: &str = "/v1/chat/completions";

fn models(config: Config, upstream: &Upstream) -> Config {
    let config = config.deployment(CHAT_MODEL, "openai/gpt-4.1-mini", upstream, &json!({}));
    config.deployment(MESSAGES_MODEL, "anthropic/claude-sonnet-4-5", upstream, &json!({}))
}

fn ledger(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("ledger.db").display())
}

async fn gateway(home: &Path, arguments: &[&str]) -> Finished {
    let state = BTreeMap::from([("FLEETGATE_STATE_DIRECTORY".to_owned(), home.display().to_string())]);
    Program::new("fleetgate-gateway", home).args(arguments.iter().copied()).envs(&state).run().await
}

/// Takes a backup of a gateway into `to`.
async fn back_up(gw: &Gateway, database: &str, to: &Path) -> Finished {
    gateway(gw.dir(), &["backup", "--database", database, "--to", &to.display().to_string()]).await
}

async fn restore(home: &Path, file: &Path, database: &str, more: &[&str]) -> Finished {
    let file = file.display().to_string();
    gateway(home, &[&["restore", &file, "--database", database], more].concat()).await
}

fn taken_at(backup: &Finished) -> Timestamp {
    let line = backup.stdout.lines().find_map(|line| line.strip_prefix("Every call that was answered before "));
    let moment = line.and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{}", backup.said()));
    moment.parse().unwrap()
}

#[tokio::test]
async fn a_backup_under_load_has_the_row_of_every_answer_before_it() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| models(c, &upstream)).await;
    let key = gw.key(&json!({"key_alias": "vk-load", "max_budget": 100})).await;
    let load = Load::start(gw.address(), &[&key], 8);
    let elsewhere = TempDir::new().unwrap();
    let mut backups = Vec::new();
    for number in 0..3 {
        let so_far = load.finished();
        eventually("calls are answered", async || (load.finished() >= so_far + 60).then_some(())).await;
        let file = elsewhere.path().join(format!("{number}.tar.zst"));
        let backup = back_up(&gw, &ledger(gw.dir()), &file).await;
        assert!(backup.status.success(), "{}", backup.said());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        backups.push((file, taken_at(&backup)));
    }
    let so_far = load.finished();
    eventually("calls go on", async || (load.finished() >= so_far + 20).then_some(())).await;
    let made = load.stop().await;
    assert_eq!((made.broken, made.refusals()), (0, 0), "a backup refuses nobody");
    let all = Books::of(&gw).await.0;

    for (number, (file, taken_at)) in backups.iter().enumerate() {
        let home = elsewhere.path().join(format!("restored-{number}"));
        fs::create_dir(&home).unwrap();
        let restored = restore(&home, file, &ledger(&home), &[]).await;
        assert!(restored.status.success(), "{}", restored.said());
        let other = Gateway::start(|c| models(c, &upstream).database(&ledger(&home))).await;
        let books = Books::of(&other).await;
        let answered = made.finished_at.iter().filter(|(_, (_, at))| at < taken_at).map(|(_, (id, _))| id);
        let answered: Vec<&String> = answered.collect();
        let missing = answered.iter().filter(|id| books.0.get(**id).is_none_or(|row| row.status != "success")).count();
        let strange = books.0.iter().filter(|(id, row)| row.status != "interrupted" && all.get(*id) != Some(row));
        let spent = Spent::of(&other, &key).await;
        println!(
            "backup {number}: {} answers before it, {missing} without a row; {} rows, {} interrupted, {} not as in the original; {spent}",
            answered.len(),
            books.0.len(),
            books.count("interrupted"),
            strange.clone().count(),
        );
        assert!(answered.len() >= 60 * (number + 1));
        assert_eq!((missing, strange.count()), (0, 0));
        assert_eq!((spent.info, spent.budget), (spent.rows, spent.rows + spent.held), "counter, sum and rows agree");
        let known: i64 = books.0.values().filter_map(|row| row.cost_nanousd).sum();
        let dollars = format!("${:.6}", fleetgate_wire::money::NanoDollars(known).dollars());
        assert!(restored.stdout.contains(&dollars), "{dollars}: {}", restored.stdout);
        let rows = books.0.len() - books.count("interrupted");
        assert!(restored.stdout.contains(&format!("rows:      {rows} (")), "{rows}: {}", restored.stdout);
        let under_way = format!("under way: {} calls", books.count("interrupted"));
        assert!(restored.stdout.contains(&under_way), "{under_way}: {}", restored.stdout);
        // Keys work as they did.
        other.post(CHAT).bearer(&key).json(&chat_request(CHAT_MODEL)).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_torn_backup_a_running_gateway_and_a_ledger_that_is_there_are_refused() {
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| models(c, &upstream)).await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    gw.post(CHAT).bearer(&key).json(&chat_request(CHAT_MODEL)).send().await.expect(200);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.tar.zst");
    let backup = back_up(&gw, &ledger(gw.dir()), &file).await;
    assert!(backup.status.success(), "{}", backup.said());
    let again = back_up(&gw, &ledger(gw.dir()), &file).await;
    assert!(!again.status.success() && again.stderr.contains("is there already"), "{}", again.said());

    // Cut, changed in its middle, and something else altogether.
    let bytes = fs::read(&file).unwrap();
    let torn = folder.path().join("torn.tar.zst");
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 0x40;
    for damaged in [&bytes[..bytes.len() - 1], &bytes[..bytes.len() / 2], &changed, b"no backup".as_slice()] {
        fs::write(&torn, damaged).unwrap();
        let home = TempDir::new().unwrap();
        let refused = restore(home.path(), &torn, &ledger(home.path()), &[]).await;
        assert_eq!(refused.status.code(), Some(1), "{}", refused.said());
        assert!(refused.stderr.contains("backup"), "{}", refused.said());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was touched");
        let checked = gateway(home.path(), &["restore", "--check", &torn.display().to_string()]).await;
        assert_eq!(checked.status.code(), Some(1), "{}", checked.said());
    }
    let whole = gateway(folder.path(), &["restore", "--check", &file.display().to_string()]).await;
    assert!(whole.status.success() && whole.stdout.contains("is whole"), "{}", whole.said());

    let running = restore(gw.dir(), &file, &ledger(gw.dir()), &["--force"]).await;
    assert!(!running.status.success() && running.stderr.contains("a gateway is running"), "{}", running.said());
    gw.post(CHAT).bearer(&key).json(&chat_request(CHAT_MODEL)).send().await.expect(200);
    gw.terminate().await;
    let there = restore(gw.dir(), &file, &ledger(gw.dir()), &[]).await;
    assert!(!there.status.success() && there.stderr.contains("--force"), "{}", there.said());
    let forced = restore(gw.dir(), &file, &ledger(gw.dir()), &["--force"]).await;
    assert!(forced.status.success(), "{}", forced.said());
    let aside = fs::read_dir(gw.dir())
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().contains(".before-"));
    assert!(aside.expect("the earlier ledger").path().join("ledger.db").is_file());
    gw.start_again().await;
    assert_eq!(gw.only_row().await.status, "success", "the call after the backup is in the ledger that was set aside");
    gw.post(CHAT).bearer(&key).json(&chat_request(CHAT_MODEL)).send().await.expect(200);
}

#[tokio::test]
async fn a_backup_holds_the_configuration_where_that_is_wanted_and_never_otherwise() {
    let gw = Gateway::start(|c| c).await;
    fs::write(gw.dir().join("gateway.env"), "OPENAI_API_KEY=sk-secret-of-a-provider\n").unwrap();
    let config = gw.config_file().display().to_string();
    let database = ledger(gw.dir());
    let folder = TempDir::new().unwrap();
    let to = folder.path().display().to_string();
    let arguments = ["backup", "--config", &config, "--database", &database, "--to", &to];
    let without = gateway(gw.dir(), &arguments).await;
    assert!(without.stdout.contains("--with-config adds it"), "{}", without.said());
    let first = fs::read_dir(folder.path()).unwrap().flatten().next().expect("a backup").path();
    let listed = gateway(gw.dir(), &["restore", "--check", &first.display().to_string()]).await;
    assert!(!listed.said().contains("gateway.env"), "{}", listed.said());

    let second = folder.path().join("second.tar.zst").display().to_string();
    let with = ["backup", "--config", &config, "--database", &database, "--to", &second, "--with-config"];
    let with = gateway(gw.dir(), &with).await;
    assert!(with.status.success() && with.stdout.contains("with its secrets"), "{}", with.said());
    assert!(!with.said().contains("sk-secret"), "{}", with.said());
    let home = TempDir::new().unwrap();
    let (target, state) = (home.path().join("etc"), ledger(home.path()));
    let more = ["--config-to", &target.display().to_string()];
    let restored = restore(home.path(), Path::new(&second), &state, &more).await;
    assert!(restored.status.success(), "{}", restored.said());
    for name in ["config.yaml", "gateway.env"] {
        assert_eq!(fs::read(target.join(name)).unwrap(), fs::read(gw.dir().join(name)).unwrap(), "{name}");
        assert_eq!(fs::metadata(target.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn with_postgresql_the_journal_and_the_identity_are_kept_and_pg_dump_is_named() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let url = postgres.database("backup").await;
    let mut gw = Gateway::start(|c| models(c, &upstream).database(&url)).await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    gw.post(CHAT).bearer(&key).json(&chat_request(CHAT_MODEL)).send().await.expect(200);
    assert_eq!(gw.rows().await.len(), 1);
    postgres.stop().await;
    gw.post(CHAT).bearer(&key).json(&chat_request(CHAT_MODEL)).send().await.expect(200);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pg.tar.zst");
    let backup = back_up(&gw, &url, &file).await;
    assert!(backup.status.success(), "{}", backup.said());
    assert!(backup.stdout.contains("pg_dump --format=custom"), "{}", backup.said());
    gw.kill().await;
    let into_file = restore(folder.path(), &file, &ledger(folder.path()), &[]).await;
    assert!(!into_file.status.success() && into_file.stderr.contains("PostgreSQL"), "{}", into_file.said());

    let home = TempDir::new().unwrap();
    let restored = restore(home.path(), &file, &url, &[]).await;
    assert!(restored.status.success() && restored.stdout.contains("pg_restore"), "{}", restored.said());
    assert_eq!(
        fs::read(home.path().join("gateway-id")).unwrap(),
        fs::read(gw.dir().join("gateway-id")).unwrap(),
        "it goes on as the same gateway"
    );
    postgres.restart().await;
    let state = home.path().display().to_string();
    let other = Gateway::start(|c| models(c, &upstream).database(&url).env("FLEETGATE_STATE_DIRECTORY", &state)).await;
    eventually("the row that waited arrives", async || (other.rows().await.len() == 2).then_some(())).await;
}

/// What docs/backup.md says to do with PostgreSQL, under load: the gateway's own part first, then the server's dump.
#[tokio::test]
async fn with_postgresql_both_parts_together_have_the_row_of_every_answer_before_them() {
    let (postgres, upstream) = (Postgres::start().await, Upstream::start().await);
    let (url, again) = (postgres.database("ledger").await, postgres.database("again").await);
    let mut gw = Gateway::start(|c| models(c, &upstream).database(&url)).await;
    let key = gw.key(&json!({"key_alias": "vk-load", "max_budget": 100})).await;
    let load = Load::start(gw.address(), &[&key], 8);
    eventually("calls are answered", async || (load.finished() >= 100).then_some(())).await;
    let home = TempDir::new().unwrap();
    let (file, dump) = (home.path().join("gateway.tar.zst"), home.path().join("fleetgate.dump"));
    let backup = back_up(&gw, &url, &file).await;
    assert!(backup.status.success(), "{}", backup.said());
    let so_far = load.finished();
    eventually("calls go on", async || (load.finished() >= so_far + 50).then_some(())).await;
    postgres.client("pg_dump", &["--format=custom", &format!("--file={}", dump.display()), &url]).await;
    let so_far = load.finished();
    eventually("calls go on", async || (load.finished() >= so_far + 50).then_some(())).await;
    let made = load.stop().await;
    let all = Books::of(&gw).await.0;
    gw.kill().await;

    let dump = dump.display().to_string();
    postgres.client("pg_restore", &["--clean", "--if-exists", &format!("--dbname={again}"), &dump]).await;
    let restored = restore(home.path(), &file, &again, &[]).await;
    assert!(restored.status.success(), "{}", restored.said());
    let state = home.path().display().to_string();
    let other =
        Gateway::start(|c| models(c, &upstream).database(&again).env("FLEETGATE_STATE_DIRECTORY", &state)).await;
    let books = Books::of(&other).await;
    let before = taken_at(&backup);
    let answered: Vec<_> = made.finished_at.values().filter(|(_, at)| *at < before).map(|(id, _)| id).collect();
    let missing = answered.iter().filter(|id| books.0.get(**id).is_none_or(|row| row.status != "success")).count();
    let strange = books.0.iter().filter(|(id, row)| row.status != "interrupted" && all.get(*id) != Some(row)).count();
    let spent = Spent::of(&other, &key).await;
    println!(
        "{} answers before the backup, {missing} without a row; {} rows, {} interrupted, {strange} not as in the original; {spent}",
        answered.len(),
        books.0.len(),
        books.count("interrupted"),
    );
    assert!(answered.len() >= 100);
    assert_eq!((missing, strange), (0, 0));
    assert_eq!((spent.info, spent.budget), (spent.rows, spent.rows + spent.held), "counter, sum and rows agree");
    other.post(CHAT).bearer(&key).json(&chat_request(CHAT_MODEL)).send().await.expect(200);
}
