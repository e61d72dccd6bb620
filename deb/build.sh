#!/bin/sh
# Builds edgesplit-agent and edgesplit-controller as Debian packages of this checkout, each with all Python libraries that it needs, at
# the releases that requirements/demo.txt locks, by hash.
# Usage: deb/build.sh PYTHON OUTPUT [agent] [controller]   (make packages; both where neither is named)
# PYTHON: an environment of requirements/install.sh, whose Python has the minor version of Debian's: a package is for one Debian release
# and one kind of processor, those it was built on. Nothing is compiled; wheels come from the package index that pip is set up for.
set -eu
umask 022
cd "$(dirname "$0")/.."
python=$1
mkdir -p "$2"
output=$(cd "$2" && pwd)
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pip() { "$python" -m pip --quiet --disable-pip-version-check "$@"; }
minor=$("$python" -c 'import sys; print(*sys.version_info[:2], sep=".")')
next=$("$python" -c 'import sys; print(sys.version_info[0], sys.version_info[1] + 1, sep=".")')
# Files have the day of the commit, so that the same commit makes the same files.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH

pip wheel --no-deps --no-build-isolation --wheel-dir "$work" .
wheel=$(echo "$work"/edgesplit-*.whl)
release=$(basename "$wheel" | cut -d- -f2)
# A development release comes before the one it leads to: 1.2.0.dev0 is 1.2.0~dev0.
version=$(echo "$release" | sed 's/\.dev/~dev/; s/rc/~rc/')
architecture=$(dpkg --print-architecture)
sed -n 's/^\([a-z0-9][^ ;]*==[^ ;\\]*\).*/\1/p' requirements/demo.txt >"$work/releases.txt"

fill() { # FILE: what stands between @s, from the variables of a package
    sed "s|@package@|$package|g; s|@settings@|$settings|g; s|@state@|$state|g; s|@version@|$version|g; s|@architecture@|$architecture|g;
        s|@python@|$minor|g; s|@next@|$next|g; s|@size@|${size:-0}|g" "$1"
}

launcher() { # PROGRAM MODULE: a command that runs in the package's own environment
    printf '#!%s/bin/python3\nimport sys\n\nfrom %s import main\n\nsys.exit(main())\n' "$home" "$2" >"$root$home/bin/$1"
    chmod 755 "$root$home/bin/$1"
    ln -s "$home/bin/$1" "$root/usr/bin/$1"
}

build() { # agent|controller STATE PROGRAM=MODULE...
    settings=$1 state=$2 package=edgesplit-$1
    shift 2
    root=$work/$package home=/usr/lib/$package size=0
    site=$home/lib/python$minor/site-packages
    documents=$root/usr/share/doc/$package
    mkdir -p "$root/DEBIAN" "$root$home/bin" "$root$site" "$root/usr/bin" "$root/etc/edgesplit" "$root/usr/lib/systemd/system" \
        "$root/usr/lib/sysusers.d" "$documents/examples"

    # An environment as venv makes it, on Debian's Python, without pip.
    ln -s /usr/bin/python3 "$root$home/bin/python3"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$minor" >"$root$home/pyvenv.cfg"
    # Exactly what is locked: which of the locked libraries the package needs, then these alone, each by its hash.
    pip install --dry-run --ignore-installed --only-binary :all: --constraint "$work/releases.txt" --report "$work/report.json" \
        "edgesplit[$settings] @ file://$wheel"
    "$python" -c '
import json, re, sys
report, lock, needed = sys.argv[1:]
with open(report) as file:
    names = {re.sub("[-_.]+", "-", entry["metadata"]["name"]).lower() for entry in json.load(file)["install"]} - {"edgesplit"}
with open(lock) as file:
    blocks = re.findall(r"^\S+==(?:.*\\\n)*.*\n", file.read(), re.MULTILINE)
taken = {re.sub("[-_.]+", "-", block.partition("==")[0]).lower(): block for block in blocks}
if names - taken.keys():
    sys.exit(f"not locked: {sorted(names - taken.keys())}")
with open(needed, "w") as file:
    file.writelines(taken[name] for name in sorted(names))
' "$work/report.json" requirements/demo.txt "$work/needed.txt"
    pip install --no-deps --require-hashes --only-binary :all: --no-compile --target "$root$site" --requirement "$work/needed.txt"
    pip install --no-deps --no-compile --target "$root$site" "$wheel"
    rm -rf "$root$site/bin"
    # Where services may not write, nobody could keep what Python compiles.
    "$python" -m compileall -q -j 2 --invalidation-mode unchecked-hash -s "$root" "$root$site"
    for program in "$@"; do
        launcher "${program%%=*}" "${program#*=}"
    done

    sed "s|/opt/edgesplit/bin/|/usr/bin/|" "systemd/$package.service" >"$root/usr/lib/systemd/system/$package.service"
    fill deb/scripts/sysusers.conf >"$root/usr/lib/sysusers.d/$package.conf"
    cp "deb/$settings/$settings.toml" "$root/etc/edgesplit/$settings.toml"
    cp "systemd/$settings.example.toml" "systemd/$settings.example.env" "$documents/examples/"
    for drop_in in systemd/drop-ins/*; do
        case $drop_in in *"/$settings-"* | */growing-pause.conf) cp "$drop_in" "$documents/examples/" ;; esac
    done
    cp deb/copyright "$documents/copyright"
    gzip -9n <CHANGELOG.md >"$documents/changelog.gz"
    for page in man/*.[1-8]; do
        name=$(basename "$page")
        if [ -e "$page" ] && owns_page "$name"; then
            mkdir -p "$root/usr/share/man/man${name##*.}"
            gzip -9n <"$page" >"$root/usr/share/man/man${name##*.}/$name.gz"
        fi
    done

    echo "/etc/edgesplit/$settings.toml" >"$root/DEBIAN/conffiles"
    for script in postinst prerm postrm; do
        fill "deb/scripts/$script" >"$root/DEBIAN/$script"
        if [ -e "deb/$settings/$script" ]; then fill "deb/$settings/$script" >>"$root/DEBIAN/$script"; fi
        printf '\nexit 0\n' >>"$root/DEBIAN/$script"
        chmod 755 "$root/DEBIAN/$script"
    done
    size=$(du -sk --apparent-size "$root" | cut -f1)
    fill "deb/$settings/control" >"$root/DEBIAN/control"
    (cd "$root" && find usr -type f -printf '%P\0' | LC_ALL=C sort -z | sed -z 's|^|usr/|' | xargs -0 md5sum >DEBIAN/md5sums)
    find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz -z2 --build "$root" "$output/${package}_${version}_$architecture.deb" >/dev/null
    rm -rf "$root"
    ls -l "$output/${package}_${version}_$architecture.deb"
}

owns_page() { # whose program a page describes
    case $1 in splitctl* | edgesplit-controller*) [ "$settings" = controller ] ;; edgesplit-agent*) [ "$settings" = agent ] ;; *) false ;; esac
}

for wanted in ${*:-agent controller}; do
    case $wanted in
        agent) build agent edgesplit-agent edgesplit-agent=edgesplit_agent.main ;;
        controller)
            build controller edgesplit edgesplit-controller=edgesplit_controller.main splitctl=edgesplit_controller.cli.entry
            ;;
    esac
done
