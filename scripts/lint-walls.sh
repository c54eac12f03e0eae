#!/usr/bin/env bash
# The walls of the architecture that cargo and clippy do not hold up.
#
#   scripts/lint-walls.sh [DIR]         checks the checkout (DIR: another one); exit 0, or 1 with FILE:LINE of every breach
#   scripts/lint-walls.sh --self-test   breaches each wall in a copy and checks that it is noticed
set -euo pipefail
cd "$(dirname "$0")/.."

# Outside packages that more than one of our packages may name, each with its reason. Dev-dependencies are free.
shared_packages=(
    serde serde_json    # the form of what is stored and said, wherever it is
    tokio               # the runtime under both edge and actors
    slog                # actors log; the program sets up the drain
)

breaches=0
breach() { echo "$1"; breaches=$((breaches + 1)); }

# Lines of Rust files as FILE:LINE:CODE, comments left out.
code() { # DIR...
    find "$@" -name '*.rs' -type f 2>/dev/null | sort | while read -r file; do
        sed -e 's#^[[:space:]]*//.*##' "$file" | grep -n . | sed -e "s#^#$file:#" || true
    done
}

# Rooms of actors/src with an actor in them: a module below src, or a kind below src/targets. The recorder stands in for any of them in tests,
# and actors of a file called tests.rs are for its tests.
actor_rooms() { # kind|top
    local below=actors/src
    [ "$1" = top ] || below=actors/src/targets
    for room in "$below"/*; do
        name=$(basename "$room" .rs)
        case $name in mod | lib | targets | root | recorder) continue ;; esac
        if code "$room" | grep -v '/tests.rs:' | grep -Eq 'impl(<[^>]*>)? *(actix::)?Actor +for '; then echo "$name"; fi
    done
}

# A room may hold messages and use what is nobody's room, but never another actor's module. Root introduces them to each other, and
# targets/mod.rs registers the kinds.
actors_do_not_import_actors() {
    local tops kinds own pattern
    tops=$(actor_rooms top)
    kinds=$(actor_rooms kind)
    look() { # ROOM OWN-NAME: other rooms named in a path or in a `use crate::{...}` list
        local others_top others_kind
        others_top=$(for name in $tops; do [ "$name" = "$2" ] || echo "$name"; done | paste -sd'|' -)
        others_kind=$(for name in $kinds; do [ "$name" = "$2" ] || echo "$name"; done | paste -sd'|' -)
        # In lists `use crate::{a::B, c::D}` only the start of the statement says crate, so statements are read whole.
        find "$1" -name '*.rs' -type f | sort | while read -r file; do
            sed -e 's#//.*##' "$file" | awk -v file="$file" -v tops="$others_top" -v kinds="$others_kind" '
                BEGIN { ends = "(::|;|,|[ }]|$)" }
                function seen(pattern) { if (match(text, pattern)) found = substr(text, RSTART, RLENGTH) }
                function look(given, line) {
                    text = given; found = ""
                    list = text ~ /^[ \t]*(pub(\([a-z]+\))? +)?use [^;]*\{/
                    if (tops != "") seen("crate::(" tops ")" ends)
                    if (tops != "" && list) seen("(crate|super)::\\{([^;]*[{, ])?(" tops ")" ends)
                    if (kinds != "") seen("(targets|super)::(" kinds ")" ends)
                    if (kinds != "" && list) seen("(targets|super)::\\{([^;]*[{, ])?(" kinds ")" ends)
                    if (found != "") print file ":" line ": actors_do_not_import_actors: " found
                }
                statement != "" { statement = statement " " $0; if (/;/) { look(statement, begun); statement = "" } next }
                /^[ \t]*(pub(\([a-z]+\))? +)?use [^;]*$/ { statement = $0; begun = NR; next }
                { look($0, NR) }
            '
        done
    }
    for name in $tops; do
        for room in actors/src/$name actors/src/$name.rs; do [ ! -e "$room" ] || look "$room" "$name"; done
    done
    for name in $kinds; do
        for room in actors/src/targets/$name actors/src/targets/$name.rs; do [ ! -e "$room" ] || look "$room" "$name"; done
    done
}

# Names under [dependencies] and [build-dependencies] of a manifest, tables of their own and target tables included.
named_in() {
    awk '
        /^\[/ {
            table = $0; gsub(/[][]/, "", table)
            listed = table ~ /(^|\.)(build-)?dependencies$/ && table !~ /^workspace\./
            if (table ~ /(^|\.)(build-)?dependencies\.[A-Za-z0-9_-]+$/ && table !~ /^workspace\./) {
                name = table; sub(/.*\./, "", name); print name
            }
            next
        }
        listed && /^[A-Za-z0-9_-]+/ { name = $0; sub(/[ .=].*/, "", name); print name }
    ' "$1" | sort -u
}

