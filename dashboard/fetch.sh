#!/bin/sh
# Puts the libraries of the dashboard's page into the package, at the releases that package-lock.json locks, by hash: uPlot (charts),
# dagre (layout of graphs), noble-hashes (SHA-256 of a model's file that is uploaded), each with its licence. Nothing of theirs is
# committed; a wheel that is built afterwards holds them, and one without them says on the page what is missing.
# Does nothing where they are up to date, so that it may run before anything that needs them.
# Usage: dashboard/fetch.sh   (make dashboard)
set -eu
cd "$(dirname "$0")"
static=../controller/edgesplit_controller/dashboard/static
vendor=$static/vendor
wanted=$(cat package-lock.json fetch.sh | sha256sum | cut -d' ' -f1)
[ "$(cat "$vendor/.stamp" 2>/dev/null || true)" = "$wanted" ] && exit 0

if ! command -v npm >/dev/null; then
    echo "dashboard: npm is not installed, so the page's charts and graphs stay away: install nodejs and npm, and run make dashboard" >&2
    [ -z "${CI:-}" ]
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work" "$vendor.new.$$"' EXIT
cp package.json package-lock.json .npmrc "$work"
if ! (cd "$work" && npm ci --silent); then
    echo "dashboard: npm could not fetch the page's libraries, so its charts and graphs stay away: run make dashboard with a network" >&2
    [ -z "${CI:-}" ]
    exit
fi
umask 022
new=$vendor.new.$$
mkdir -p "$new/noble-hashes"
modules=$work/node_modules
cp "$modules/uplot/dist/uPlot.esm.js" "$modules/uplot/dist/uPlot.min.css" "$new"
# Their source maps are not brought: a browser would ask for them in vain.
sed '/^\/\/# sourceMappingURL=/d' "$modules/@dagrejs/dagre/dist/dagre.esm.js" >"$new/dagre.esm.js"
for file in sha2 _md _u64 utils; do
    sed '/^\/\/# sourceMappingURL=/d' "$modules/@noble/hashes/$file.js" >"$new/noble-hashes/$file.js"
done
cp "$modules/uplot/LICENSE" "$new/uPlot.LICENSE.txt"
cp "$modules/@dagrejs/dagre/LICENSE" "$new/dagre.LICENSE.txt"
cp "$modules/@dagrejs/graphlib/LICENSE" "$new/graphlib.LICENSE.txt"
cp "$modules/@noble/hashes/LICENSE" "$new/noble-hashes.LICENSE.txt"
echo "$wanted" >"$new/.stamp"
rm -rf "$vendor"
mv "$new" "$vendor"
