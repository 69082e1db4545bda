# shellcheck shell=bash
# What ./test, ./run and the other scripts share. To be sourced; sets a few variables, and changes nothing else.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$root/.build
venv=$build/venv

# What the server is built from, and what the tests need beside it, as Debian packages.
build_packages=(libsqlite3-dev libpq-dev libargon2-dev zlib1g-dev pkg-config git binutils)
# shellcheck disable=SC2034 # ./test uses it.
test_packages=("${build_packages[@]}" python3-venv curl)

# Seconds of this run that say nothing about it: downloads take what the network takes.
uncounted=0

# A progress line: minutes and seconds since the script began, then the text.
say() { printf '[%02d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# One clear line on the error output, then the end.
die() {
    say "error: $*" >&2
    exit 1
}

# --- What must be on the machine ------------------------------------------------------------------------------------

require_swift() {
    local version
    command -v swift >/dev/null ||
        die "Swift 6.2 or newer is needed, and no 'swift' is on the PATH: https://www.swift.org/install/linux/"
    version=$(swift --version 2>/dev/null | sed -nE 's/.*Swift version ([0-9]+)\.([0-9]+).*/\1 \2/p' | head -n 1)
    [[ -n $version ]] || die "'swift --version' does not tell its version."
    local major=${version% *} minor=${version#* }
    ((major > 6 || (major == 6 && minor >= 2))) ||
        die "Swift 6.2 or newer is needed, this is $major.$minor: https://www.swift.org/install/linux/"
    say "Swift $major.$minor"
}

# Whether what a Debian package brings is there, wherever it came from.
has_package() {
    case $1 in
        libsqlite3-dev) pkg-config --exists sqlite3 2>/dev/null ;;
        libpq-dev) pkg-config --exists libpq 2>/dev/null ;;
        libargon2-dev) pkg-config --exists libargon2 2>/dev/null ;;
        zlib1g-dev) pkg-config --exists zlib 2>/dev/null ;;
        python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        binutils) command -v objcopy >/dev/null || command -v llvm-objcopy >/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# require_packages NAME...: installs those that are missing, as root or through a sudo that asks nothing.
require_packages() {
    local package missing=() as_root=() begun=$SECONDS
    for package in "$@"; do has_package "$package" || missing+=("$package"); done
    if ((${#missing[@]} == 0)); then
        say "System packages: all there"
        return
    fi
    if ((EUID != 0)); then as_root=(sudo); fi
    local command="${as_root[*]:+${as_root[*]} }apt-get install -y --no-install-recommends ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        die "these are missing (named as in Debian), please install them: ${missing[*]}"
    elif ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
        say "error: system packages are missing. Install them, then start again:" >&2
        printf '\n    %s\n\n' "$command" >&2
        exit 1
    fi
    say "System packages: installing ${missing[*]}"
    mkdir -p "$build"
    {
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends "${missing[@]}"
    } </dev/null >"$build/apt.log" 2>&1 || {
        tail -n 20 "$build/apt.log" >&2
        die "'$command' failed; its output is in .build/apt.log."
    }
    for package in "${missing[@]}"; do
        has_package "$package" || die "$package is installed, but what it should bring cannot be found."
    done
    uncounted=$((uncounted + SECONDS - begun))
}

# --- Python tools ---------------------------------------------------------------------------------------------------

# Brings .build/venv to the state of requirements.txt; does nothing when it is there already.
require_venv() {
    local requirements=$root/Tests/python/requirements.txt wanted lock begun=$SECONDS
    wanted=$({
        cat "$requirements"
        python3 --version
        printf '%s\n' "$venv" # An environment that was moved with its folder does not work any more.
    } | sha256sum | cut -d ' ' -f 1)
    mkdir -p "$build"
    exec {lock}>"$build/venv.lock"
    flock "$lock"
    if [[ $(cat "$venv/.stamp" 2>/dev/null) != "$wanted" ]]; then
        say "Python tools: installing into .build/venv"
        rm -rf "$venv"
        python3 -m venv "$venv" || die "'python3 -m venv' failed."
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: \
            --requirement "$requirements" </dev/null || die "the Python tools could not be installed."
        printf '%s\n' "$wanted" >"$venv/.stamp"
        uncounted=$((uncounted + SECONDS - begun))
    else
        say "Python tools: all there"
    fi
    exec {lock}>&-
}

# A loopback TCP port that was free a moment ago.
free_port() {
    python3 -c 'import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])'
}

# process_identity PID: the process id with its start time, which no later process of that id shares; else nothing.
process_identity() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The name may hold blanks and brackets; the fields after the last bracket are plain, the start time is the 20th.
    printf '%s %s\n' "$1" "$(awk '{ print $20 }' <<<"${stat##*) }")"
}
