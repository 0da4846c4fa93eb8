//! What the operating system calls this machine.

use std::time::Duration;

use fleetgate_wire::host::HostLabel;
use tokio::process::Command;
use tokio::time::timeout;

/// A hung `scutil` must not delay the start.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// The name that Bonjour knows a Mac by.
pub(super) async fn local_host_name() -> Result<HostLabel, String> {
    if cfg!(not(target_os = "macos")) {
        return Err("only macOS has it".to_owned());
    }
    let mut scutil = Command::new("/usr/sbin/scutil");
    scutil.args(["--get", "LocalHostName"]).kill_on_drop(true);
    match timeout(LOOKUP_LIMIT, scutil.output()).await {
        Err(_) => Err("scutil did not answer within 2 s".to_owned()),
        Ok(Err(error)) => Err(format!("scutil: {error}")),
        Ok(Ok(output)) if !output.status.success() => Err("scutil knows none".to_owned()),
        Ok(Ok(output)) => HostLabel::parse(&String::from_utf8_lossy(&output.stdout)).map_err(|e| e.to_string()),
    }
}

/// The kernel's name for it.
pub(super) fn host_name() -> Result<HostLabel, String> {
    let name = gethostname::gethostname().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?;
    judge(&name)
}

fn judge(name: &str) -> Result<HostLabel, String> {
    match HostLabel::parse(name) {
        // Every machine has this name, so it names none.
        Ok(label) if label.as_str() == "localhost" => Err("\"localhost\" names no particular machine".to_owned()),
        Ok(label) if label.is_container_id() => {
            Err(format!("\"{label}\" is a container's random id, and the next start has another; set FLEETGATE_HOST"))
        }
        found => found.map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_name_no_particular_machine_are_not_taken() {
        for name in ["localhost", "localhost.localdomain", "3f2a9c01b7de", "10.0.0.5", "(none)", ""] {
            assert!(judge(name).is_err(), "{name:?}");
        }
        assert!(judge("3f2a9c01b7de").unwrap_err().contains("FLEETGATE_HOST"));
        assert_eq!(judge("DGX-Spark.local").unwrap().as_str(), "dgx-spark");
    }
}
