# Installs, upgrades and removes the rpm in a clean root, which is /target. Arguments as of deb.sh, with rpms.
first=/packages/$1 second=/packages/$2 version=$3 pid=$4
fail() { echo "rpm: $*" >&2; exit 1; }
is_there() { [ -e "/target$1" ] || fail "there is no $1 $2"; }
is_gone() { [ ! -e "/target$1" ] || fail "$1 is there $2"; }
in_target() { chroot /target "$@"; }
# Every file but those of rpm itself and of users. Folders stay: in a distribution they belong to other packages.
files() {
    find /target -xdev \( -path /target/proc -o -path /target/sys -o -path /target/dev -o -path /target/packages \
        -o -path /target/tmp -o -path /target/var/lib/rpm -o -path /target/usr/lib/sysimage -o -path /target/var/cache \
        -o -path /target/etc/passwd- -o -path /target/etc/group- -o -path /target/etc/shadow- \
        -o -path /target/etc/gshadow- -o -path /target/etc/.pwd.lock \) -prune -o ! -type d -print | sort
}
# It may need only a shell for its scripts, features of rpm, and its own configuration.
needs=$(rpm -qp --requires "$first" | grep -v -e '^rpmlib(' -e '^/bin/sh$' -e '^config(spanprof)' || true)
[ -z "$needs" ] || fail "it needs $needs"
rpm --root /target --initdb
files >/tmp/before

rpm --root /target --nodeps -i "$first" >&2
for file in /usr/bin/spanprof /etc/spanprof/spanprof.toml /usr/lib/systemd/system/spanprof.service \
    /usr/lib/sysusers.d/spanprof.conf /usr/lib/tmpfiles.d/spanprof.conf /usr/share/licenses/spanprof/LICENSE-MIT; do
    is_there "$file" "after the installation"
done
rpm --root /target --nodeps --verify spanprof >&2 || fail "what is installed is not what was packed"
if [ -e /target/usr/bin/systemd-sysusers ]; then
    in_target getent passwd spanprof >/dev/null || fail "there is no user spanprof"
fi
in_target /usr/bin/spanprof record --pid "$pid" --duration 2s --output /tmp/profile.pb.gz
is_there /tmp/profile.pb.gz "after the recording"

echo '# mine' >>/target/etc/spanprof/spanprof.toml
mkdir -p /target/var/lib/spanprof
echo profile >/target/var/lib/spanprof/waiting
rpm --root /target --nodeps -U "$second" >&2
[ "$(rpm --root /target -q --queryformat '%{VERSION}-%{RELEASE}' spanprof)" = "$version" ] ||
    fail "the upgrade has left another version"
grep -q '^# mine$' /target/etc/spanprof/spanprof.toml || fail "the upgrade has overwritten the configuration"

rpm --root /target -e spanprof >&2
is_gone /usr/bin/spanprof "after the removal"
is_there /etc/spanprof/spanprof.toml.rpmsave "after the removal"
is_there /var/lib/spanprof/waiting "after the removal"
# rpm keeps these on purpose: it has no purge.
rm -rf /target/etc/spanprof /target/var/lib/spanprof /target/run/spanprof-agent.lock
files >/tmp/after
diff /tmp/before /tmp/after >&2 || fail "the removal has left files, or taken others"
