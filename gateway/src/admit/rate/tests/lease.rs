//! Several gateways with one limit.

use std::collections::BTreeMap;

use super::*;

/// What gateways share: it grants as [`LEASE_SPAN_SECONDS`] asks for.
#[derive(Default)]
struct Bank {
    granted: BTreeMap<(RateRule, i64), u64>,
}

impl Bank {
    fn serve(&mut self, rates: &Rates, now: Timestamp) {
        for wish in rates.wanted(now) {
            let cap = rates.cap(&wish.rule).unwrap();
            let span = wish.window_start - LEASE_SPAN_SECONDS + 1..=wish.window_start + LEASE_SPAN_SECONDS - 1;
            let near = self.granted.iter().filter(|((rule, start), _)| *rule == wish.rule && span.contains(start));
            let left = cap.saturating_sub(near.map(|(_, amount)| amount).sum());
            let amount = wish.amount.min(left) + wish.owed;
            *self.granted.entry((wish.rule.clone(), wish.window_start)).or_default() += amount;
            rates.grant(&wish.rule, wish.window_start, amount);
        }
    }

    fn collect(&mut self, rates: &Rates, now: Timestamp) {
        for unused in rates.unused(now) {
            let taken = rates.take_back(&unused.rule, unused.window_start, unused.amount);
            *self.granted.get_mut(&(unused.rule, unused.window_start)).unwrap() -= taken;
        }
    }
}

fn leased(rules: &[(&str, RateCaps)]) -> Rates {
    Rates::new(rules.iter().map(|(text, caps)| (scope(text), *caps)), Funds::Leased)
}

/// A call with one visit to the bank.
fn call(rates: &Rates, bank: &mut Bank, tokens: u64, now: i64) -> Result<RateHold, RateLimited> {
    let key = [scope("key:a")];
    rates.admit(&key, tokens, at(now)).or_else(|_| {
        bank.serve(rates, at(now));
        rates.admit(&key, tokens, at(now))
    })
}

proptest! {
    #[test]
    fn gateways_together_stay_within_the_limit_in_any_60_seconds(
        limit in 1_u64..30,
        calls in prop::collection::vec((0_usize..3, prop_oneof![0_i64..200, 0_i64..9_000], any::<bool>()), 1..200),
    ) {
        let gateways = [(); 3].map(|()| leased(&[("key:a", rpm(limit))]));
        let (mut bank, mut now, mut admitted) = (Bank::default(), 0, Vec::new());
        for (gateway, gap, collects) in calls {
            now += gap;
            if call(&gateways[gateway], &mut bank, 0, now).is_ok() {
                admitted.push((now, 1));
            }
            if collects {
                bank.collect(&gateways[gateway], at(now));
            }
        }
        prop_assert!(densest(&admitted) <= limit);
        prop_assert!(!admitted.is_empty());
    }

    #[test]
    fn gateways_together_use_no_more_tokens_than_the_limit_when_estimates_hold(
        limit in 1_u64..1_000,
        calls in prop::collection::vec((0_usize..3, 0_i64..9_000, 0_u64..400, 0_u64..=100, any::<bool>()), 1..150),
    ) {
        let gateways = [(); 3].map(|()| leased(&[("key:a", tpm(limit))]));
        let (mut bank, mut now, mut used, mut open) = (Bank::default(), 0, Vec::new(), Vec::new());
        for (gateway, gap, estimate, percent, settles) in calls {
            now += gap;
            let estimate = estimate.min(limit);
            if let Ok(hold) = call(&gateways[gateway], &mut bank, estimate, now) {
                open.push((hold, now, estimate * percent / 100));
            }
            if settles && let Some((hold, since, actual)) = open.pop() {
                hold.settle(actual, at(now));
                used.push((since, actual));
            }
            bank.collect(&gateways[gateway], at(now));
        }
        used.extend(open.iter().map(|(_, since, actual)| (*since, *actual)));
        prop_assert!(densest(&used) <= limit);
    }

    #[test]
    fn gateways_together_hold_no_more_calls_at_once_than_the_limit(
        limit in 1_u64..8,
        steps in prop::collection::vec((0_usize..3, any::<bool>()), 1..120),
    ) {
        let gateways = [(); 3].map(|()| leased(&[("key:a", parallel(limit))]));
        let mut open: [Vec<RateHold>; 3] = Default::default();
        let (mut bank, mut now) = (Bank::default(), 0);
        for (gateway, opens) in steps {
            now += 6_000;
            if opens {
                open[gateway].extend(call(&gateways[gateway], &mut bank, 0, now));
            } else {
                open[gateway].pop();
                bank.collect(&gateways[gateway], at(now));
            }
            prop_assert!(open.iter().map(|open| open.len() as u64).sum::<u64>() <= limit);
        }
    }
}

#[test]
fn what_another_gateway_does_not_use_can_be_used_here() {
    let (one, two) = (leased(&[("key:a", tpm(100))]), leased(&[("key:a", tpm(100))]));
    let mut bank = Bank::default();
    call(&one, &mut bank, 90, 0).unwrap().settle(5, at(1_000));
    assert!(call(&two, &mut bank, 80, 2_000).is_err());
    bank.collect(&one, at(6_000));
    assert!(call(&two, &mut bank, 80, 7_000).is_ok());
}

#[test]
fn an_answer_longer_than_granted_is_owed_to_all_gateways() {
    let (one, two) = (leased(&[("key:a", tpm(100))]), leased(&[("key:a", tpm(100))]));
    let mut bank = Bank::default();
    call(&one, &mut bank, 10, 0).unwrap().settle(100, at(1_000));
    bank.serve(&one, at(1_000));
    assert!(call(&two, &mut bank, 1, 2_000).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_its_grant_and_no_longer_than_a_second() {
    let rates = leased(&[("key:a", rpm(5))]);
    let begin = Instant::now();
    let granting = async {
        rates.shortage().await;
        tokio::time::advance(Duration::from_millis(300)).await;
        Bank::default().serve(&rates, at(0));
    };
    let key = [scope("key:a")];
    let (hold, ()) = tokio::join!(rates.admit_or_wait(&key, 0, || at(0)), granting);
    assert!(hold.is_ok() && begin.elapsed() < PATIENCE);

    let other = leased(&[("key:a", rpm(5))]);
    let begin = Instant::now();
    let limited = other.admit_or_wait(&key, 0, || at(0)).await.unwrap_err();
    assert!(limited.awaits_grant && begin.elapsed() >= PATIENCE);
    assert_eq!(limited.retry_after, 1);
}