outside_packages_have_one_home() {
    local manifests=() manifest
    for manifest in Cargo.toml mail/Cargo.toml config/Cargo.toml edge/Cargo.toml actors/Cargo.toml \
        fuzz/Cargo.toml; do
        [ ! -e "$manifest" ] || manifests+=("$manifest")
    done
    for manifest in "${manifests[@]}"; do
        named_in "$manifest" | sed "s#\$# $manifest#"
    done | awk -v shared="${shared_packages[*]}" '
        BEGIN { split(shared, list, " "); for (i in list) free[list[i]] = 1 }
        $1 ~ /^posthaste-/ || free[$1] { next }
        { homes[$1] = homes[$1] (homes[$1] == "" ? "" : ", ") $2; count[$1]++ }
        END { for (name in count) if (count[name] > 1)
            print homes[name] ": outside_packages_have_one_home: " name " is named in " count[name] " manifests" }
    ' | sort
}

mail_touches_nothing() {
    code mail/src | grep -E \
        '\<(tokio|actix|actix_rt|openssl|native_tls|hickory_[a-z]+|sled|slog|rustix|getrandom)::|std::net::\{?[^;]*\<(Tcp|Udp)[A-Z]|\<(TcpStream|TcpListener|UdpSocket)\>|std::(fs|process|thread|env)\>|std::os::unix::net|SystemTime::now|Instant::now|\<println!|\<eprintln!' \
        | sed -E 's#^([^:]+:[0-9]+):#\1: mail_touches_nothing: #' || true
}

nothing_is_left_undone() {
    code mail config edge actors src integration-tests fuzz/bodies fuzz/fuzz_targets | grep -E '\<(todo|unimplemented)!' \
        | sed -E 's#^([^:]+:[0-9]+):#\1: nothing_is_left_undone: #' || true
}

# Files that are somebody's, found by git or, in a copy, by name.
texts() {
    git ls-files -co --exclude-standard -- . 2>/dev/null \
        || find . -type f -not -path './target/*' -not -path './.git/*' | sed 's#^\./##'
}

# Paths of one machine: home directories and the like. /root and /home alone, as words of a manual, are fine.
no_machine_paths() {
    texts | grep -Ev '(^|/)Cargo\.lock$|\.(deb|png|ico|gz)$|^scripts/lint-walls\.sh$' | while read -r file; do
        [ -f "$file" ] || continue
        grep -nIE '/(home|Users)/[a-z][a-z0-9_-]*/|/root/[A-Za-z0-9._-]+|/work/[a-z]+/|[^a-z]/builds/[a-z]' "$file" \
            | sed -E "s#^([0-9]+):#$file:\1: no_machine_paths: #" || true
    done
}

check() {
    local wall line
    for wall in actors_do_not_import_actors outside_packages_have_one_home mail_touches_nothing \
        nothing_is_left_undone no_machine_paths; do
        while read -r line; do
            [ -z "$line" ] || breach "$line"
        done < <("$wall")
    done
    if [ "$breaches" -gt 0 ]; then
        echo "lint-walls: $breaches breaches" >&2
        return 1
    fi
}

