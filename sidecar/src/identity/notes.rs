//! What somebody should look at: names that changed, that may change, or that several machines share.

use std::path::Path;

use fleetgate_wire::host::HostLabel;

use super::{Candidate, PINNED_FILE, Source};

/// What this process runs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    is_container: bool,
    is_wsl: bool,
}

impl Surroundings {
    pub(super) fn of_this_process() -> Self {
        let says = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self::look(Path::new("/"), says)
    }

    /// Docker and Podman leave a file, systemd-nspawn and Podman the variable `container`, Kubernetes its own. Microsoft's kernel
    /// says whose it is.
    fn look(root: &Path, says: impl Fn(&str) -> bool) -> Self {
        let has = |path: &str| root.join(path).exists();
        let release = std::fs::read_to_string(root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
        Self {
            is_container: has(".dockerenv")
                || has("run/.containerenv")
                || says("container")
                || says("KUBERNETES_SERVICE_HOST"),
            is_wsl: release.to_ascii_lowercase().contains("microsoft") || says("WSL_DISTRO_NAME"),
        }
    }
}

/// One sentence for each thing.
pub(super) fn write(
    label: &HostLabel,
    source: Source,
    candidates: &[Candidate],
    surroundings: Surroundings,
) -> Vec<String> {
    let found = |wanted: Source| {
        candidates
            .iter()
            .find(|candidate| candidate.source == wanted)
            .and_then(|candidate| candidate.found.as_ref().ok())
    };
    let other = |wanted| found(wanted).filter(|name| *name != label);
    let mut notes = Vec::new();
    match source {
        Source::Explicit => {
            if let Some(pinned) = other(Source::Pinned) {
                notes.push(format!(
                    "the pinned label \"{pinned}\" is not used: --host or FLEETGATE_HOST says \"{label}\""
                ));
            }
        }
        Source::Pinned => {
            for today in [Source::LocalHostName, Source::HostName] {
                if let Some(name) = other(today) {
                    notes.push(renamed(label, name, today));
                }
            }
        }
        _ => {
            // NetBird's numbers are part of an address.
            if let Some(name) = label.without_number().filter(|_| source != Source::Netbird) {
                notes.push(format!(
                    "\"{label}\" may be \"{name}\" with a number that the network added because the name seemed taken; if so, set \
                     FLEETGATE_HOST={name} or pin it"
                ));
            }
        }
    }
    let may_change = !matches!(source, Source::Explicit | Source::Pinned);
    if surroundings.is_container && may_change {
        notes.push(format!(
            "this is a container, and \"{label}\" may be another name after its next start; set FLEETGATE_HOST, or let its programs \
             call the sidecar of the machine that it runs on"
        ));
    }
    if surroundings.is_wsl && source == Source::HostName {
        // One machine, one owner, one budget: a suffix would make two hosts of it.
        notes.push(format!(
            "this is WSL, and \"{label}\" is the name of its Windows: both, and every other distribution there, are one host; set \
             FLEETGATE_HOST to tell them apart"
        ));
    }
    notes
}

fn renamed(label: &HostLabel, today: &HostLabel, source: Source) -> String {
    let why = if today.without_number().as_ref() == Some(label) {
        "a network added the number because the name seemed taken"
    } else {
        "a network or somebody renamed it"
    };
    format!(
        "today the {} is \"{today}\" ({why}); the pinned label \"{label}\" holds. If it is to be the new one, remove {PINNED_FILE} from \
         the state directory, or set FLEETGATE_HOST",
        source.words()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(found: &[(Source, &str)], surroundings: Surroundings) -> String {
        let candidate = |(source, name): &(Source, &str)| Candidate {
            source: *source,
            found: HostLabel::parse(name).map_err(|error| error.to_string()),
        };
        let candidates: Vec<Candidate> = found.iter().map(candidate).collect();
        write(&HostLabel::parse(found[0].1).unwrap(), found[0].0, &candidates, surroundings).join("\n")
    }

    const PLAIN: Surroundings = Surroundings { is_container: false, is_wsl: false };

    #[test]
    fn a_pinned_machine_that_the_network_renamed_says_so_and_stays_what_it_was() {
        let text = notes(&[(Source::Pinned, "mac"), (Source::HostName, "Mac-2.local")], PLAIN);
        assert!(text.contains("is \"mac-2\" (a network added the number") && text.contains("\"mac\" holds"), "{text}");
        let text = notes(&[(Source::Pinned, "mac"), (Source::HostName, "dhcp-17")], PLAIN);
        assert!(text.contains("renamed it"), "{text}");
        assert_eq!(notes(&[(Source::Pinned, "mac"), (Source::HostName, "MAC.fritz.box")], PLAIN), "");
    }

    #[test]
    fn a_number_without_a_pin_is_a_question_and_no_other_label() {
        let text = notes(&[(Source::HostName, "mac-2")], PLAIN);
        assert!(text.contains("FLEETGATE_HOST=mac "), "{text}");
        assert_eq!(notes(&[(Source::Explicit, "mac-2"), (Source::HostName, "mac-2")], PLAIN), "");
    }

    #[test]
    fn an_explicit_label_over_another_pinned_one_is_said() {
        let text = notes(&[(Source::Explicit, "tower"), (Source::Pinned, "mac")], PLAIN);
        assert!(text.contains("\"mac\" is not used"), "{text}");
    }

    #[test]
    fn containers_and_wsl_are_recognised_by_what_they_leave() {
        let root = tempfile::tempdir().unwrap();
        let nothing = |_: &str| false;
        assert_eq!(Surroundings::look(root.path(), nothing), PLAIN);
        assert!(Surroundings::look(root.path(), |name| name == "KUBERNETES_SERVICE_HOST").is_container);
        std::fs::write(root.path().join(".dockerenv"), "").unwrap();
        assert!(Surroundings::look(root.path(), nothing).is_container);
        std::fs::create_dir_all(root.path().join("proc/sys/kernel")).unwrap();
        let release = root.path().join("proc/sys/kernel/osrelease");
        std::fs::write(release, "5.15.153.1-microsoft-standard-WSL2\n").unwrap();
        assert!(Surroundings::look(root.path(), nothing).is_wsl);

        let both = Surroundings { is_container: true, is_wsl: true };
        let text = notes(&[(Source::HostName, "laptop")], both);
        assert!(text.contains("this is a container") && text.contains("this is WSL"), "{text}");
        assert_eq!(notes(&[(Source::Explicit, "laptop")], both), "");
    }
}
