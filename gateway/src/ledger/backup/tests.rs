use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;
use crate::auth::Caller;
use crate::config::Durability;
use crate::ledger::tests::entry;
use crate::ledger::{Filter, Ledger, Status};
use crate::price::{Cost, PriceSource};

struct World {
    dir: TempDir,
    database: Database,
    ledger: Ledger,
}

async fn world() -> World {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger.db");
    let ledger = Ledger::open_file(&path, Durability::Process).await.unwrap();
    World { dir, database: Database::Sqlite(path), ledger }
}

fn cost(nanos: i64) -> Cost {
    Cost { amount: Some(fleetgate_wire::money::NanoDollars(nanos)), source: PriceSource::Catalogue, ..Cost::UNPRICED }
}

impl World {
    async fn settle(&self, nanos: i64) -> String {
        self.settle_tagged(nanos, &[]).await
    }

    /// A row with long tags, so that segments fill up.
    async fn settle_tagged(&self, nanos: i64, tags: &[String]) -> String {
        let entry = entry(|entry| {
            entry.cost = cost(nanos);
            entry.caller = Caller { tags: tags.to_vec(), ..(*entry.caller).clone() }.into();
        });
        drop(self.ledger.begin(&entry).await.unwrap().record(&entry));
        entry.id.to_string()
    }

    fn back_up(&self, name: &str) -> (Manifest, PathBuf) {
        let target = self.dir.path().join(name);
        (super::back_up(&self.database, self.dir.path(), &[], &target).unwrap(), target)
    }
}

/// Restores into a place of its own, and opens the ledger there.
async fn restored(backup: &Path) -> (TempDir, Ledger) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state/other.db");
    let database = Database::Sqlite(path.clone());
    let done = restore(backup, &database, &dir.path().join("state"), None, false).unwrap();
    assert!(done.set_aside.is_none());
    let ledger = Ledger::open_file(&path, Durability::Process).await.unwrap();
    (dir, ledger)
}

async fn rows(ledger: &Ledger) -> Vec<fleetgate_wire::row::Row> {
    ledger.rows(&Filter { limit: 1_000_000, ..Filter::default() }).await.unwrap()
}

