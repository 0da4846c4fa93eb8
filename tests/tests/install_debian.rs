//! The Debian packages in a fresh Debian: installed, used, upgraded, refused to go back, removed and purged without a file left behind.
//!
//! They are made by `install/packages.sh`, as a release makes them, so that its list of files, its maintainer scripts and what cargo-deb
//! adds to them are the ones that run here.

#![allow(clippy::unwrap_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fleetgate_tests::binaries::{binary, target, workspace};

const OLD: &str = concat!(env!("CARGO_PKG_VERSION"), "-1");
/// Later than any version that a package gets.
const NEW: &str = concat!(env!("CARGO_PKG_VERSION"), "-2");

/// `$1` is an empty directory, `$2` the fresh Debian, `$3` the packages, `$4` the script for inside. Nothing is written below `$2`.
const ENTER: &str = r#"
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/root" "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
mkdir "$1/root/packages"
mount --bind "$3" "$1/root/packages"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
cp "$4" "$1/root/tmp/machine.sh"
ip link set lo up
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
  chroot "$1/root" /bin/sh /tmp/machine.sh "$5" "$6"
"#;

#[test]
fn the_packages_are_installed_used_upgraded_and_purged_without_a_trace() {
    let Some(debian) = fresh_debian() else { return };
    let directory = tempfile::tempdir().unwrap();
    let packages = directory.path().join("packages");
    for version in [OLD, NEW] {
        if !build(version, &packages.join(version)) {
            return;
        }
    }
    let root = directory.path().join("machine");
    fs::create_dir(&root).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", ENTER, "machine"])
        .args([&root, &debian, &packages, &workspace().join("tests/tests/debian/machine.sh")])
        .args([OLD, NEW])
        .output()
        .unwrap();
    let (said, told) = texts(&output);
    assert!(output.status.success() && said.ends_with("done\n"), "{said}\n{told}");
}

/// A release's packages of the programs under test. They are checked for what no installation would show.
fn build(version: &str, into: &Path) -> bool {
    if Command::new("cargo-deb").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "cargo-deb is not installed; tests/run.sh does that");
        println!("SKIPPED: cargo-deb is not installed; tests/run.sh does that");
        return false;
    }
    let profile = match binary("fleetgate").parent().unwrap().file_name().unwrap().to_str().unwrap() {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    };
    let output = Command::new(workspace().join("install/packages.sh"))
        .args(["--profile", &profile, "--version", version, "--fast", "--output"])
        .arg(into)
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut found = 0;
    for package in fs::read_dir(into).unwrap() {
        let output = Command::new("dpkg-deb").arg("--contents").arg(package.unwrap().path()).output().unwrap();
        let (listed, _) = texts(&output);
        for line in listed.lines() {
            let line: Vec<&str> = line.split_whitespace().collect();
            assert!(["drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"].contains(&line[0]), "{line:?}");
            assert!(["root/root", "0/0"].contains(&line[1]), "{line:?}");
            assert!(!line[0].starts_with("-rwx") || line[5].starts_with("./usr/bin/fleetgate"), "{line:?}");
            assert!(["./usr/", "./etc/"].iter().any(|below| line[5].starts_with(below)), "{line:?}");
        }
        found += 1;
    }
    assert_eq!(found, 2);
    true
}

/// The smallest system of this machine's release, with what the packages depend on and what the test looks with. It is made once and kept
/// below the target directory.
///
/// `None`, with a printed line, where that is not possible and this is no CI.
fn fresh_debian() -> Option<PathBuf> {
    let allowed = Command::new("unshare").args(["--mount", "--net", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no namespaces for this user; run the tests as root");
        return None;
    }
    let sources = r#"
. /etc/os-release
apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' "Codename: $VERSION_CODENAME" 'Created-By: Packages' \
  | sort -u | awk -v suite="$VERSION_CODENAME" '
      $2 == "main" && !uri { uri = $1 }
      { components[$1] = components[$1] "," $2 }
      END { if (uri) print suite, uri, substr(components[uri], 2) }'
"#;
    let (sources, _) = texts(&Command::new("sh").args(["-c", sources]).output().unwrap());
    let [suite, mirror, components] = sources.split_whitespace().collect::<Vec<_>>()[..] else {
        println!("SKIPPED: this is no Debian, or apt knows no mirror of it: {sources}");
        return None;
    };
    let include = "ca-certificates,curl,systemd-standalone-sysusers,man-db,bash-completion";
    let wanted = format!("{suite} {mirror} {components} {include}");

    let kept = target().join("debian");
    fs::create_dir_all(&kept).unwrap();
    let lock = File::create(kept.join("lock")).unwrap();
    lock.lock().unwrap();
    let (root, made) = (kept.join("root"), kept.join("made"));
    if fs::read_to_string(&made).is_ok_and(|found| found == wanted) {
        return Some(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root).unwrap();
    }
    let output = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={include}"), &format!("--components={components}"), suite])
        .arg(&root)
        .arg(mirror)
        .output();
    let (said, told) = match &output {
        Ok(output) => texts(output),
        Err(error) => (String::new(), format!("debootstrap: {error}")),
    };
    if !output.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "{said}\n{told}");
        println!("SKIPPED: no Debian can be had from {mirror}: {}", told.lines().last().unwrap_or_default());
        return None;
    }
    // The packages of its installation are not needed again.
    fs::remove_dir_all(root.join("var/cache/apt/archives")).unwrap();
    fs::create_dir_all(root.join("var/cache/apt/archives/partial")).unwrap();
    fs::write(made, wanted).unwrap();
    Some(root)
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}
