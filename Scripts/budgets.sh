# shellcheck shell=bash
# What each step of ./test may take, and how slow this machine is. To be sourced after lib.sh.
#
# A budget is a number of seconds on the reference machine, two quiet cores, for a run from nothing. CI's machines are
# shared and at times slower, so budgets grow with the slowest that this machine was seen to be: in a fixed piece of
# work, before the first step and after each long one, and by what its host took away from it during a long step. Not
# counted are downloads, the second try of tests, and seconds in which the machine stood still (`run` in ./test sees it).

# lib.sh sets it.
: "${uncounted:?}"

# All together are meant to take 13 minutes; each has some room for what else a shared machine does beside it.
steps=(Set-up Lint PostgreSQL Build Tests API)
declare -A budgets=([Set-up]=10 [Lint]=10 [PostgreSQL]=10 [Build]=560 [Tests]=180 [API]=150)
whole=780
declare -A took=()

# How long this machine needs, in percent of what the reference machine needs, and not below 100. Beyond the most that can
# be judged its figures say nothing about the change.
slowness=100
measured=
most_slowness=250

# Whether an excess is an error. ./test sets it.
judged=

# Remembers how slow the machine was at some time, if it was not slower before.
slower() {
    if (($1 > slowness)); then slowness=$1; fi
}

# Compressing and sorting on two cores at once, some 0.3 s on the reference machine, with any Python from 3.8 on; the median
# of three, so that a hiccup is not taken for a slow machine.
measure_slowness() {
    slower "$(
        python3 - <<'PYTHON' || echo 0
import os
import random
import time
import zlib

REFERENCE = 0.285  # seconds
generator = random.Random(7)
text = b" ".join(b"%d" % generator.randrange(10**6) for _ in range(180_000))


def work():
    zlib.compress(text, 6)
    zlib.compress(text, 9)
    sorted(text.split())


def measurement():
    begun = time.monotonic()
    for _ in range(2):
        if os.fork() == 0:
            work()
            os._exit(0)
    for _ in range(2):
        os.wait()
    return time.monotonic() - begun


print(round(100 * sorted(measurement() for _ in range(3))[1] / REFERENCE))
PYTHON
    )"
    measured=1
}

# read_ticks: how much all processors together have worked or would have liked to work since the machine started, and how
# much of that its host gave to others; in clock ticks.
read_ticks() {
    local user=0 nice=0 system=0 irq=0 softirq=0
    stolen_ticks=0
    read -r _ user nice system _ _ irq softirq stolen_ticks _ </proc/stat || true
    wanted_ticks=$((user + nice + system + irq + softirq + stolen_ticks))
}

# step NAME COMMAND...: the command, and then what it took.
step() {
    local name=$1 begun=$SECONDS uncounted_before=$uncounted wanted_ticks stolen_ticks wanted stolen
    shift
    read_ticks
    wanted=$wanted_ticks
    stolen=$stolen_ticks
    "$@"
    took[$name]=$((SECONDS - begun - (uncounted - uncounted_before)))
    if ((${took[$name]} >= 20)) && [[ -n $judged ]]; then
        read_ticks
        wanted=$((wanted_ticks - wanted))
        stolen=$((stolen_ticks - stolen))
        if ((wanted > stolen)); then slower $((100 * wanted / (wanted - stolen))); fi
        measure_slowness
    fi
    say "$name: $(of_budget "${took[$name]}" "${budgets[$name]}")"
}

# of_budget SECONDS BUDGET: "352 s of 460 s"; the long forms have no budget.
of_budget() {
    if [[ ${KUVEND_TEST_LONG:-} == 1 ]]; then
        printf '%s s' "$1"
    else
        printf '%s s of %s s' "$1" $(($2 * slowness / 100))
    fi
}

# report_times: what each step took. What took longer than its budget is added to `failures`.
report_times() {
    local name total=0
    if [[ -n $judged ]]; then measure_slowness; fi
    say "Times$([[ -n $judged || ${KUVEND_TEST_LONG:-} == 1 ]] || echo " (an excess is no error in this run)"):"
    for name in "${steps[@]}"; do
        if [[ -z ${took[$name]:-} ]]; then continue; fi
        total=$((total + ${took[$name]}))
        printf '    %-12s%s\n' "$name" "$(of_budget "${took[$name]}" "${budgets[$name]}")"
    done
    printf '    %-12s%s\n' "In all" "$(of_budget "$total" "$whole")"
    if ((uncounted > 0)); then printf '    %-12s%s s\n' "Not counted" "$uncounted"; fi
    if [[ -n $measured ]]; then
        printf '    This machine took %d.%02d x as long as the reference; budgets are as much larger.\n' \
            $((slowness / 100)) $((slowness % 100))
    fi
    if [[ -z $judged ]]; then return; fi
    if ((slowness > most_slowness)); then
        printf '    %s\n' "So slow a machine is no judge of budgets: an excess is no error."
        return
    fi
    for name in "${steps[@]}"; do
        if ((${took[$name]:-0} * 100 > ${budgets[$name]} * slowness)); then
            failures+=("$name took $(of_budget "${took[$name]}" "${budgets[$name]}") (see Scripts/budgets.sh)")
            tests_failed=$((tests_failed + 1))
        fi
    done
}

# What the compiler says of an expression or a function that took it long.
slow_expression='took ([0-9]+)ms to type-check \(limit: ([0-9]+)ms\)$'

# slow_expressions: of the warnings on its input, those about expressions and functions that take the compiler long, each
# once with its least time: one that was checked for several files is reported several times.
slow_expressions() {
    { grep -E "$slow_expression" || true; } |
        awk -F ' took |ms to type-check ' '
            !($1 in least) || $2 + 0 < least[$1] { least[$1] = $2 + 0; line[$1] = $0 }
            END { for (place in line) print line[place] }' | sort
}

# too_slow_expressions: of those, the ones that would take the reference machine more than 2.5 times their limit.
too_slow_expressions() {
    local line
    while IFS= read -r line; do
        if [[ $line =~ $slow_expression ]] && ((BASH_REMATCH[1] * 40 > BASH_REMATCH[2] * slowness)); then
            printf '%s\n' "$line"
        fi
    done
}
