#!/usr/bin/env bash
# A PostgreSQL with pgvector for development, which keeps running until it is stopped.
set -euo pipefail
# shellcheck source=Scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=Scripts/cluster.sh
source "$root/Scripts/cluster.sh"

usage() {
    cat <<'USAGE'
Usage: Scripts/postgres.sh COMMAND

  start [--durable]   start it, or find it running; prints its URL on the last line
                      --durable: with fsync, for benchmarks (default: without, for tests)
  stop                stop it and remove its data
  url                 print its URL; fails when it is not running
  psql [ARGUMENT...]  psql, connected to it
  bin                 print the directory with psql, pgbench and pg_dump

With it running, tests start faster:

  KUVEND_TEST_DATABASE_URL=$(Scripts/postgres.sh url) ./test --filter StorageTests
USAGE
}

# The directory of this checkout's running development cluster; removes one whose server has died.
running() {
    local dir pid
    while IFS= read -r dir; do
        [[ $(cat "$dir/checkout" 2>/dev/null) == "$root" ]] || continue
        pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null) || true
        if [[ -n $pid && -s $dir/url && -d /proc/$pid ]]; then
            printf '%s\n' "$dir"
            return
        fi
        cluster_remove "$dir"
    done < <(cluster_list dev)
    return 1
}

case ${1:-} in
    start)
        durability=fast
        case ${2:-} in
            --durable) durability=durable ;;
            '') ;;
            *) die "unknown option: $2" ;;
        esac
        # One start at a time; --close, so that the server does not inherit the lock.
        if [[ -z ${KUVEND_POSTGRES_LOCKED:-} ]]; then
            mkdir -p "$build"
            exec env KUVEND_POSTGRES_LOCKED=1 flock --close "$build/postgres.lock" "${BASH_SOURCE[0]}" "$@"
        fi
        require_packages python3-venv >&2
        require_venv >&2
        if dir=$(running); then
            say "PostgreSQL is running already; 'stop' and 'start' for other settings" >&2
        else
            cluster_start dev "$durability"
            dir=$cluster_dir
        fi
        cat "$dir/url"
        ;;
    stop)
        if dir=$(running); then cluster_remove "$dir"; fi
        ;;
    url)
        dir=$(running) || die "not running; start it with: Scripts/postgres.sh start"
        cat "$dir/url"
        ;;
    psql)
        shift
        dir=$(running) || die "not running; start it with: Scripts/postgres.sh start"
        exec "$(cluster_client_bin)/psql" "$(cat "$dir/url")" "$@"
        ;;
    bin)
        cluster_client_bin
        ;;
    -h | --help | help) usage ;;
    *)
        usage >&2
        exit 1
        ;;
esac
