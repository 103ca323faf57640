#!/bin/sh
# Writes the digests of the images that the example names, one "IMAGE@sha256:…" a line, to digests.txt.
# It needs the network and `docker buildx`. It writes a digest only if the registry has returned it.
set -eu
cd "$(dirname "$0")"
tag='\([a-z0-9./-]*:[0-9][0-9A-Za-z.-]*\)'
images=$(
    sed -n -e "s/^ *image: *$tag\$/\1/p" -e "s/^FROM $tag\$/\1/p" -e "s/^FROM $tag AS .*/\1/p" \
        compose.yaml kubernetes/*.yaml shop/Dockerfile ../../deploy/docker/Dockerfile | sort -u
)
: > digests.txt.new
for image in $images; do
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
    case $digest in
    sha256:*) printf '%s@%s\n' "$image" "$digest" >> digests.txt.new ;;
    *)
        echo "digests: the registry did not say a digest of $image: $digest" >&2
        exit 1
        ;;
    esac
done
mv digests.txt.new digests.txt
cat digests.txt
