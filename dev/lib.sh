# Shared by the scripts in dev/. Source it; it sets the shell's options and where things are.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MAYDAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mayday}
# The scripts and the tests look for the binaries here, so this overrides every other setting of cargo.
export CARGO_TARGET_DIR=$root/target

die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

note() { echo "==> $*" >&2; }

# Folder of the control plane's binaries, built or not: other sources or versions are another folder.
tools=$cache/controlplane-$(cd "$root/dev/controlplane" && cat -- */*.go go.mod go.sum | sha256sum | cut -c1-12)
# The binaries, each as it is called in the scripts.
programs=(servers kubectl tool kwok helm alertmanager)

# Path of a binary.
binary() { # NAME
  [ -x "$tools/$1" ] || die "$1 is not built yet: run dev/build"
  echo "$tools/$1"
}

# Sets $servers $kubectl $tool $kwok $helm $alertmanager.
locate_binaries() {
  local program
  for program in "${programs[@]}"; do
    [ -x "$tools/$program" ] || die "$program is not built yet: run dev/build"
    printf -v "$program" %s "$tools/$program"
  done
}

# Absolute path of a state folder that may not exist yet.
state_dir() {
  [ -n "${1:-}" ] || die "which folder? for example target/dev"
  mkdir -p "$1"
  (cd "$1" && pwd)
}

# One at a time for a folder, until the script ends: two that mend at once would start a part twice.
lock() { # DIR
  exec 9>"$1/lock"
  flock 9
}

# Flags of cargo wherever the product is not built to be shipped: with the points at which a test lets the operator
# crash. They are the same everywhere, so that cargo builds everything once.
features=(--features failpoints)

# Builds the product. Not where MAYDAY_BUILT says that it is built: cargo takes a binary away for a moment when it
# links it again, and other tests are using it.
build_product() {
  [ -n "${MAYDAY_BUILT:-}" ] && return
  note "building the operator, the plugin and the demo"
  (cd "$root" && cargo build "${features[@]}" --bins --example demo)
}

# Builds the control plane and the product beside each other: the one links or downloads while the other compiles.
build_all() {
  local control_plane
  "$root/dev/build" &
  control_plane=$!
  # shellcheck disable=SC2064 # this process, even if the variable changes later
  trap "kill $control_plane 2>/dev/null || true; wait" EXIT
  trap 'exit 130' INT TERM
  build_product
  wait "$control_plane"
  trap - EXIT INT TERM
}

# What is still to be built, in minutes on two cores, as words for a person: sets $minutes and $of_which.
usual_time() { # MINUTES WHAT ; what comes after the builds
  minutes=$1 of_which="$1 $2"
  if [ ! -x "$root/target/debug/examples/demo" ]; then
    minutes=$((minutes + 3)) of_which="3 for the operator, $of_which"
  fi
  if [ ! -x "$tools/alertmanager" ]; then
    minutes=$((minutes + 8)) of_which="8 for the control plane, $of_which"
  fi
}

# Runs a command and notes its time, for tell_phases.
phase() { # NAME COMMAND...
  local phase=$1 from=$SECONDS result=0
  shift
  "$@" || result=$?
  phases+=(" $((SECONDS - from)) s $phase")
  return "$result"
}
phases=()
tell_phases() {
  local IFS=,
  [ ${#phases[@]} -eq 0 ] || note "$(basename "$0"): $SECONDS s in all:${phases[*]}"
}

# --- processes: DIR/pids/NAME holds the pid and the start time, so that a pid used again is not ours ---

# Empty for a dead process, also for one that is not reaped yet (Z), which still has its old start time.
start_time() {
  local stat fields
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 0
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} == [ZX] ]] || echo "${fields[19]}"
}

is_alive() { # DIR NAME
  local pid started
  [ -f "$1/pids/$2" ] || return 1
  read -r pid started <"$1/pids/$2" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ]
}

pid_of() { cut -d' ' -f1 "$1/pids/$2"; } # DIR NAME

launch() { # DIR NAME COMMAND... ; does nothing if it is alive
  local dir=$1 name=$2 pid looks=0
  shift 2
  is_alive "$dir" "$name" && return 0
  mkdir -p "$dir/pids" "$dir/logs"
  rm -f "$dir/pids/$name" "$dir/pids/$name.new"
  # A session of its own and no inherited pipes: the caller may end, or wait for this script's output to
  # close.
  setsid --fork bash -c 'echo $$ >"$1"; shift; exec "$@"' launch "$dir/pids/$name.new" "$@" \
    </dev/null >>"$dir/logs/$name.log" 2>&1 8>&- 9>&-
  until [ -s "$dir/pids/$name.new" ]; do
    [ $looks -lt 500 ] || die "$name was not started; its log: $dir/logs/$name.log"
    looks=$((looks + 1))
    sleep 0.02
  done
  pid=$(cat "$dir/pids/$name.new")
  rm "$dir/pids/$name.new"
  echo "$pid $(start_time "$pid")" >"$dir/pids/$name"
}

stop() { # DIR NAME... ; says so where it had to kill, which is a defect of what was stopped
  local dir=$1 name waited
  shift
  for name in "$@"; do
    is_alive "$dir" "$name" && kill "$(pid_of "$dir" "$name")" 2>/dev/null || true
  done
  for name in "$@"; do
    waited=0
    while is_alive "$dir" "$name"; do
      if [ $waited -eq 100 ]; then
        note "$name did not stop in 10 s and had to be killed; its log: $dir/logs/$name.log"
        kill -KILL "$(pid_of "$dir" "$name")" 2>/dev/null || true
      fi
      waited=$((waited + 1))
      sleep 0.1
    done
    rm -f "$dir/pids/$name"
  done
}

# Waits until a command succeeds; says what was waited for, and where the logs are, if it does not.
# The death of a part that it needs (several in one word) ends the wait at once.
await() { # SECONDS WHAT DIR PARTS COMMAND...
  local seconds=$1 what=$2 dir=$3 parts=$4 part end
  shift 4
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    for part in $parts; do
      is_alive "$dir" "$part" && continue
      tail -n 10 "$dir/logs/$part.log" >&2
      die "$part died before $what; its log: $dir/logs/$part.log"
    done
    [ $SECONDS -lt $end ] || die "$what did not happen in $seconds s; logs: $dir/logs/"
    sleep 0.1
  done
}

# The port of that name; all are chosen once and kept, so that a restart finds them again.
port() { # DIR NAME
  sed -n "s/^$2=//p" "$1/ports"
}
