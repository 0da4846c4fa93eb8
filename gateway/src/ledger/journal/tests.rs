use tempfile::TempDir;

use super::*;
use crate::ledger::tests::record;

fn open(folder: &Path) -> Arc<Journal> {
    Journal::open(folder, Durability::Process).unwrap().0
}

fn settled(folder: &Path) -> Vec<u128> {
    let left = recovery::read(folder).unwrap();
    let mut ids = Vec::new();
    for segment in left.segments {
        let bytes = segment.read(0, usize::MAX).unwrap();
        let mut at = 0;
        while let Some(frame) = frame::decode(&bytes[at..]).unwrap() {
            at += frame.size;
            if frame.kind == Kind::Settled {
                ids.push(frame.record().unwrap().id);
            }
        }
    }
    ids
}

#[test]
fn what_was_written_is_read_in_order_over_many_segments() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    let long = "x".repeat(3000);
    for id in 0..3000 {
        let mut row = record(id);
        row.error = Some(&long);
        journal.begin(&row).unwrap().0.end(&row).0.unwrap();
    }
    assert!(journal.lock().segments.len() >= 4);
    assert_eq!(settled(dir.path()), (0..3000).collect::<Vec<_>>());
}

#[test]
fn a_segment_stays_while_a_call_that_was_opened_in_it_is_under_way() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    let long = "x".repeat(7000);
    let mut row = record(1);
    row.error = Some(&long);
    let (under_way, _) = journal.begin(&row).unwrap();
    let first = journal.front().unwrap();
    while Arc::ptr_eq(&first, journal.lock().segments.back().unwrap()) {
        journal.begin(&row).unwrap().0.end(&row).0.unwrap();
    }
    journal.front_applied();
    assert!(first.path().exists(), "it alone says that the call was made");
    under_way.end(&row).0.unwrap();
    journal.lock().drop_unneeded();
    assert!(!first.path().exists());
}

#[test]
fn calls_under_way_at_the_end_of_the_process_are_settled_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    let (under_way, _) = journal.begin(&record(1)).unwrap();
    journal.begin(&record(2)).unwrap().0.end(&record(2)).0.unwrap();
    std::mem::forget(under_way);
    drop(Arc::into_inner(journal));
    // The forgotten call holds the journal and its lock, as no dead process does.
    std::fs::remove_file(dir.path().join(LOCK)).unwrap();
    let (again, interrupted) = Journal::open(dir.path(), Durability::Process).unwrap();
    assert_eq!((interrupted, again.settled()), (1, 2));
    assert_eq!(settled(dir.path()), [2, 1]);
}

#[test]
fn every_call_that_was_let_out_finds_room_for_its_end() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    let long = "x".repeat(7000);
    let mut row = record(1);
    let under_way: Vec<_> = (0..2000).map(|_| journal.begin(&row).unwrap().0).collect();
    let made = journal.lock().spares.len();
    row.error = Some(&long);
    for call in under_way {
        call.end(&row).0.unwrap();
    }
    assert!(journal.lock().spares.len() < made, "the room was there before");
    assert_eq!(settled(dir.path()).len(), 2000);
}

#[tokio::test]
async fn a_row_that_must_survive_the_loss_of_power_waits_for_the_disk() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = Journal::open(dir.path(), Durability::Power).unwrap();
    let (opened, synced) = journal.begin(&record(1)).unwrap();
    synced.await.unwrap();
    opened.end(&record(1)).0.unwrap().await.unwrap();
}

#[test]
fn an_empty_journal_leaves_nothing_but_its_lock() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    journal.tidy();
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|file| file.file_name()).collect();
    assert_eq!(names, [LOCK]);
}
