use super::*;
use crate::config::{Config, Overrides, load};

/// The deployments of a file, and what it says of all.
fn loaded(settings: &str, more: &str) -> Config {
    let entry =
        "model_list:\n- model_name: m\n  litellm_params:\n    model: hosted_vllm/m\n    api_base: http://127.0.0.1:1\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, format!("{entry}{more}\nrouter_settings: {{{settings}}}\n")).unwrap();
    let overrides = Overrides { config: Some(path), ..Default::default() };
    let environment = [("LITELLM_MASTER_KEY", "sk-0123456789abcdef0123456789"), ("HOME", "/tmp")];
    load(&overrides, environment.map(|(name, value)| (name.into(), value.into()))).unwrap().config
}

struct Trial {
    health: Health,
    began: Instant,
}

impl Trial {
    fn new(is_alone: bool, settings: &str, more: &str) -> Self {
        let (config, began) = (loaded(settings, more), Instant::now());
        let health = Health::new(&config.deployments[0], is_alone, &config.routing.cooldown, began);
        Self { health, began }
    }

    /// For how long it is left out because of an outcome, in milliseconds.
    fn note(&self, second: u64, outcome: Outcome) -> Option<u128> {
        self.note_asking(second, outcome, None)
    }

    fn note_asking(&self, second: u64, outcome: Outcome, asked: Option<u64>) -> Option<u128> {
        let now = self.began + Duration::from_secs(second);
        self.health.note(outcome, asked.map(Duration::from_secs), now).map(|rest| rest.as_millis())
    }

    fn state(&self, second: u64) -> DeploymentState {
        self.health.state(self.began + Duration::from_secs(second))
    }
}

#[test]
fn one_of_several_is_left_out_at_once_after_what_will_not_change_soon() {
    for outcome in [401, 402, 404, 408, 429].map(Outcome::Refused).into_iter().chain([Outcome::TimedOut]) {
        let trial = Trial::new(false, "", "");
        assert_eq!(trial.note(1, outcome), Some(5000), "{outcome:?}");
        assert_eq!(trial.note(2, outcome), None, "{outcome:?}: it is left out already");
        assert_eq!(
            (trial.state(5), trial.state(6)),
            (DeploymentState::Outage, DeploymentState::Partial),
            "{outcome:?}"
        );
        assert_eq!(trial.note(7, Outcome::Success), None);
        assert_eq!(trial.state(7), DeploymentState::Healthy);
        let alone = Trial::new(true, "", "");
        assert_eq!(alone.note(1, outcome), None, "{outcome:?}");
    }
}

#[test]
fn more_than_half_of_at_least_five_attempts_in_a_minute_are_too_much() {
    let trial = Trial::new(false, "", "");
    let outcomes = |second: u64, outcomes: &[Outcome]| {
        outcomes.iter().filter_map(|outcome| trial.note(second, *outcome)).collect::<Vec<_>>()
    };
    let (good, bad) = (Outcome::Success, Outcome::Refused(500));
    assert!(outcomes(1, &[bad; 4]).is_empty(), "four say nothing");
    assert!(outcomes(61, &[bad; 4]).is_empty(), "and are forgotten after a minute");
    assert!(outcomes(121, &[good, good, bad, bad]).is_empty(), "half is borne");
    assert_eq!(outcomes(122, &[Outcome::Broken]), [5000]);
    assert_eq!(trial.state(126), DeploymentState::Outage);
    assert!(outcomes(181, &[Outcome::Unknown; 9]).is_empty(), "a client that leaves says nothing");
    assert!(outcomes(182, &[Outcome::Refused(400), Outcome::ContentPolicy(400), Outcome::Refused(403)]).is_empty());
    assert_eq!(trial.health.counts().total, 25);
    assert_eq!(trial.health.counts().failed["500"], 10);
    assert_eq!(trial.health.counts().cooled_down["broken"], 1);
}

#[test]
fn a_number_takes_the_place_of_the_half_and_holds_for_the_only_one_too() {
    for alone in [false, true] {
        let trial = Trial::new(alone, "allowed_fails: 2, cooldown_time: 0.25", "");
        let bad = Outcome::Refused(503);
        assert_eq!([1, 2, 3].map(|second| trial.note(second, bad)), [None, None, Some(250)]);
    }
    let own = Trial::new(true, "allowed_fails: 2", "    allowed_fails: 0\n    cooldown_time: 9\n");
    assert_eq!(own.note_asking(1, Outcome::Refused(500), Some(60)), Some(9000), "the entry's own word counts");
}

#[test]
fn a_policy_counts_each_kind_for_itself() {
    let policy = "allowed_fails_policy: {RateLimitErrorAllowedFails: 1, InternalServerErrorAllowedFails: 0, BadRequestErrorAllowedFails: 0}";
    let trial = Trial::new(false, policy, "");
    assert_eq!(
        trial.note(1, Outcome::Refused(400)),
        None,
        "what is the caller's fault counts only where an entry says so"
    );
    assert_eq!(trial.note(1, Outcome::Refused(429)), None);
    assert_eq!(trial.note(1, Outcome::Refused(429)), Some(5000));
    assert_eq!(trial.note(9, Outcome::Refused(500)), Some(5000));
    assert_eq!(trial.note(19, Outcome::Refused(401)), Some(5000), "a kind that is not named is judged as ever");
    let own = "  model_info: {allowed_fails_policy: {ContentPolicyViolationErrorAllowedFails: 1}}\n";
    let trial = Trial::new(true, "", own);
    let refused = Outcome::ContentPolicy(400);
    assert_eq!([trial.note(1, refused), trial.note(2, refused)], [None, Some(5000)]);
}

#[test]
fn a_provider_says_how_long_and_nobody_is_left_out_for_ever() {
    let trial = Trial::new(false, "", "");
    assert_eq!(trial.note_asking(1, Outcome::Refused(429), Some(30)), Some(30_000));
    assert_eq!(trial.state(30), DeploymentState::Outage);
    assert_eq!(trial.note_asking(40, Outcome::Refused(429), Some(1_000_000)), Some(3_600_000));
}

#[test]
fn nothing_is_left_out_where_that_is_turned_off() {
    for settings in ["disable_cooldowns: true, allowed_fails: 0", "cooldown_time: 0"] {
        let trial = Trial::new(false, settings, "");
        assert!((0..50).all(|_| trial.note(1, Outcome::Refused(429)).is_none()), "{settings}");
        assert_eq!(trial.state(1), DeploymentState::Partial);
    }
}

#[test]
fn the_only_one_is_left_out_when_a_thousand_attempts_all_fail() {
    let trial = Trial::new(true, "", "");
    let cooled: Vec<usize> = (1..=1000).filter(|_| trial.note(1, Outcome::Refused(500)).is_some()).collect();
    assert_eq!(cooled, [1000]);
    let trial = Trial::new(true, "", "");
    trial.note(1, Outcome::Success);
    assert!(
        (0..2000).all(|_| trial.note(2, Outcome::Refused(500)).is_none()),
        "one that answers now and then is not hopeless"
    );
}
