use fleetgate_wire::row::Mark;
use fleetgate_wire::virtual_key::VirtualKey;
use http::HeaderValue;

use super::*;

const KEY: &str = "sk-test-key-of-host-mac";
const MASTER: &str = "sk-the-master-key-0001";

fn record(change: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
    let key = VirtualKey::parse(KEY).unwrap();
    let mut record = KeyRecord {
        token: key.hash(),
        key_name: key.short_name(),
        key_alias: Some("vk-mac".into()),
        host: None,
        user_id: None,
        team_id: None,
        models: vec![],
        blocked: false,
        expires: None,
        metadata: Default::default(),
        account: None,
        replaces: None,
        replaced_by: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        other: Default::default(),
    };
    change(&mut record);
    record
}

fn ask(headers: &[(&'static str, &str)], query: Option<&str>, record: KeyRecord) -> Result<Caller, Denied> {
    let ring = Keyring::new(Some(&MASTER.into()), vec![record]);
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    authenticate(&headers, query, "10.1.2.3:999".parse().unwrap(), &ring, Timestamp::UNIX_EPOCH)
}

#[test]
fn every_place_that_may_carry_a_key_is_looked_at() {
    let basic =
        format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("u:{KEY}")));
    let bearer = format!("Bearer {KEY}");
    let lower = format!("bearer {KEY}");
    for (name, value) in [
        ("x-litellm-api-key", KEY),
        ("x-litellm-api-key", &bearer),
        ("authorization", &bearer),
        ("authorization", &lower),
        ("authorization", &basic),
        ("api-key", KEY),
        ("x-api-key", KEY),
        ("x-goog-api-key", KEY),
        ("ocp-apim-subscription-key", KEY),
        ("proxy-authorization", &basic),
    ] {
        assert_eq!(ask(&[(name, value)], None, record(|_| ())).unwrap().key.alias(), "vk-mac", "{name}: {value}");
    }
    assert!(ask(&[], Some("alt=sse&key=sk%2Dtest-key-of-host-mac"), record(|_| ())).is_ok());
}

#[test]
fn a_junk_credential_beside_the_real_one_does_no_harm() {
    let caller = ask(&[("authorization", "Bearer DUMMY_KEY"), ("x-api-key", KEY)], None, record(|_| ()));
    assert!(caller.is_ok());
}

#[test]
fn the_master_key_has_a_name_of_its_own() {
    let caller = ask(&[("x-api-key", MASTER)], None, record(|_| ())).unwrap();
    assert_eq!((caller.key.alias(), caller.key.hash_text().as_str()), ("master-key", "master"));
}