#[tokio::test]
async fn a_backup_holds_the_rows_of_ledger_and_journal_and_the_calls_under_way() {
    let world = world().await;
    let mut settled = HashSet::from([world.settle(7).await]);
    world.ledger.catch_up().await;
    let under_way = entry(|entry| {
        entry.cost = Cost::UNPRICED;
        entry.status = Status::Interrupted;
    });
    let slot = world.ledger.begin(&under_way).await.unwrap();
    settled.insert(world.settle(11).await);
    let (manifest, target) = world.back_up("a.tar.zst");
    let ledger = manifest.ledger.unwrap();
    assert_eq!(ledger.rows + manifest.journal.rows, 2);
    assert_eq!(ledger.cost_nanousd + manifest.journal.cost_nanousd, 18);
    assert_eq!(manifest.journal.open_calls, 1);
    assert_eq!(inspect(&target).unwrap(), manifest);
    drop(slot.record(&under_way));

    let (_dir, other) = restored(&target).await;
    let rows = rows(&other).await;
    let of =
        |status: &'static str| rows.iter().filter(move |row| row.status == status).map(|row| row.request_id.clone());
    assert_eq!(of("success").collect::<HashSet<_>>(), settled);
    assert_eq!(of("interrupted").collect::<Vec<_>>(), [under_way.id.to_string()]);
    assert_eq!(rows.iter().filter_map(|row| row.cost_nanousd).sum::<i64>(), 18);
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_lost_between_the_journal_and_the_ledger_while_both_are_copied() {
    let world = Arc::new(world().await);
    let over = Arc::new(AtomicBool::new(false));
    let (written, stop) = (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::clone(&over));
    let (writer, list) = (Arc::clone(&world), Arc::clone(&written));
    let writing = tokio::spawn(async move {
        while !stop.load(Ordering::Acquire) {
            let id = writer.settle_tagged(1, &vec!["x".repeat(400); 10]).await;
            list.lock().unwrap().push(id);
            tokio::task::yield_now().await;
        }
    });
    for number in 0..2 {
        // Over a segment's end each time: the files that come and go are what matters.
        let so_far = written.lock().unwrap().len();
        while written.lock().unwrap().len() < so_far + 500 {
            tokio::task::yield_now().await;
        }
        let before: Vec<String> = written.lock().unwrap().clone();
        let here = Arc::clone(&world);
        let target = tokio::task::spawn_blocking(move || here.back_up(&format!("{number}.tar.zst")).1).await.unwrap();
        let (_dir, other) = restored(&target).await;
        let there: HashSet<String> = rows(&other).await.into_iter().map(|row| row.request_id).collect();
        let missing = before.iter().filter(|id| !there.contains(*id)).count();
        assert_eq!(missing, 0, "of {} rows", before.len());
        other.close().await;
    }
    over.store(true, Ordering::Release);
    writing.await.unwrap();
}

#[tokio::test]
async fn a_ledger_that_is_there_is_set_aside_only_when_that_is_said() {
    let world = world().await;
    world.settle(1).await;
    let (_, target) = world.back_up("a.tar.zst");
    let there = restore(&target, &world.database, world.dir.path(), None, true);
    assert!(matches!(there, Err(RestoreError::Running { .. })), "{there:?}");
    world.settle(2).await;
    world.ledger.close().await;
    drop(world.ledger);

    let refused = restore(&target, &world.database, world.dir.path(), None, false);
    assert!(matches!(refused, Err(RestoreError::NotEmpty { .. })), "{refused:?}");
    let done = restore(&target, &world.database, world.dir.path(), None, true).unwrap();
    let aside = done.set_aside.unwrap();
    for (folder, expected) in [(world.dir.path().to_owned(), 1), (aside, 2)] {
        let ledger = Ledger::open_file(&folder.join("ledger.db"), Durability::Process).await.unwrap();
        assert_eq!(rows(&ledger).await.len(), expected, "{}", folder.display());
        ledger.close().await;
    }
}

#[tokio::test]
async fn a_refused_backup_changes_nothing() {
    let world = world().await;
    world.settle(1).await;
    let (_, target) = world.back_up("a.tar.zst");
    let bytes = std::fs::read(&target).unwrap();
    std::fs::write(&target, &bytes[..bytes.len() - 3]).unwrap();
    let dir = TempDir::new().unwrap();
    let database = Database::Sqlite(dir.path().join("ledger.db"));
    let refused = restore(&target, &database, dir.path(), None, false);
    assert!(matches!(refused, Err(RestoreError::Damaged(_))), "{refused:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    world.ledger.close().await;
}

#[tokio::test]
async fn files_beside_the_ledger_come_along_and_go_where_they_are_wanted() {
    use std::os::unix::fs::PermissionsExt;

    let world = world().await;
    let file = world.dir.path().join("config.yaml");
    std::fs::write(&file, "model_list: []\n").unwrap();
    let extra = [ExtraFile { name: "parts/config.yaml".to_owned(), path: file }];
    let target = world.dir.path().join("b.tar.zst");
    let manifest = super::back_up(&world.database, world.dir.path(), &extra, &target).unwrap();
    assert!(manifest.files.iter().any(|file| file.name == "config/parts/config.yaml" && file.origin.is_some()));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&target), 0o600);
    assert!(matches!(super::back_up(&world.database, world.dir.path(), &[], &target), Err(BackupError::Exists { .. })));

    let dir = TempDir::new().unwrap();
    let (database, config) = (Database::Sqlite(dir.path().join("ledger.db")), dir.path().join("etc"));
    let done = restore(&target, &database, dir.path(), Some(&config), false).unwrap();
    assert_eq!(done.config, [config.join("parts/config.yaml")]);
    assert_eq!(std::fs::read_to_string(&done.config[0]).unwrap(), "model_list: []\n");
    assert_eq!((mode(&done.config[0]), mode(&dir.path().join("ledger.db"))), (0o600, 0o600));
    let again = restore(&target, &Database::Sqlite(dir.path().join("b.db")), dir.path(), Some(&config), true);
    assert!(matches!(again, Err(RestoreError::NotEmpty { .. })), "an older configuration stays: {again:?}");
    assert!(!dir.path().join("b.db").exists());
    world.ledger.close().await;
}

#[test]
fn a_ledger_that_is_not_there_is_not_made() {
    let dir = TempDir::new().unwrap();
    let database = Database::Sqlite(dir.path().join("ledger.db"));
    let refused = super::back_up(&database, dir.path(), &[], &dir.path().join("x"));
    assert!(matches!(refused, Err(BackupError::NoLedger { .. })), "{refused:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
