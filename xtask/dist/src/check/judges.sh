# Checks the packages and the image with other projects' tools. Arguments: the deb, the rpm, the image, its version.
fail() { echo "judges: $*" >&2; exit 1; }
# The package is in no distribution, so it closes no bug; and its binary is static on purpose.
lintian --fail-on error --suppress-tags initial-upload-closes-no-bugs,statically-linked-binary "/packages/$1" >&2 ||
    fail "lintian finds errors"
# The rpm is not signed yet; its binary is static on purpose; cargo-generate-rpm cannot write packager, group and
# changelog; the name of the build host would make two builds differ.
cat >/tmp/rpmlint.toml <<'END'
Filters = [
    "no-signature", "statically-linked-binary", "no-packager-tag", "no-group-tag", "no-changelogname-tag",
    "no-buildhost-tag",
]
END
rpmlint --config /tmp/rpmlint.toml "/packages/$2" >&2 || fail "rpmlint finds errors"
# The image has the same configuration, whichever way it is read.
for kind in oci-archive docker-archive; do
    skopeo inspect --config "$kind:/packages/$3" >"/tmp/$kind" || fail "skopeo does not read the image as $kind"
done
cmp /tmp/oci-archive /tmp/docker-archive >&2 || fail "the image has two configurations"
skopeo inspect "oci-archive:/packages/$3" | grep -q "\"org.opencontainers.image.version\": \"$4\"" ||
    fail "the image does not say its version"
# Man and the shells read pages and completions without a warning.
mkdir /tmp/deb
dpkg -x "/packages/$1" /tmp/deb
for page in /tmp/deb/usr/share/man/man1/*; do
    man --warnings --local-file "$page" 2>&1 >/dev/null | grep . && fail "man does not like $page"
done
bash -n /tmp/deb/usr/share/bash-completion/completions/spanprof
zsh -n /tmp/deb/usr/share/zsh/vendor-completions/_spanprof
fish --no-execute /tmp/deb/usr/share/fish/vendor_completions.d/spanprof.fish
