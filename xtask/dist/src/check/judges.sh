# Asks programs of others what they think. Arguments: the deb, the rpm, the image, its version.
fail() { echo "judges: $*" >&2; exit 1; }
# A package that no distribution has packed has no bug that it closes, and a static binary is what it is for.
lintian --fail-on error --suppress-tags initial-upload-closes-no-bugs,statically-linked-binary "/packages/$1" >&2 ||
    fail "lintian finds errors"
# It has no signature before somebody has signed it; a static binary is what it is for; packager, group and changelog
# are what cargo-generate-rpm cannot write; the name of the host that it was built on would make two builds differ.
cat >/tmp/rpmlint.toml <<'END'
Filters = [
    "no-signature", "statically-linked-binary", "no-packager-tag", "no-group-tag", "no-changelogname-tag",
    "no-buildhost-tag",
]
END
rpmlint --config /tmp/rpmlint.toml "/packages/$2" >&2 || fail "rpmlint finds errors"
# Both ways to read the image come to the same configuration.
for kind in oci-archive docker-archive; do
    skopeo inspect --config "$kind:/packages/$3" >"/tmp/$kind" || fail "skopeo does not read the image as $kind"
done
cmp /tmp/oci-archive /tmp/docker-archive >&2 || fail "the image has two configurations"
skopeo inspect "oci-archive:/packages/$3" | grep -q "\"org.opencontainers.image.version\": \"$4\"" ||
    fail "the image does not say its version"
# Pages and completions are read without a word.
mkdir /tmp/deb
dpkg -x "/packages/$1" /tmp/deb
for page in /tmp/deb/usr/share/man/man1/*; do
    man --warnings --local-file "$page" 2>&1 >/dev/null | grep . && fail "man does not like $page"
done
bash -n /tmp/deb/usr/share/bash-completion/completions/spanprof
zsh -n /tmp/deb/usr/share/zsh/vendor-completions/_spanprof
fish --no-execute /tmp/deb/usr/share/fish/vendor_completions.d/spanprof.fish
