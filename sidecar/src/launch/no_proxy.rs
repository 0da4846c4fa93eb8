//! `NO_PROXY` and `HTTPS_PROXY`: calls go to the sidecar itself, whatever proxy the caller uses.

use std::ffi::OsStr;

use super::child::{Child, Environment};
use super::url::SidecarUrl;

/// A caller's list of hosts to reach directly, with loopback and the sidecar in it.
pub(super) fn extended(list: &str, url: &SidecarUrl) -> String {
    let mut list = list.to_owned();
    if list == "*" {
        return list;
    }
    for peer in ["127.0.0.1", "localhost", "::1", url.host()] {
        if !list.split(',').any(|known| known.trim() == peer) {
            if !list.is_empty() {
                list.push(',');
            }
            list += peer;
        }
    }
    list
}

/// With a proxy set, clients would send even their loopback calls to it. Which of the two spellings a client reads differs, so
/// both say the same unless the caller made them differ.
pub(super) fn set(child: &mut Child, caller: &Environment, url: &SidecarUrl) {
    let value = |name: &str| caller.get(OsStr::new(name)).and_then(|value| value.to_str()).filter(|v| !v.is_empty());
    let (upper, lower) = (value("NO_PROXY"), value("no_proxy"));
    child.set("NO_PROXY", extended(upper.or(lower).unwrap_or_default(), url));
    child.set("no_proxy", extended(lower.or(upper).unwrap_or_default(), url));
}

/// Everything else that the program asks for by https goes through the sidecar's tunnels.
pub(super) fn tunnel(child: &mut Child, url: &SidecarUrl) {
    child.set("HTTPS_PROXY", url.origin());
    child.set("https_proxy", url.origin());
    child.unset(&["ALL_PROXY", "all_proxy"]);
    // Node's own fetch obeys the variable from version 22.21 and 24 on, and only then.
    child.set("NODE_USE_ENV_PROXY", "1");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(pairs: &[(&str, &str)]) -> (String, String) {
        let caller = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut child = Child::new(OsStr::new("x"), &[]);
        set(&mut child, &caller, &SidecarUrl::default());
        let text = |name| child.value(name).unwrap().to_str().unwrap().to_owned();
        (text("NO_PROXY"), text("no_proxy"))
    }

    #[test]
    fn both_spellings_get_loopback_and_keep_what_the_caller_had() {
        let all = "127.0.0.1,localhost,::1";
        assert_eq!(of(&[]), (all.to_owned(), all.to_owned()));
        assert_eq!(of(&[("NO_PROXY", "*")]), ("*".to_owned(), "*".to_owned()));
        assert_eq!(of(&[("no_proxy", "a.example")]).0, format!("a.example,{all}"));
        let differ = of(&[("NO_PROXY", "A"), ("no_proxy", "localhost,b")]);
        assert_eq!(differ, (format!("A,{all}"), "localhost,b,127.0.0.1,::1".to_owned()));
        let box_of_ours = "http://box:4000".parse().unwrap();
        assert_eq!(extended("", &box_of_ours), format!("{all},box"));
    }

    proptest! {
        #[test]
        fn a_list_is_extended_once(list in "[a-z0-9.,*: -]{0,60}") {
            let once = extended(&list, &SidecarUrl::default());
            prop_assert!(once.starts_with(&list));
            prop_assert_eq!(extended(&once, &SidecarUrl::default()), once);
        }
    }
}