#[test]
fn each_refusal_says_which_one_it_is_and_never_repeats_the_key() {
    let denied = |headers: &[(&'static str, &str)], record| ask(headers, None, record).unwrap_err();
    assert_eq!(denied(&[], record(|_| ())), Denied::NoKey);
    assert!(matches!(denied(&[("x-api-key", "placeholder")], record(|_| ())), Denied::NotAKey { .. }));
    let unknown = denied(&[("x-api-key", "sk-unknown-key-0001")], record(|_| ()));
    assert!(matches!(unknown, Denied::Unknown { .. }) && !unknown.to_string().contains("sk-unknown"));
    assert!(matches!(denied(&[("x-api-key", KEY)], record(|r| r.blocked = true)), Denied::Blocked { .. }));
    let expired = record(|r| r.expires = Some(Timestamp::UNIX_EPOCH));
    assert!(matches!(denied(&[("x-api-key", KEY)], expired), Denied::Expired { .. }));
    // Clients take these words for their own provider's login problem.
    assert!(!unknown.to_string().contains("invalid x-api-key"));
}

#[test]
fn a_bound_host_beats_a_claimed_one_and_an_address_is_the_last_resort() {
    let bound = record(|r| r.host = Some(HostLabel::parse("mac").unwrap()));
    let claim = [("x-api-key", KEY), ("x-fleetgate-host", "dgx")];
    let host = |headers: &[(&'static str, &str)], record| {
        let caller = ask(headers, None, record).unwrap();
        (caller.host.to_string(), caller.host.source())
    };
    assert_eq!(host(&claim, bound), ("mac".into(), "key"));
    assert_eq!(host(&claim, record(|_| ())), ("dgx".into(), "claimed"));
    assert_eq!(host(&claim[..1], record(|_| ())), ("10.1.2.3".into(), "address"));
}

#[test]
fn a_workload_is_named_by_its_header_or_its_user_agent() {
    let workload = |headers: &[(&'static str, &str)]| ask(headers, None, record(|_| ())).unwrap().workload.to_string();
    assert_eq!(
        workload(&[("x-api-key", KEY), ("x-fleetgate-workload", "claude-glm"), ("user-agent", "curl/8")]),
        "claude-glm"
    );
    assert_eq!(workload(&[("x-api-key", KEY), ("user-agent", "curl/8")]), "curl");
    assert_eq!(workload(&[("x-api-key", KEY)]), "unknown");
}

fn bound() -> KeyRecord {
    record(|r| r.host = Some(HostLabel::parse("mac").unwrap()))
}

#[test]
fn what_a_sidecar_found_is_believed_from_a_key_that_is_bound_to_a_host() {
    let said = [
        ("x-api-key", KEY),
        ("x-fleetgate-process", " /usr/bin/python3 unit:hermes.service "),
        ("x-fleetgate-user", "anna"),
        ("x-fleetgate-sighting", "openrouter:0123456789abcdef"),
    ];
    let caller = ask(&said, None, bound()).unwrap();
    assert_eq!(caller.origin.process.as_deref(), Some("/usr/bin/python3 unit:hermes.service"));
    assert_eq!(caller.origin.os_user.as_deref(), Some("anna"));
    assert_eq!(caller.marks(caller.host_seen().as_ref()), [Mark::RawProviderKey]);

    let caller = ask(&said, None, record(|_| ())).unwrap();
    assert_eq!((caller.origin.process, caller.origin.os_user, caller.origin.sighting), (None, None, None));
}

#[test]
fn a_key_of_this_gateways_own_is_no_providers() {
    for own in [KEY, MASTER] {
        let sighting = format!("unknown:{}", fleetgate_wire::provider_key::Fingerprint::of(own));
        let caller = ask(&[("x-api-key", KEY), ("x-fleetgate-sighting", &sighting)], None, bound()).unwrap();
        assert_eq!(caller.marks(caller.host_seen().as_ref()), [], "{own}");
    }
}

#[test]
fn whoever_lives_on_the_fallback_key_is_marked_whatever_that_key_is() {
    for key in [KEY, MASTER] {
        let said = [("x-api-key", key), ("x-fleetgate-host", "attic"), ("x-fleetgate-fallback-key", "1")];
        let caller = ask(&said, None, record(|_| ())).unwrap();
        assert_eq!(
            (caller.host.to_string().as_str(), caller.marks(caller.host_seen().as_ref())),
            ("attic", vec![Mark::FallbackKey])
        );
    }
    let not_so = ask(&[("x-api-key", KEY), ("x-fleetgate-fallback-key", "0")], None, record(|_| ())).unwrap();
    assert_eq!(not_so.marks(None), []);
}

#[test]
fn a_sidecar_with_another_hosts_key_is_found_out() {
    let caller = ask(&[("x-api-key", KEY), ("x-fleetgate-host", "Tower.local")], None, bound()).unwrap();
    assert_eq!(
        (caller.host.to_string().as_str(), caller.marks(caller.host_seen().as_ref())),
        ("mac", vec![Mark::HostMismatch])
    );
    assert_eq!(caller.host_seen().unwrap().as_str(), "tower");
    let caller = ask(&[("x-api-key", KEY), ("x-fleetgate-host", "Mac.local")], None, bound()).unwrap();
    assert_eq!((caller.host_seen(), caller.marks(caller.host_seen().as_ref())), (None, vec![]));
}
