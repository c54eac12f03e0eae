#!/usr/bin/env bash
# Installs the Debian packages that building or testing needs and that are missing.
#
#   scripts/setup.sh build    to compile: a C compiler, make, OpenSSL's headers
#   scripts/setup.sh test     to run all tests: real mail and DNS servers; none of them is started
#
# Quiet when nothing is missing. Without a test package its tests print SKIPPED and pass, so that is no failure here (exit 0);
# without a build package nothing can be compiled (exit 1).
set -euo pipefail

usage() { echo "usage: $0 build|test" >&2; exit 2; }
[ $# -eq 1 ] || usage

# Mail servers that Debian lets nobody install beside Postfix: only their libraries are installed, they themselves are unpacked here,
# each into a folder of its name, where the tests look for them (integration-tests/harness/process.rs).
beside=/var/cache/posthaste-peers

case $1 in
    build) packages=(gcc libc6-dev make pkg-config libssl-dev) ;;
    # libnet-ssleay-perl gives swaks its TLS.
    test)  packages=(postfix swaks libnet-ssleay-perl unbound nsd ldnsutils bind9-dnsutils socat strace nginx exim4-daemon-light opensmtpd
                     dovecot-core dovecot-lmtpd dovecot-imapd) ;;
    *)     usage ;;
esac
kind=$1

# What a package is for, so that a machine that has it from elsewhere (another distribution, a container image) needs no dpkg.
provided() {
    case $1 in
        gcc)                command -v cc >/dev/null ;;
        libc6-dev)          [ -e /usr/include/stdio.h ] ;;
        libssl-dev)         pkg-config --exists openssl 2>/dev/null ;;
        libnet-ssleay-perl) perl -MNet::SSLeay -e 1 2>/dev/null ;;
        ldnsutils)          program ldns-signzone ;;
        bind9-dnsutils)     program dig ;;
        dovecot-core)       program dovecot ;;
        # Parts of it that it finds in its own folder.
        dovecot-lmtpd)      [ -x /usr/lib/dovecot/lmtp ] || [ -x /usr/libexec/dovecot/lmtp ] ;;
        dovecot-imapd)      [ -x /usr/lib/dovecot/imap ] || [ -x /usr/libexec/dovecot/imap ] ;;
        exim4-daemon-light) program exim4 || [ -x "$beside/$1/usr/sbin/exim4" ] ;;
        opensmtpd)          program smtpd || [ -x "$beside/$1/usr/sbin/smtpd" ] ;;
        *)                  program "$1" ;;
    esac
}
program() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }
is_unpacked() { [ "$1" = exim4-daemon-light ] || [ "$1" = opensmtpd ]; }

missing=()
find_missing() {
    missing=()
    for package in "${packages[@]}"; do
        provided "$package" || missing+=("$package")
    done
}

# Ends with the verdict: packages that are still missing are named, and stop a build.
finish() {
    find_missing
    [ ${#missing[@]} -eq 0 ] && exit 0
    echo "setup: could not be installed: ${missing[*]}${1:+ ($1)}" >&2
    if [ "$kind" = build ]; then
        echo "setup: install them by hand, then run make again" >&2
        exit 1
    fi
    echo "setup: tests that need them will print SKIPPED" >&2
    exit 0
}

find_missing
[ ${#missing[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || finish "no apt-get here"

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    finish "neither root nor sudo without a password"
fi

# Debian starts a server as soon as it is installed, unless this file says no (101).
policy=/usr/sbin/policy-rc.d
made_policy=no
tidy_up() { [ "$made_policy" = no ] || "${as_root[@]}" rm -f "$policy"; }
trap tidy_up EXIT
trap 'exit 130' INT TERM
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    made_policy=yes
    "${as_root[@]}" chmod 755 "$policy"
fi

log=$(mktemp)
# All packages named, or as many as can be had; false when one cannot.
install() {
    local package ordinary=() unpacked=()
    for package in "$@"; do
        if is_unpacked "$package"; then unpacked+=("$package"); else ordinary+=("$package"); fi
    done
    local result=0
    [ ${#ordinary[@]} -eq 0 ] || apt_install "${ordinary[@]}" || result=1
    for package in "${unpacked[@]}"; do
        provided "$package" || unpack "$package" || result=1
    done
    return $result
}
apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -q --no-install-recommends "$@" >>"$log" 2>&1 </dev/null
}
# Its folder appears when it is whole.
unpack() {
    local library libraries=()
    for library in $(apt-cache depends "$1" 2>>"$log" | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p'); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$library" 2>/dev/null)" = installed ] || libraries+=("$library")
    done
    [ ${#libraries[@]} -eq 0 ] || apt_install "${libraries[@]}" || return 1
    "${as_root[@]}" sh -ec '
        mkdir -p "$1"
        rm -rf "$1/.$2"
        mkdir "$1/.$2"
        cd "$1/.$2"
        apt-get download -q "$2"
        dpkg -x "$2"_*.deb root
        mv -T root "$1/$2"
        rm -r "$1/.$2"
    ' sh "$beside" "$1" >>"$log" 2>&1 </dev/null
}
echo "setup: installing ${missing[*]}"
# One that is unknown or in conflict must not keep the others away, so a failed whole is tried piece by piece.
if ! install "${missing[@]}"; then
    "${as_root[@]}" apt-get update -q >>"$log" 2>&1 </dev/null || true
    if ! install "${missing[@]}"; then
        for package in "${missing[@]}"; do
            install "$package" || { echo "setup: $package:" >&2; tail -n 3 "$log" >&2; }
        done
    fi
fi
rm -f "$log"
finish