self_test() {
    local script failures=0
    script=$PWD/scripts/lint-walls.sh
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    expect() { # WALL or nothing, WHY
        local said status=0
        said=$(cd "$copy" && scripts/lint-walls.sh 2>/dev/null) || status=$?
        if [ -z "$1" ] && [ "$status" -ne 0 ]; then
            echo "self-test: $2: nothing expected, but: $said"; failures=$((failures + 1))
        elif [ -n "$1" ] && { [ "$status" -ne 1 ] || ! grep -q ": $1: " <<<"$said"; }; then
            echo "self-test: $2: $1 not noticed (exit $status): $said"; failures=$((failures + 1))
        fi
    }
    fresh() {
        rm -rf "${copy:?}"/*
        mkdir -p "$copy"/{scripts,mail/src,config/src,edge/src,src} "$copy"/actors/src/{root,pool,admin,messages,targets/{queue,remote}}
        cp "$script" "$copy/scripts/"
        printf '[workspace.dependencies]\nidna = "1"\n[dependencies]\nclap.workspace = true\nserde = "1"\n[dev-dependencies]\nidna = "1"\n' >"$copy/Cargo.toml"
        printf '[dependencies]\nidna.workspace = true\nserde.workspace = true\n' >"$copy/mail/Cargo.toml"
        printf '[dependencies]\nsled = { workspace = true }\nserde = "1"\n' >"$copy/edge/Cargo.toml"
        printf '[dependencies.actix]\nversion = "1"\n' >"$copy/actors/Cargo.toml"
        printf '// tokio::spawn is not for us\nuse std::net::IpAddr;\n' >"$copy/mail/src/lib.rs"
        printf 'use crate::messages::Deliver;\nuse crate::task;\nimpl Actor for Pool {}\n' >"$copy/actors/src/pool/mod.rs"
        printf 'impl Actor for Admin {}\n' >"$copy/actors/src/admin/mod.rs"
        printf 'use crate::targets::TargetKind;\nuse crate::messages::pool::CheckOut;\nimpl actix::Actor for Queue {}\n' >"$copy/actors/src/targets/queue/mod.rs"
        printf 'impl Actor for Remote {}\n' >"$copy/actors/src/targets/remote/mod.rs"
        printf 'use crate::pool::Pool;\nuse crate::targets::queue::Queue;\nimpl Actor for Root {}\n' >"$copy/actors/src/root/mod.rs"
        printf 'pub mod queue;\npub static T: [K; 2] = [queue::KIND, remote::KIND];\n' >"$copy/actors/src/targets/mod.rs"
    }
    plant() { printf '%s\n' "$2" >>"$copy/$1"; }

    fresh; expect '' 'a clean tree'
    local actors=actors_do_not_import_actors
    fresh; plant actors/src/pool/mod.rs 'use crate::admin::Admin;'; expect $actors 'plain use'
    fresh; plant actors/src/pool/mod.rs 'use crate::{admin::Admin, task};'; expect $actors 'use in a list'
    fresh; plant actors/src/pool/mod.rs $'use crate::{\n    task,\n    admin::Admin,\n};'; expect $actors 'list over lines'
    fresh; plant actors/src/pool/mod.rs 'fn f(_: crate::admin::Admin) {}'; expect $actors 'path without use'
    fresh; plant actors/src/pool/mod.rs 'use crate::targets::queue::Queue;'; expect $actors 'a target from outside'
    fresh; plant actors/src/targets/queue/mod.rs 'use super::remote::Remote;'; expect $actors 'target by super'
    fresh; plant actors/src/targets/queue/mod.rs 'use crate::targets::{TargetKind, remote::Remote};'; expect $actors 'target in a list'
    fresh; plant actors/src/targets/queue/wheel.rs 'use crate::pool::Pool;'; expect $actors 'in a part of a room'
    fresh; plant actors/src/pool/mod.rs '// use crate::admin::Admin;'; expect '' 'a comment'
    local home=outside_packages_have_one_home
    fresh; plant edge/Cargo.toml 'idna = "1"'; expect $home 'twice, inline'
    fresh; plant edge/Cargo.toml $'[dependencies.actix]\nversion = "1"'; expect $home 'twice, as tables'
    fresh; plant edge/Cargo.toml $'[dev-dependencies]\nidna = "1"'; expect '' 'dev-dependencies'
    local pure=mail_touches_nothing
    for line in 'use tokio::time;' 'use std::fs;' 'use std::net::{IpAddr, TcpStream};' 'fn f() { SystemTime::now(); }'; do
        fresh; plant mail/src/lib.rs "$line"; expect $pure "$line"
    done
    fresh; plant edge/src/lib.rs 'use std::fs;'; expect '' 'edge may'
    fresh; plant src/main.rs 'fn main() { todo!() }'; expect nothing_is_left_undone 'todo'
    fresh; plant src/main.rs '// see /home/somebody/notes'; expect no_machine_paths 'home directory'

    if [ "$failures" -gt 0 ]; then
        echo "lint-walls: self-test failed: $failures" >&2
        return 1
    fi
}

case ${1:-} in
    --self-test) self_test ;;
    '') check ;;
    *) cd "$1" && check ;;
esac
