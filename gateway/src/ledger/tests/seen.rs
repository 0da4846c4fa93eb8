use super::*;

/// Rows of a straggler, of the administrator, and of a host that shows the same key from two programs. Times are seconds.
pub(in crate::ledger) fn rows() -> Vec<Record<'static>> {
    const KEY: Option<&str> = Some("openrouter:c930bf063c63c9da");
    let row = |id: u128, provenance| Record { started_at: id as i64 * 1_000_000, provenance, ..record(id) };
    let fallback = Provenance { marks: vec!["fallback_key"], ..Provenance::default() };
    let shown = |process| Provenance {
        process,
        os_user: Some("anna"),
        marks: vec!["host_mismatch", "raw_provider_key"],
        host_seen: Some("tower"),
        sighting: KEY,
    };
    vec![
        row(1, Provenance::default()),
        Record { host: "attic", host_source: "claimed", key_alias: "vk-spare", ..row(2, fallback.clone()) },
        Record { host: "attic", host_source: "claimed", key_alias: "vk-spare", kind: "tunnel", ..row(3, fallback) },
        Record { host: "10.1.2.3", key_hash: "master", key_alias: "master-key", ..row(4, Provenance::default()) },
        row(5, shown(Some("/usr/bin/python3"))),
        row(6, shown(None)),
        row(7, shown(Some("/usr/bin/python3"))),
    ]
}

/// What either database must say of [`rows`].
pub(in crate::ledger) fn check(shown: &[fleetgate_wire::row::Row], stragglers: &[Straggler], sightings: &[Sighting]) {
    use fleetgate_wire::row::Mark;
    assert_eq!(shown[0].marks, [Mark::HostMismatch, Mark::RawProviderKey]);
    assert_eq!((shown[0].os_user.as_deref(), shown[0].host_seen.as_deref()), (Some("anna"), Some("tower")));
    assert_eq!(shown[0].sighting.as_deref(), Some("openrouter:c930bf063c63c9da"));
    assert_eq!((shown[1].process.as_deref(), shown[6].process.as_deref()), (None, None));
    assert_eq!((shown[6].marks.len(), shown[5].marks.as_slice()), (0, [Mark::FallbackKey].as_slice()));

    let straggler = |s: &Straggler| (s.host.clone(), s.reason.clone(), s.key_alias.clone(), s.calls);
    let expected = [("10.1.2.3", "master_key", "master-key", 1), ("attic", "fallback_key", "vk-spare", 2)];
    let expected = expected.map(|(host, reason, alias, calls)| (host.into(), reason.into(), alias.into(), calls));
    assert_eq!(stragglers.iter().map(straggler).collect::<Vec<_>>(), expected);
    assert_eq!(stragglers[1].first_seen, "1970-01-01T00:00:02.000000Z");
    assert_eq!(stragglers[1].last_seen, "1970-01-01T00:00:03.000000Z");

    let seen = |s: &Sighting| (s.process.clone(), s.count, s.first_seen.clone(), s.last_seen.clone());
    let time = |second: u32| format!("1970-01-01T00:00:0{second}.000000Z");
    let expected = [(Some("/usr/bin/python3".to_owned()), 2, time(5), time(7)), (None, 1, time(6), time(6))];
    assert_eq!(sightings.iter().map(seen).collect::<Vec<_>>(), expected);
    assert!(sightings.iter().all(|s| s.provider == "openrouter" && s.fingerprint == "c930bf063c63c9da"));
    assert!(
        sightings
            .iter()
            .all(|s| (s.host.as_str(), s.workload.as_str(), s.place.as_str()) == ("mac", "claude-glm", "live"))
    );
}

#[tokio::test]
async fn stragglers_and_sightings_are_told_from_the_rows_however_often_these_come() {
    let world = world().await;
    let Store::Sqlite(sqlite) = &world.ledger.store else { unreachable!("a file") };
    sqlite.apply(Batch::of(&rows()[..6]), || ()).await.unwrap();
    sqlite.apply(Batch::of(&rows()), || ()).await.unwrap();
    let shown = world.ledger.rows(&Filter { limit: 10, ..Filter::default() }).await.unwrap();
    let stragglers = world.ledger.stragglers(Span::default()).await.unwrap();
    check(&shown, &stragglers, &world.ledger.sightings().await.unwrap());

    let late = Span { since: Some(Timestamp::from_second(4).unwrap()), until: None };
    let late = world.ledger.stragglers(late).await.unwrap();
    assert_eq!(late.iter().map(|s| s.host.as_str()).collect::<Vec<_>>(), ["10.1.2.3"]);

    // A move to another database takes the sightings along.
    let other = super::world().await;
    let lines = world.ledger.store.lines("", 100).await.unwrap();
    other.ledger.store.add_lines(&lines).await.unwrap();
    other.ledger.store.add_lines(&lines).await.unwrap();
    assert_eq!(other.ledger.sightings().await.unwrap(), world.ledger.sightings().await.unwrap());
    assert_eq!(other.ledger.rows(&Filter { limit: 10, ..Filter::default() }).await.unwrap(), shown);
}
