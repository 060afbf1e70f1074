#!/usr/bin/env bash
# Fetches the wheels of wheels.txt into a folder: tests/wheels.sh DIR. A folder that is complete is left alone.
set -euo pipefail
list="$(cd "$(dirname "$0")" && pwd)/wheels.txt"
into="${1:?usage: tests/wheels.sh DIR}"
mkdir -p "$into"
cmp -s "$list" "$into/wheels.txt" && exit 0
# One call for each folder: pip does not merge packages into a folder that it finds.
for folder in $(grep -v '^#' "$list" | cut -d' ' -f1 | sort -u); do
    rm -rf "${into:?}/$folder"
    grep "^$folder " "$list" | cut -d' ' -f2 |
        xargs python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore \
            --target "$into/$folder"
done
cp "$list" "$into/wheels.txt"
