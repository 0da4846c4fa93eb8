//! Where the programs listen, and where they refuse to.

use std::net::TcpListener;

use fleetgate_tests::Gateway;
use serde_json::json;

#[tokio::test]
async fn a_wildcard_is_refused_with_the_way_to_mean_it() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = Gateway::refuses(|c| c.listen(address)).await;
        assert!(!refused.status.success(), "{address}: {}", refused.said());
        assert!(refused.stderr.contains("dangerously_listen_publicly"), "{address}: {}", refused.said());
        assert!(!refused.stdout.contains("ready"), "{}", refused.stdout);
    }
}

#[tokio::test]
async fn a_wildcard_that_is_meant_is_served() {
    let gw =
        Gateway::start(|c| c.listen("0.0.0.0:0").set("fleetgate", "dangerously_listen_publicly", json!(true))).await;
    assert!(gw.address().ip().is_unspecified(), "{}", gw.address());
}

#[tokio::test]
async fn a_taken_port_names_its_owner() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("a free port: {error}"));
    let address = taken.local_addr().unwrap_or_else(|error| panic!("it is bound: {error}")).to_string();
    let refused = Gateway::refuses(|c| c.listen(&address)).await;
    assert!(!refused.status.success(), "{}", refused.said());
    let said = refused.said();
    assert!(said.contains(&address) && said.contains(&std::process::id().to_string()), "{said}");
}

#[tokio::test]
async fn two_gateways_do_not_share_a_port_in_silence() {
    let first = Gateway::start(|c| c).await;
    let address = first.address().to_string();
    let second = Gateway::refuses(|c| c.listen(&address)).await;
    assert!(!second.status.success() && second.said().contains(&first.pid().to_string()), "{}", second.said());
}
