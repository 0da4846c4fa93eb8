//! Keys are read again when they change.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{FakeGateway, World, header, ok, soon, status, write_key};

async fn bearer(world: &World, gateway: &FakeGateway) -> String {
    let answer = ok();
    let (_, head) = tokio::join!(world.post(), gateway.serve_one(&answer));
    header(&head, "authorization").unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_new_key_is_used_within_a_moment() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    assert!(bearer(&world, &gateway).await.ends_with("host-0123456789"));
    write_key(&world.directory.path().join("mac.key"), "sk-second-0123456789");
    soon(async { while bearer(&world, &gateway).await != "Bearer sk-second-0123456789" {} }).await;
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_until_it_is_private() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let path = world.directory.path().join("mac.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    world.keys.reload_soon();
    soon(async {
        while world.keys.current().problems().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answer = world.post().await;
    assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (503, Some("no_key")));
    assert!(answer.contains(&format!("run: chmod 600 {}", path.display())), "{answer}");
    assert!(gateway.is_unvisited());

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    soon(async {
        while status(&world.ask("GET /__fleetgate/whoami HTTP/1.1\r\nHost: localhost\r\n\r\n").await) != 200 {}
    })
    .await;
    soon(async {
        while !world.keys.current().problems().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(bearer(&world, &gateway).await.ends_with("host-0123456789"));
}

#[tokio::test]
async fn a_broken_hosts_file_changes_nothing_and_a_good_one_does() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let hosts = world.directory.path().join("hosts.toml");
    fs::write(&hosts, "[[host]\n").unwrap();
    world.keys.reload_soon();
    tokio::task::yield_now().await;
    assert!(bearer(&world, &gateway).await.ends_with("host-0123456789"));

    fs::write(&hosts, "[[host]]\nmatch=['tower']\nkey='file:mac.key'\n").unwrap();
    soon(async {
        while world.keys.current().problems().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answer = world.post().await;
    assert_eq!(header(&answer, "x-fleetgate-reason"), Some("no_key"));
    for part in ["mac", "hosts.toml", "match = "] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
}
