#!/usr/bin/env bash
# Puts what `make test-page` needs where it is missing: Chromium and its driver from Debian, axe-core from npm.
set -euo pipefail

AXE=axe-core@4.14.1
folder="${XDG_CACHE_HOME:-$HOME/.cache}/gacheck/$AXE"

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
[ -f "$folder/axe.min.js" ] || command -v npm >/dev/null || missing+=(npm)

if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo --non-interactive)
    fi
    if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
        echo "test-page needs ${missing[*]}, and cannot install that: it takes apt-get, and root or sudo without a" \
            "password. Install it another way; chromium, chromedriver and npm have to be on the PATH." >&2
        exit 1
    fi
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -f "$folder/axe.min.js" ]; then
    unpacked="$(mktemp -d)"
    trap 'rm -rf "$unpacked"' EXIT
    (cd "$unpacked" && npm pack --silent "$AXE" >/dev/null && tar xzf ./*.tgz)
    mkdir -p "$folder"
    # A move is whole or not at all; what runs beside this finds no half of it.
    cp "$unpacked/package/axe.min.js" "$folder/.axe.$$" && mv "$folder/.axe.$$" "$folder/axe.min.js"
fi
