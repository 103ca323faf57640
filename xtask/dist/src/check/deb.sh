# Installs, upgrades, removes and purges the deb in a clean root. Arguments: two debs, the version of the second, the pid
# of a process that burns CPU in spans. Prints the recording of the installed agent.
first=/packages/$1 second=/packages/$2 version=$3 pid=$4
export DEBIAN_FRONTEND=noninteractive
fail() { echo "deb: $*" >&2; exit 1; }
is_there() { [ -e "$1" ] || fail "there is no $1 $2"; }
is_gone() { [ ! -e "$1" ] || fail "$1 is there $2"; }
# Every file but those of dpkg itself, of logs and of the users that systemd-sysusers has made.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /packages -o -path /tmp -o -path /var/lib/dpkg \
        -o -path /var/log -o -path /var/cache -o -path /etc/passwd- -o -path /etc/group- -o -path /etc/shadow- \
        -o -path /etc/gshadow- -o -path /etc/.pwd.lock \) -prune -o -print | sort
}
files >/tmp/before

dpkg --install "$first" >&2
for file in /usr/bin/spanprof /etc/spanprof/spanprof.toml /usr/lib/systemd/system/spanprof.service \
    /usr/lib/sysusers.d/spanprof.conf /usr/lib/tmpfiles.d/spanprof.conf \
    /usr/share/bash-completion/completions/spanprof; do
    is_there "$file" "after the installation"
done
spanprof --version >&2
if command -v systemd-sysusers >/dev/null; then
    getent passwd spanprof >/dev/null || fail "there is no user spanprof"
    [ "$(stat -c %G /etc/spanprof)" = spanprof ] || fail "the agent may not read its configuration"
    [ ! -e /etc/systemd/system/multi-user.target.wants/spanprof.service ] || fail "the unit is enabled without being asked"
fi
spanprof record --pid "$pid" --duration 2s --output /tmp/profile.pb.gz
is_there /tmp/profile.pb.gz "after the recording"

echo '# mine' >>/etc/spanprof/spanprof.toml
mkdir -p /var/lib/spanprof
echo profile >/var/lib/spanprof/waiting
dpkg --install "$second" >&2
[ "$(dpkg-query -W -f '${Version}' spanprof)" = "$version" ] || fail "the upgrade has left another version"
grep -q '^# mine$' /etc/spanprof/spanprof.toml || fail "the upgrade has overwritten the configuration"
is_there /var/lib/spanprof/waiting "after the upgrade"

dpkg --remove spanprof >&2
is_gone /usr/bin/spanprof "after the removal"
is_gone /usr/lib/systemd/system/spanprof.service "after the removal"
is_there /etc/spanprof/spanprof.toml "after the removal"
is_there /var/lib/spanprof/waiting "after the removal"

dpkg --purge spanprof >&2
is_gone /etc/spanprof "after the purge"
is_gone /var/lib/spanprof "after the purge"
files >/tmp/after
diff /tmp/before /tmp/after >&2 || fail "the purge has left files, or taken others"
