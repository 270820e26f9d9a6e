//! The Debian package: built from the command under test by `deploy/debian/build`, then installed, upgraded, removed and purged on a
//! copy of this system that is thrown away.

mod common;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{resound, skip, tool};

/// A folder with the packages of one test, removed with everything in it.
struct Packages(PathBuf);

impl Packages {
    fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("resound-debian-{}-{test}", std::process::id()));
        fs::create_dir_all(folder.join("release")).unwrap();
        // The script takes the binary from the folder of cargo's builds, and cargo-deb strips it.
        fs::copy(resound().get_program(), folder.join("release/resound")).unwrap();
        Self(folder)
    }

    /// Builds the package; `None` where there is no cargo-deb.
    fn build(&self, version: &str) -> Option<PathBuf> {
        tool("cargo-deb")?;
        tool("dpkg-deb")?;
        let package = self.0.join(format!("resound-{version}.deb"));
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/debian/build");
        let mut command = Command::new(build);
        command.args(["--no-build", "--fast", "--deb-version", version, "--output"]).arg(&package);
        let output = command.env("CARGO_TARGET_DIR", &self.0).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(package)
    }
}

impl Drop for Packages {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_package_has_pages_for_all_subcommands_and_says_what_it_needs() {
    let packages = Packages::new("contents");
    let Some(package) = packages.build("0.1.0-1") else { return };
    let list = printed(Command::new("dpkg-deb").arg("--contents").arg(&package));
    let has = |path: &str, mode: &str| {
        let found = list.lines().find(|line| line.ends_with(&format!(" ./{path}")));
        let found = found.unwrap_or_else(|| panic!("no {path} in {list}"));
        assert!(found.starts_with(mode) && found.contains(" 0/0 "), "{found}");
    };
    let pages = packages.0.join("pages");
    assert!(resound().arg("man").arg(&pages).status().unwrap().success());
    for page in fs::read_dir(pages).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        has(&format!("usr/share/man/man1/{name}.gz"), "-rw-r--r--");
    }
    has("usr/bin/resound", "-rwxr-xr-x");
    for path in [
        "etc/default/resound",
        "usr/lib/systemd/system/resound.service",
        "usr/lib/systemd/system/resound.socket",
        "usr/lib/sysusers.d/resound.conf",
        "usr/share/bash-completion/completions/resound",
        "usr/share/fish/vendor_completions.d/resound.fish",
        "usr/share/zsh/vendor-completions/_resound",
        "usr/share/doc/resound/changelog.gz",
        "usr/share/doc/resound/changelog.Debian.gz",
        "usr/share/doc/resound/copyright",
        "usr/share/doc/resound/docs/options.md",
    ] {
        has(path, "-rw-r--r--");
    }
    let field = |name: &str| {
        printed(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name)).trim().to_owned()
    };
    assert_eq!(field("Section"), "net");
    let depends = field("Depends");
    assert!(depends.contains("libc6") && depends.contains("systemd-sysusers"), "{depends}");
}

#[test]
fn its_changelog_is_of_this_version_and_its_settings_are_flags_of_serve() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/debian");
    let changelog = fs::read_to_string(folder.join("changelog")).unwrap();
    let beginning = format!("resound ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&beginning), "{changelog}");
    let help = printed(resound().args(["serve", "--help"]));
    let settings = fs::read_to_string(folder.join("default")).unwrap();
    let names = settings.lines().filter_map(|line| line.strip_prefix("#RESOUND_")?.split_once('='));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    assert!(!names.is_empty(), "{settings}");
    for name in names {
        assert!(help.contains(&format!("[env: RESOUND_{name}")), "no RESOUND_{name}");
    }
}

/// Lays a copy of this system over itself, which ends with the mount namespace, and goes on in it as [`INSTALL`] says.
const COPY: &str = r#"
set -e
mount --make-rprivate /
mkdir "$1/copy"
mount -t tmpfs none "$1/copy"
mkdir "$1/copy/upper" "$1/copy/work" "$1/copy/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/copy/upper,workdir=$1/copy/work" "$1/copy/root"
root=$1/copy/root
mount -t proc none "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
cp "$1"/*.deb "$root/tmp"
echo copied
exec chroot "$root" bash -c "$2"
"#;

/// As root in that copy, where no systemd runs.
const INSTALL: &str = r#"
set -eux
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
# The index of manual pages is not worth its time here.
dpkg() { command dpkg --no-triggers "$@"; }
dpkg --purge resound 2>/dev/null || true
find /etc /usr /var -xdev -name '*resound*' | sort >/tmp/before

dpkg --install /tmp/resound-0.1.0-1.deb
resound --version
getent passwd resound | grep -q ':/usr/sbin/nologin$'
# The user can run it.
setpriv --reuid resound --regid resound --clear-groups resound dialects >/dev/null
zcat /usr/share/man/man1/resound-serve.1.gz | grep -q 'RESOUND_GRACE'
source /usr/share/bash-completion/completions/resound
complete -p resound
units='resound.service resound.socket'
cd /usr/lib/systemd/system
systemd-analyze verify --man=no --recursive-errors=no $units >/tmp/verified 2>&1
test ! -s /tmp/verified
# Nothing is enabled that nobody has asked for.
for unit in $units; do
    test "$(systemctl --root=/ is-enabled $unit)" = disabled
done

# An upgrade keeps what was set and what was enabled.
systemctl --root=/ enable resound.socket
echo 'RESOUND_GRACE=3s' >>/etc/default/resound
dpkg --install /tmp/resound-0.1.1-1.deb
test "$(dpkg-query --showformat='${Version}' --show resound)" = 0.1.1-1
tail -1 /etc/default/resound | grep -qx 'RESOUND_GRACE=3s'
test "$(systemctl --root=/ is-enabled resound.socket)" = enabled

# So do removing it and installing it again.
dpkg --remove resound
test ! -e /usr/bin/resound
grep -qx 'RESOUND_GRACE=3s' /etc/default/resound
test "$(systemctl --root=/ is-enabled resound.socket)" = masked
dpkg --install /tmp/resound-0.1.1-1.deb
test "$(systemctl --root=/ is-enabled resound.socket)" = enabled

dpkg --purge resound
find /etc /usr /var -xdev -name '*resound*' | sort >/tmp/after
diff /tmp/before /tmp/after
echo 'all is as it was'
"#;

#[test]
fn it_is_installed_upgraded_removed_and_purged() {
    let packages = Packages::new("install");
    for version in ["0.1.0-1", "0.1.1-1"] {
        if packages.build(version).is_none() {
            return;
        }
    }
    for name in ["unshare", "systemd-sysusers", "systemd-analyze", "deb-systemd-helper", "setpriv"]
    {
        if tool(name).is_none() {
            return;
        }
    }
    if !rustix::process::geteuid().is_root() {
        return skip("installing a package takes root");
    }
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", &common::PATIENCE.as_secs().to_string()]);
    command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", COPY]);
    command.arg("copy").arg(&packages.0).arg(INSTALL);
    let output = command.output().unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !said.starts_with("copied\n") {
        return skip(&format!("no copy of the system: {}", errors.trim()));
    }
    assert!(output.status.success() && said.ends_with("all is as it was\n"), "{said}{errors}");
}
